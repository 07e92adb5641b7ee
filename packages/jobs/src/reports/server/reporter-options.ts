import { InvalidInputError } from "@holdfast/kernel";
import { PermanentError } from "../../errors.ts";

/** What every reporter of a gate takes. */
export interface ServerReporterOptions {
  /** What jobs name in `reporting[].type`. Default: the kind of reporter. */
  readonly name?: string;
  /** `always` reports every job, `asked` those that name the reporter. Default `always`. */
  readonly when?: "always" | "asked";
}

/** How long one request may take. Default 10_000 ms, 1 to 300_000. */
export interface RequestLimit {
  readonly timeoutMs?: number;
}

export const TIMEOUT_DEFAULT_MS = 10_000;

/** @throws InvalidInputError */
export const checkTimeout = (timeoutMs: number): number => {
  if (!(timeoutMs >= 1 && timeoutMs <= 300_000)) {
    throw new InvalidInputError("timeoutMs", timeoutMs, "a number from 1 to 300000");
  }
  return timeoutMs;
};

/** What may be shown of something that should have been a URL: nothing up to its last `@`. */
const withoutCredentials = (text: string): string =>
  text.includes("@") ? `…${text.slice(text.lastIndexOf("@"))}` : text;

/** An absolute http(s) URL without a user name in it: that would end in logs. @throws InvalidInputError */
export const checkUrl = (field: string, text: string): URL => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new InvalidInputError(field, withoutCredentials(text), "an absolute http or https URL");
  }
  if (url.username !== "" || url.password !== "") {
    throw new InvalidInputError(
      field,
      `${url.origin}${url.pathname}`,
      "a URL without user and password in it",
    );
  }
  return url;
};

/** Headers with a value that must not be shown are named only. @throws InvalidInputError */
export const checkHeaders = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> => {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$/.test(name)) {
      throw new InvalidInputError("headers", name, "the name of an HTTP header");
    }
    if (!/^[\t\x20-\x7e]{0,8000}$/.test(value)) {
      throw new InvalidInputError(`headers.${name}`, "…", "at most 8000 printable ASCII characters");
    }
  }
  return headers;
};

/** Answers that a repeat may change: the server was slow, throttled us, or was in trouble itself. */
const isWorthRepeating = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || status >= 500;

/** @throws PermanentError for an answer that a repeat would not change, Error for others that are no success. */
export const checkAnswer = (what: string, status: number): void => {
  if (status >= 200 && status < 300) return;
  const message = `${what} answered ${status}`;
  if (isWorthRepeating(status)) throw new Error(message);
  throw new PermanentError(`${message}; check its address and credentials in the gate's reporters`);
};
