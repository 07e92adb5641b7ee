import { type Clock, systemClock } from "@holdfast/kernel";
import { checkDurationMs, checkNumber } from "../option-checks.ts";

/**
 * How much retrying one dependency may receive from this process. Share one budget between all callers of the
 * dependency: per-caller limits multiply, a shared budget does not.
 */
export interface RetryBudget {
  /** A call (not a retry) begins. */
  callStarted(): void;
  /** An attempt, first or repeated, ended well. */
  attemptSucceeded(): void;
  /** An attempt, first or repeated, failed in a way that would be retried. */
  attemptFailed(): void;
  /** Takes the right to one retry. False when there is none; nothing was taken then. */
  tryWithdraw(): boolean;
  readonly stats: RetryBudgetStats;
}

/** `withdrawnCount + deniedCount` is the number of `tryWithdraw` calls. */
export interface RetryBudgetStats {
  readonly withdrawnCount: number;
  readonly deniedCount: number;
  /** Retries that would be granted now. */
  readonly availableCount: number;
}

export interface ShareBudgetOptions {
  /** Retries granted per call, in [0, 10]. Default 0.2: retries add at most a fifth to the load. */
  readonly share?: number;
  /** Retries granted besides, so that a quiet client may retry at all. Default 10; 0 makes `share` strict. */
  readonly minPerSecond?: number;
  /** How long a call's credit lives. Default 10_000. */
  readonly creditTtlMs?: number;
  readonly clock?: Clock;
}

/** Credit is kept in this many slices of its lifetime; a slice expires as a whole, up to a tenth early. */
const SLICE_COUNT = 10;

/**
 * Retries at most a share of the recent calls: each call earns `share` of a retry, which expires unused.
 * The scheme and the defaults are Finagle's (20 % plus 10 per second, credit lives 10 s).
 *
 * Invariant: over any credit lifetime, retries <= share × calls in it + minPerSecond × lifetime.
 */
export class ShareBudget implements RetryBudget {
  readonly #share: number;
  readonly #reserve: number;
  readonly #sliceMs: number;
  readonly #clock: Clock;
  // Ring of net credit per slice: earned minus spent. Spending is booked on the slice in which it happens.
  readonly #slices = new Float64Array(SLICE_COUNT);
  #sliceIndex: number;
  #balance = 0;
  #withdrawnCount = 0;
  #deniedCount = 0;

  constructor(options: ShareBudgetOptions = {}) {
    this.#share = checkNumber("budget.share", options.share ?? 0.2, { min: 0, max: 10 });
    const ttlMs = checkDurationMs("budget.creditTtlMs", options.creditTtlMs ?? 10_000);
    const minPerSecond = checkNumber("budget.minPerSecond", options.minPerSecond ?? 10, { min: 0 });
    this.#reserve = (minPerSecond * ttlMs) / 1_000;
    this.#sliceMs = ttlMs / SLICE_COUNT;
    this.#clock = options.clock ?? systemClock;
    this.#sliceIndex = this.#nowSlice();
  }

  callStarted(): void {
    this.#roll();
    this.#book(this.#share);
  }

  attemptSucceeded(): void {}

  attemptFailed(): void {}

  tryWithdraw(): boolean {
    this.#roll();
    // The tolerance keeps five calls at 0.2 worth one retry in binary arithmetic.
    if (this.#balance + this.#reserve < 1 - 1e-9) {
      this.#deniedCount += 1;
      return false;
    }
    this.#book(-1);
    this.#withdrawnCount += 1;
    return true;
  }

  get stats(): RetryBudgetStats {
    this.#roll();
    return {
      withdrawnCount: this.#withdrawnCount,
      deniedCount: this.#deniedCount,
      availableCount: Math.max(0, Math.floor(this.#balance + this.#reserve + 1e-9)),
    };
  }

  #book(amount: number): void {
    const slot = this.#sliceIndex % SLICE_COUNT;
    this.#slices[slot] = (this.#slices[slot] ?? 0) + amount;
    this.#balance += amount;
  }

  #nowSlice(): number {
    return Math.floor(this.#clock.monotonicNow() / this.#sliceMs);
  }

  #roll(): void {
    const target = this.#nowSlice();
    if (target === this.#sliceIndex) return;
    const steps = Math.min(target - this.#sliceIndex, SLICE_COUNT);
    for (let step = 1; step <= steps; step += 1) this.#slices[(this.#sliceIndex + step) % SLICE_COUNT] = 0;
    this.#sliceIndex = target;
    // Summed anew instead of subtracted, so that rounding errors do not pile up.
    this.#balance = this.#slices.reduce((sum, slice) => sum + slice, 0);
  }
}

export interface TokenBudgetOptions {
  /** Tokens at the start and at most, above 0. Default 100. */
  readonly tokenMax?: number;
  /** Taken by each failed attempt. Default 1. */
  readonly failureCost?: number;
  /** Given back by each successful attempt. Default 0.1. */
  readonly successCredit?: number;
  /** Retries are granted only while more than this share of the tokens is there, in [0, 1). Default 0.5. */
  readonly threshold?: number;
}

/**
 * Stops retrying once failures outweigh successes, and starts again with successes: the throttling of gRPC
 * (proposal A6). In a total outage at most tokenMax × (1 - threshold) / failureCost failures are followed by a retry.
 */
export class TokenBudget implements RetryBudget {
  readonly #tokenMax: number;
  readonly #failureCost: number;
  readonly #successCredit: number;
  readonly #floor: number;
  #tokens: number;
  #withdrawnCount = 0;
  #deniedCount = 0;

  constructor(options: TokenBudgetOptions = {}) {
    this.#tokenMax = checkNumber("budget.tokenMax", options.tokenMax ?? 100, { above: 0 });
    this.#failureCost = checkNumber("budget.failureCost", options.failureCost ?? 1, { above: 0 });
    this.#successCredit = checkNumber("budget.successCredit", options.successCredit ?? 0.1, { min: 0 });
    this.#floor =
      this.#tokenMax * checkNumber("budget.threshold", options.threshold ?? 0.5, { min: 0, max: 0.99 });
    this.#tokens = this.#tokenMax;
  }

  callStarted(): void {}

  attemptSucceeded(): void {
    this.#tokens = Math.min(this.#tokenMax, this.#tokens + this.#successCredit);
  }

  attemptFailed(): void {
    this.#tokens = Math.max(0, this.#tokens - this.#failureCost);
  }

  tryWithdraw(): boolean {
    if (this.#tokens <= this.#floor) {
      this.#deniedCount += 1;
      return false;
    }
    this.#withdrawnCount += 1;
    return true;
  }

  get stats(): RetryBudgetStats {
    return {
      withdrawnCount: this.#withdrawnCount,
      deniedCount: this.#deniedCount,
      availableCount: Math.max(0, Math.ceil((this.#tokens - this.#floor) / this.#failureCost)),
    };
  }
}
