import { type Clock, Emitter, systemClock } from "@holdfast/kernel";
import { type CallScope, isUnwanted } from "../execution/call-scope.ts";
import { Engine, type Gate } from "../execution/engine.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { TimeoutQueue } from "../execution/timeout-queue.ts";
import { checkDurationMs } from "../option-checks.ts";

export interface TimeoutOptions {
  /** The longest that one call may take, above 0. */
  readonly timeoutMs: number;
  /** Named in the error. Default `operation`. */
  readonly name?: string;
  readonly clock?: Clock;
}

export interface TimeoutEvents {
  timedOut: { readonly timeoutMs: number };
}

/** Conservation: `callCount = successCount + failureCount + timedOutCount + abortCount + inFlightCount`. */
export interface TimeoutStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly successCount: number;
  /** Calls whose body failed within the limit, or that an outer limit ended. */
  readonly failureCount: number;
  readonly timedOutCount: number;
  /** Calls that the caller ended. */
  readonly abortCount: number;
}

/**
 * Ends a call that takes too long. The caller gets its answer at the limit even when the body ignores its
 * signal; the body then goes on unheard. All calls of one policy share one timer.
 */
export class Timeout implements Policy, Gate {
  readonly events = new Emitter<TimeoutEvents>();
  readonly #queue: TimeoutQueue;
  readonly #engine = new Engine([this]);
  #callCount = 0;
  #inFlightCount = 0;
  #successCount = 0;
  #failureCount = 0;
  #timedOutCount = 0;
  #abortCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: TimeoutOptions) {
    this.#queue = new TimeoutQueue({
      clock: options.clock ?? systemClock,
      operation: options.name ?? "operation",
      timeoutMs: checkDurationMs("timeout.timeoutMs", options.timeoutMs),
    });
  }

  get stats(): TimeoutStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      successCount: this.#successCount,
      failureCount: this.#failureCount,
      timedOutCount: this.#timedOutCount,
      abortCount: this.#abortCount,
    };
  }

  /**
   * @throws TimeoutError at the limit, naming the operation and the limit; retryable, and whether the body had
   *   an effect is not known. The body's signal aborts with the same error.
   */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return this.#engine.execute(body, options);
  }

  enter(call: CallScope): undefined {
    call.throwIfAborted();
    call.mayAbort = true;
    const endsAt = this.#queue.add(call);
    if (endsAt < call.deadlineAt) call.deadlineAt = endsAt;
    call.startedAt = endsAt - this.#queue.timeoutMs;
    call.startedWithinMs = this.#queue.timeoutMs;
    this.#callCount += 1;
    this.#inFlightCount += 1;
  }

  succeeded(call: CallScope): void {
    this.#successCount += 1;
    this.#inFlightCount -= 1;
    this.#queue.remove(call);
  }

  failed(call: CallScope): void {
    this.#inFlightCount -= 1;
    this.#queue.remove(call);
    if (call.timedOut) {
      this.#timedOutCount += 1;
      this.events.emit("timedOut", { timeoutMs: this.#queue.timeoutMs });
    } else if (isUnwanted(call)) this.#abortCount += 1;
    else this.#failureCount += 1;
  }
}
