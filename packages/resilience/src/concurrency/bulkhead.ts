import { type Clock, Emitter, type OverloadedError, systemClock } from "@holdfast/kernel";
import type { CallScope } from "../execution/call-scope.ts";
import { Engine, type Gate } from "../execution/engine.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { checkCount } from "../option-checks.ts";
import { type SlotStats, Slots, type SlotWaitOptions } from "./slots.ts";

export interface BulkheadOptions extends SlotWaitOptions {
  /** Calls that may run at once, from 1. */
  readonly concurrencyMaxCount: number;
  /** Named in refusals. Default `bulkhead`. */
  readonly name?: string;
  readonly clock?: Clock;
}

export interface BulkheadEvents {
  rejected: { readonly error: OverloadedError };
}

/**
 * Lets a fixed number of calls run at once and a bounded number wait, first come first served, so that one slow
 * dependency cannot take up everything.
 */
export class Bulkhead implements Policy, Gate {
  readonly events = new Emitter<BulkheadEvents>();
  readonly #slots: Slots;
  readonly #engine = new Engine([this]);

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: BulkheadOptions) {
    const limit = checkCount("bulkhead.concurrencyMaxCount", options.concurrencyMaxCount, { min: 1 });
    this.#slots = new Slots({
      ...options,
      name: options.name ?? "bulkhead",
      limit,
      clock: options.clock ?? systemClock,
      onRefused: (error) => this.events.emit("rejected", { error }),
    });
  }

  get stats(): SlotStats {
    return this.#slots.stats;
  }

  /** @throws OverloadedError when there is neither a slot nor a place to wait, or the wait was too long; retryable, nothing was done. */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return this.#engine.execute(body, options);
  }

  enter(call: CallScope): Promise<void> | undefined {
    return this.#slots.enter(call);
  }

  succeeded(): void {
    this.#slots.leave(true);
  }

  failed(): void {
    this.#slots.leave(false);
  }
}
