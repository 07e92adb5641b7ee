import { type Clock, Emitter, hasCode, type OverloadedError, systemClock } from "@holdfast/kernel";
import { type CallScope, isUnwanted } from "../execution/call-scope.ts";
import { Engine, type Gate } from "../execution/engine.ts";
import { isLocalRefusal } from "../execution/local-refusal.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { checkCount, checkDurationMs, checkFunction, checkNumber } from "../option-checks.ts";
import { type SlotStats, Slots, type SlotWaitOptions } from "./slots.ts";

export interface ConcurrencyLimitOptions extends SlotWaitOptions {
  /** The limit at the start, within min and max. Default 20. */
  readonly initialLimit?: number;
  /** The limit never falls below this, from 1. Default 1. */
  readonly minLimit?: number;
  /** The limit never rises above this. Default 1_000. */
  readonly maxLimit?: number;
  /** What a sign of overload multiplies the limit by, in (0, 1). Default 0.9. */
  readonly decreaseFactor?: number;
  /** A success that takes longer than this is a sign of overload, above 0. Default: none is. */
  readonly latencyMaxMs?: number;
  /**
   * Which errors are signs of overload. Default: timeouts and the refusals of a loaded server. Where it throws, the
   * error counts as none.
   */
  readonly isOverload?: (error: unknown) => boolean;
  /** Named in refusals. Default `concurrency limit`. */
  readonly name?: string;
  readonly clock?: Clock;
}

export interface ConcurrencyLimitEvents {
  limitChanged: { readonly from: number; readonly to: number };
  rejected: { readonly error: OverloadedError };
}

/** As {@link SlotStats}; besides, the limit's changes are counted. */
export interface ConcurrencyLimitStats extends SlotStats {
  readonly raisedCount: number;
  readonly loweredCount: number;
}

const OVERLOAD_CODES: readonly string[] = [
  "KERNEL_TIMEOUT",
  "KERNEL_OVERLOADED",
  "RESILIENCE_LOAD_SHED",
  "RESILIENCE_RATE_LIMITED",
];

const signalsOverload = (error: unknown): boolean => OVERLOAD_CODES.some((code) => hasCode(error, code));

/**
 * Finds out by itself how many calls a dependency can take at once: additive increase, multiplicative decrease,
 * as TCP does it (and AIMD in Netflix's concurrency-limits, except for the two rules below).
 *
 * A whole round of successes raises the limit by one, and only while at least half of it is in use, so an idle
 * client does not grow a limit that was never tried. Signs of overload from calls that began before the last
 * decrease do not decrease it again: one burst of timeouts is one event.
 */
export class ConcurrencyLimit implements Policy, Gate {
  readonly events = new Emitter<ConcurrencyLimitEvents>();
  readonly #slots: Slots;
  readonly #minLimit: number;
  readonly #maxLimit: number;
  readonly #decreaseFactor: number;
  readonly #latencyMaxMs: number | undefined;
  readonly #isOverload: (error: unknown) => boolean;
  readonly #clock: Clock;
  readonly #engine = new Engine([this]);
  /** With its fraction; the slots get the whole part. */
  #limit: number;
  /** Grows with each decrease. */
  #round = 0;
  #raisedCount = 0;
  #loweredCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: ConcurrencyLimitOptions = {}) {
    this.#minLimit = checkCount("concurrencyLimit.minLimit", options.minLimit ?? 1, { min: 1 });
    this.#maxLimit = checkCount(
      "concurrencyLimit.maxLimit",
      options.maxLimit ?? Math.max(1_000, this.#minLimit),
      {
        min: this.#minLimit,
      },
    );
    this.#limit = checkCount(
      "concurrencyLimit.initialLimit",
      options.initialLimit ?? Math.min(Math.max(20, this.#minLimit), this.#maxLimit),
      { min: this.#minLimit, max: this.#maxLimit },
    );
    this.#decreaseFactor = checkNumber("concurrencyLimit.decreaseFactor", options.decreaseFactor ?? 0.9, {
      above: 0,
      max: 0.999,
    });
    this.#latencyMaxMs =
      options.latencyMaxMs === undefined
        ? undefined
        : checkDurationMs("concurrencyLimit.latencyMaxMs", options.latencyMaxMs);
    this.#isOverload = checkFunction("concurrencyLimit.isOverload", options.isOverload ?? signalsOverload);
    this.#clock = options.clock ?? systemClock;
    this.#slots = new Slots({
      ...options,
      name: options.name ?? "concurrency limit",
      limit: this.#limit,
      clock: this.#clock,
      onRefused: (error) => this.events.emit("rejected", { error }),
    });
  }

  get stats(): ConcurrencyLimitStats {
    return { ...this.#slots.stats, raisedCount: this.#raisedCount, loweredCount: this.#loweredCount };
  }

  /** @throws OverloadedError when there is neither a slot nor a place to wait, or the wait was too long; retryable, nothing was done. */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return this.#engine.execute(body, options);
  }

  enter(call: CallScope): Promise<void> | undefined {
    const wait = this.#slots.enter(call);
    if (wait !== undefined) return this.#noteAfter(wait, call);
    this.#note(call);
    return undefined;
  }

  succeeded(call: CallScope): void {
    if (this.#isTooSlow(call)) this.#lower(call.limitRound);
    else this.#raise();
    this.#slots.leave(true);
  }

  failed(call: CallScope, error: unknown): void {
    if (!isUnwanted(call) && !isLocalRefusal(error) && this.#showsOverload(error))
      this.#lower(call.limitRound);
    this.#slots.leave(false);
  }

  #showsOverload(error: unknown): boolean {
    try {
      return this.#isOverload(error);
    } catch {
      // The call must leave its slot either way.
      return false;
    }
  }

  async #noteAfter(wait: Promise<void>, call: CallScope): Promise<void> {
    await wait;
    this.#note(call);
  }

  #note(call: CallScope): void {
    call.limitRound = this.#round;
    if (this.#latencyMaxMs !== undefined) call.limitEnteredAt = this.#clock.monotonicNow();
  }

  #isTooSlow(call: CallScope): boolean {
    return (
      this.#latencyMaxMs !== undefined &&
      this.#clock.monotonicNow() - call.limitEnteredAt > this.#latencyMaxMs
    );
  }

  #raise(): void {
    if (this.#slots.inFlightCount * 2 < this.#slots.limit || this.#limit >= this.#maxLimit) return;
    this.#change(Math.min(this.#maxLimit, this.#limit + 1 / this.#slots.limit));
  }

  #lower(round: number): void {
    if (round !== this.#round) return;
    this.#round += 1;
    this.#change(Math.max(this.#minLimit, this.#limit * this.#decreaseFactor));
  }

  #change(limit: number): void {
    const from = this.#slots.limit;
    this.#limit = limit;
    // The tolerance keeps n steps of 1/n worth a whole one in binary arithmetic.
    const to = Math.max(this.#minLimit, Math.floor(limit + 1e-9));
    if (to === from) return;
    if (to > from) this.#raisedCount += 1;
    else this.#loweredCount += 1;
    this.#slots.setLimit(to);
    this.events.emit("limitChanged", { from, to });
  }
}
