import { type Clock, systemClock } from "@holdfast/kernel";
import { checkCount, checkNumber } from "../option-checks.ts";
import type { PermitSource } from "./rate-limiter.ts";

export interface TokenBucketOptions {
  /** Permits that can be taken at once after a rest, a whole number from 1. */
  readonly burst: number;
  /** Permits that come back each second, above 0. */
  readonly perSecond: number;
  /** Permits at the start, 0 to `burst`. Default `burst`. */
  readonly initial?: number;
  /** Only read at creation, to start the refill. Default the system clock. */
  readonly clock?: Clock;
}

/** Half a nanosecond's worth of rounding must not make a caller wait another millisecond. */
const EPSILON = 1e-9;

/**
 * Grants permits at a steady rate and allows short bursts: in any stretch of t seconds at most
 * burst + perSecond × t. Smoother for the callee than a window, which may grant its whole limit twice in a row
 * around an idle moment. Costs three numbers per key.
 */
export class TokenBucket implements PermitSource {
  readonly limit: number;
  readonly #perMs: number;
  #tokens: number;
  #refilledAt: number;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: TokenBucketOptions) {
    this.limit = checkCount("tokenBucket.burst", options.burst, { min: 1 });
    this.#perMs = checkNumber("tokenBucket.perSecond", options.perSecond, { above: 0 }) / 1_000;
    this.#tokens = checkNumber("tokenBucket.initial", options.initial ?? options.burst, {
      min: 0,
      max: options.burst,
    });
    this.#refilledAt = (options.clock ?? systemClock).monotonicNow();
  }

  take(now: number, count = 1): number {
    const waitMs = this.waitMs(now, count);
    if (waitMs === 0) this.#tokens = Math.max(0, this.#tokens - count);
    return waitMs;
  }

  waitMs(now: number, count = 1): number {
    this.#refill(now);
    return this.#tokens + EPSILON >= count ? 0 : (count - this.#tokens) / this.#perMs;
  }

  freeCount(now: number): number {
    this.#refill(now);
    return Math.floor(this.#tokens + EPSILON);
  }

  #refill(now: number): void {
    if (now <= this.#refilledAt) return;
    this.#tokens = Math.min(this.limit, this.#tokens + (now - this.#refilledAt) * this.#perMs);
    this.#refilledAt = now;
  }
}
