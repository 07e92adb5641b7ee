import { createHmac, timingSafeEqual } from "node:crypto";
import { type Clock, InvalidInputError, systemClock } from "@holdfast/kernel";
import { request } from "undici";
import type { JobReporter } from "../../model/job-reporter.ts";
import {
  checkAnswer,
  checkHeaders,
  checkTimeout,
  checkUrl,
  type RequestLimit,
  type ServerReporterOptions,
  TIMEOUT_DEFAULT_MS,
} from "./reporter-options.ts";

export interface WebhookOptions extends ServerReporterOptions, RequestLimit {
  readonly url: string;
  /** Signs every request; at least 24 characters. Receivers check it with `verifyWebhook`. Never logged. */
  readonly secret: string;
  /** Sent along, for example for a proxy in front of the receiver. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
}

const SECRET_MIN_LENGTH = 24;
/** How far a receiver's clock may be off before a signature counts as replayed. */
const TOLERANCE_DEFAULT_MS = 300_000;

/**
 * Posts each result as JSON: `{"type":"job.result","deliveryId","labels","result"}`.
 *
 * Signed as the Standard Webhooks specification (version 1) says: `webhook-id` is the delivery's id, the same in every
 * attempt, `webhook-timestamp` the time of this attempt in seconds, `webhook-signature` an HMAC with SHA-256 over
 * `id.timestamp.body`. Any 2xx answer counts as received. Redirects are not followed. 408, 425, 429, 5xx and
 * failures of the network are tried again; every other answer ends the delivery.
 * @throws InvalidInputError naming the option; the secret is never shown.
 */
export const createWebhookReporter = (options: WebhookOptions): JobReporter => {
  const { name = "webhook", when = "always", secret, clock = systemClock } = options;
  const url = checkUrl("url", options.url);
  if (secret.length < SECRET_MIN_LENGTH) {
    throw new InvalidInputError("secret", "…", `at least ${SECRET_MIN_LENGTH} characters`);
  }
  const timeoutMs = checkTimeout(options.timeoutMs ?? TIMEOUT_DEFAULT_MS);
  const headers = checkHeaders(options.headers ?? {});
  return {
    name,
    when,
    deliver: async ({ deliveryId, labels, result }, { signal }) => {
      const body = JSON.stringify({ type: "job.result", deliveryId, labels, result });
      const timestamp = String(Math.floor(clock.wallNow() / 1_000));
      const answer = await request(url, {
        method: "POST",
        headers: {
          ...headers,
          "content-type": "application/json",
          "user-agent": "holdfast",
          "webhook-id": deliveryId,
          "webhook-timestamp": timestamp,
          "webhook-signature": `v1,${signatureOf(secret, deliveryId, timestamp, body)}`,
        },
        body,
        signal,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      });
      await answer.body.dump();
      checkAnswer(`the webhook at ${url.host}`, answer.statusCode);
    },
    close: async () => undefined,
  };
};

const signatureOf = (secret: string, id: string, timestamp: string, body: string | Uint8Array): string =>
  createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body).digest("base64");

/**
 * For receivers: whether a request was signed with the secret within the last minutes (`toleranceMs`, default five).
 * Give the body as it came, before any parsing. Takes the same time for every wrong signature.
 */
export const verifyWebhook = (
  received: {
    readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
    readonly body: string | Uint8Array;
  },
  options: { readonly secret: string; readonly toleranceMs?: number; readonly clock?: Clock },
): boolean => {
  const { secret, toleranceMs = TOLERANCE_DEFAULT_MS, clock = systemClock } = options;
  const {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": signatures,
  } = received.headers;
  if (typeof id !== "string" || typeof timestamp !== "string" || typeof signatures !== "string") return false;
  const age = clock.wallNow() - Number(timestamp) * 1_000;
  if (!(Math.abs(age) <= toleranceMs)) return false;
  const expected = Buffer.from(signatureOf(secret, id, timestamp, received.body));
  // While a secret is being changed a sender signs with both.
  return signatures.split(" ").some((entry) => {
    const [version, signature = ""] = entry.split(",", 2);
    const given = Buffer.from(signature);
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
};
