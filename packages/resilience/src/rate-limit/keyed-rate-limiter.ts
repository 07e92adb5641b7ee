import { type Clock, Emitter, systemClock } from "@holdfast/kernel";
import { RateLimitedError } from "../errors.ts";
import { checkCount, checkFunction } from "../option-checks.ts";
import type { PermitOptions, PermitSource } from "./rate-limiter.ts";
import { RecentKeys } from "./recent-keys.ts";
import { SlidingWindow } from "./sliding-window.ts";

export interface KeyedRateLimiterOptions {
  /** Makes the limit of a new key, for example `() => new SlidingWindow({ limit: 100, windowMs: 10_000 })`. */
  readonly createSource: () => PermitSource;
  /** Named in refusals. Default `rate limit`. */
  readonly name?: string;
  /** Keys remembered at once; one more evicts the key used longest ago. Default 10_000. */
  readonly keyMaxCount?: number;
  /** A key not used for this long is forgotten. Should not be shorter than the limit's window. Default 300_000. */
  readonly idleMs?: number;
  readonly clock?: Clock;
}

export interface KeyedRateLimiterEvents {
  refused: { readonly key: string; readonly permitCount: number; readonly retryAfterMs: number };
}

/** `askedCount = grantedCount + refusedCount`; `createdKeyCount = keyCount + evictedKeyCount + forgottenKeyCount`. */
export interface KeyedRateLimiterStats {
  readonly askedCount: number;
  readonly grantedCount: number;
  readonly refusedCount: number;
  readonly keyCount: number;
  readonly createdKeyCount: number;
  readonly evictedKeyCount: number;
  readonly forgottenKeyCount: number;
}

/**
 * The same limit for each of many keys, each counted for itself. Answers at once and never waits.
 *
 * A forgotten or evicted key starts afresh: whoever can invent keys freely can outrun the limit by pushing out
 * old ones, so limit the keys' origin (the connection, the account) too.
 */
export class KeyedRateLimiter {
  readonly events = new Emitter<KeyedRateLimiterEvents>();
  readonly #keys: RecentKeys<PermitSource>;
  readonly #name: string;
  readonly #clock: Clock;
  #grantedCount = 0;
  #refusedCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: KeyedRateLimiterOptions) {
    this.#keys = new RecentKeys({
      keyMaxCount: options.keyMaxCount ?? 10_000,
      idleMs: options.idleMs ?? 300_000,
      create: checkFunction("createSource", options.createSource),
    });
    this.#name = options.name ?? "rate limit";
    this.#clock = options.clock ?? systemClock;
  }

  /** A keyed limiter over exact sliding windows. */
  static slidingWindow(
    options: Omit<KeyedRateLimiterOptions, "createSource"> & {
      readonly limit: number;
      readonly windowMs: number;
    },
  ): KeyedRateLimiter {
    const { limit, windowMs } = new SlidingWindow(options);
    return new KeyedRateLimiter({ ...options, createSource: () => new SlidingWindow({ limit, windowMs }) });
  }

  get stats(): KeyedRateLimiterStats {
    const keys = this.#keys.stats;
    return {
      askedCount: this.#grantedCount + this.#refusedCount,
      grantedCount: this.#grantedCount,
      refusedCount: this.#refusedCount,
      keyCount: keys.size,
      createdKeyCount: keys.createdCount,
      evictedKeyCount: keys.evictedCount,
      forgottenKeyCount: keys.forgottenCount,
    };
  }

  /**
   * Takes permits of `key` if they are free now.
   * @returns 0 when taken; else nothing was taken, and the number is the milliseconds until the same call can succeed.
   * @throws InvalidInputError when the count is not in 1 … limit.
   */
  tryTake(key: string, permitCount = 1): number {
    const now = this.#clock.monotonicNow();
    const source = this.#keys.use(key, now);
    if (permitCount !== 1) checkCount("permitCount", permitCount, { min: 1, max: source.limit });
    const retryAfterMs = source.take(now, permitCount);
    if (retryAfterMs === 0) {
      this.#grantedCount += 1;
      return 0;
    }
    this.#refusedCount += 1;
    this.events.emit("refused", { key, permitCount, retryAfterMs });
    return retryAfterMs;
  }

  /** As `tryTake`. @throws RateLimitedError when the permits are not free; retryable, nothing was taken. */
  take(key: string, options: PermitOptions = {}): void {
    const retryAfterMs = this.tryTake(key, options.permitCount);
    if (retryAfterMs > 0) throw new RateLimitedError(this.#name, { retryAfterMs, details: { key } });
  }

  /** Permits of `key` that are free now. Does not mark the key as used. */
  freePermitCount(key: string): number | undefined {
    const now = this.#clock.monotonicNow();
    return this.#keys.peek(key, now)?.freeCount(now);
  }
}
