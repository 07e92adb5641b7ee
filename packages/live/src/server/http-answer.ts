import type { IncomingMessage, ServerResponse } from "node:http";
import { hasCode, isHoldfastError, toWireError } from "@holdfast/kernel";
import { EventTooLargeError, InvalidMessageError } from "../errors.ts";

/** Writes one JSON document. */
export const answerJson = (
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void => {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
  response.end(JSON.stringify(body));
};

/** Writes an error with the status that fits it. */
export const answerError = (response: ServerResponse, error: unknown): void => {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const wire = toWireError(error);
  const waitMs = isHoldfastError(error) ? error.retryAfterMs : undefined;
  const headers = waitMs === undefined ? {} : { "retry-after": String(Math.ceil(waitMs / 1_000)) };
  // What is not ours may hold more than a caller should read.
  const body = isHoldfastError(error) ? wire : { ...wire, message: "the request failed" };
  answerJson(response, statusOf(error), { error: body }, headers);
};

const statusOf = (error: unknown): number => {
  if (hasCode(error, "LIVE_EVENT_TOO_LARGE")) return 413;
  if (hasCode(error, "LIVE_INVALID_MESSAGE") || hasCode(error, "LIVE_INVALID_CHANNEL")) return 422;
  if (hasCode(error, "LIVE_UNAUTHENTICATED")) return 401;
  if (hasCode(error, "LIVE_FORBIDDEN")) return 403;
  if (hasCode(error, "KERNEL_OVERLOADED")) return 429;
  return isHoldfastError(error) && error.retryable ? 503 : 500;
};

/**
 * Reads a JSON body of at most `maxBytes`.
 * @throws EventTooLargeError as soon as it is longer; InvalidMessageError when it is not JSON.
 */
export const readJson = async (request: IncomingMessage, maxBytes: number): Promise<unknown> => {
  const tooLarge = (): Error => new EventTooLargeError(`the request body may have ${maxBytes} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch (cause) {
    throw new InvalidMessageError("the request body is not JSON", { cause });
  }
};

/** The token of an `Authorization: Bearer` header. */
export const bearerToken = (request: IncomingMessage): string | undefined =>
  /^Bearer ([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? "")?.[1];

/** One value of a header that may be there once. */
export const headerOf = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name];
  return typeof value === "string" && value !== "" && value.length <= 255 ? value : undefined;
};
