import type { RateLimit } from "./task-queue.ts";

/** What is left of a rate limit, as of an instant. */
export interface TokenBucket {
  readonly tokens: number;
  /** Milliseconds since the epoch by the store's clock. */
  readonly at: number;
}

/** The bucket as of `now`: full when it is new. */
export const refilled = (bucket: TokenBucket | undefined, rate: RateLimit, now: number): TokenBucket => {
  if (bucket === undefined) return { tokens: rate.count, at: now };
  const gained = (Math.max(0, now - bucket.at) * rate.count) / rate.perMs;
  return { tokens: Math.min(rate.count, bucket.tokens + gained), at: Math.max(now, bucket.at) };
};

/** How long until a bucket that was just refilled has a whole token, milliseconds. */
export const waitForTokenMs = (bucket: TokenBucket, rate: RateLimit): number =>
  bucket.tokens >= 1 ? 0 : ((1 - bucket.tokens) * rate.perMs) / rate.count;
