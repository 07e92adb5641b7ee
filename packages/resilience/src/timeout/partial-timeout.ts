import { type Clock, Emitter, OverloadedError, systemClock } from "@holdfast/kernel";
import { CallScope, isUnwanted } from "../execution/call-scope.ts";
import type { CallContext, ExecuteOptions } from "../execution/policy.ts";
import { bodyRunner } from "../execution/runner.ts";
import { TimeoutQueue } from "../execution/timeout-queue.ts";
import { checkCount, checkDurationMs } from "../option-checks.ts";

export interface PartialTimeoutOptions {
  /** How long to collect, above 0. */
  readonly timeoutMs: number;
  /** False makes the limit an error, as with an ordinary timeout. Default true. */
  readonly returnPartial?: boolean;
  /** Items that one call may collect, from 1; one more fails the call. Default 100_000. */
  readonly itemMaxCount?: number;
  /** Named in errors. Default `collection`. */
  readonly name?: string;
  readonly clock?: Clock;
}

/** What was collected, in the order of its coming. `timedOut` means that there may have been more. */
export interface PartialResult<T> {
  readonly items: readonly T[];
  readonly timedOut: boolean;
}

/** Produces items by calling `add`. What it adds after the limit, or after it has settled, is dropped. */
export type Collector<T> = (context: CallContext, add: (item: T) => void) => unknown;

export interface PartialTimeoutEvents {
  /** The limit passed with so many items collected. */
  timedOut: { readonly timeoutMs: number; readonly itemCount: number };
}

/** Conservation: `callCount = completeCount + partialCount + timedOutCount + failureCount + abortCount + inFlightCount`. */
export interface PartialTimeoutStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly completeCount: number;
  /** Calls that returned what they had at the limit. */
  readonly partialCount: number;
  /** Calls that the limit failed, because partial results are off. */
  readonly timedOutCount: number;
  readonly failureCount: number;
  readonly abortCount: number;
}

/** Collects items for a limited time and returns what has come by then, for answers where some is better than none. */
export class PartialTimeout {
  readonly events = new Emitter<PartialTimeoutEvents>();
  readonly #queue: TimeoutQueue;
  readonly #returnPartial: boolean;
  readonly #itemMaxCount: number;
  readonly #name: string;
  #callCount = 0;
  #inFlightCount = 0;
  #completeCount = 0;
  #partialCount = 0;
  #timedOutCount = 0;
  #failureCount = 0;
  #abortCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: PartialTimeoutOptions) {
    this.#name = options.name ?? "collection";
    this.#queue = new TimeoutQueue({
      clock: options.clock ?? systemClock,
      operation: this.#name,
      timeoutMs: checkDurationMs("partialTimeout.timeoutMs", options.timeoutMs),
    });
    this.#returnPartial = options.returnPartial ?? true;
    this.#itemMaxCount = checkCount("partialTimeout.itemMaxCount", options.itemMaxCount ?? 100_000, {
      min: 1,
    });
  }

  get stats(): PartialTimeoutStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      completeCount: this.#completeCount,
      partialCount: this.#partialCount,
      timedOutCount: this.#timedOutCount,
      failureCount: this.#failureCount,
      abortCount: this.#abortCount,
    };
  }

  /**
   * Runs `collector` until it settles or the limit passes.
   * @throws TimeoutError at the limit when partial results are off; retryable.
   * @throws OverloadedError when more than `itemMaxCount` items come; the collector's signal aborts with it.
   * @throws what the collector throws before the limit; its items are dropped.
   * @throws signal.reason when the caller aborts.
   */
  async collect<T>(collector: Collector<T>, options: ExecuteOptions = {}): Promise<PartialResult<T>> {
    const scope = CallScope.open(options);
    scope.mayAbort = true;
    scope.deadlineAt = Math.min(scope.deadlineAt, this.#queue.add(scope));
    this.#callCount += 1;
    this.#inFlightCount += 1;
    const items: T[] = [];
    let isOpen = true;
    let overflow: OverloadedError | undefined;
    const add = (item: T): void => {
      if (!isOpen || scope.aborted) return;
      if (items.length < this.#itemMaxCount) {
        items.push(item);
        return;
      }
      overflow = new OverloadedError(`the result of ${this.#name}`, this.#itemMaxCount);
      scope.abort(overflow);
    };
    try {
      await bodyRunner.run((context) => collector(context, add), scope);
      scope.throwIfAborted();
      this.#completeCount += 1;
      return { items, timedOut: false };
    } catch (error) {
      if (scope.timedOut) {
        this.events.emit("timedOut", { timeoutMs: this.#queue.timeoutMs, itemCount: items.length });
      }
      if (scope.timedOut && this.#returnPartial) {
        this.#partialCount += 1;
        return { items, timedOut: true };
      }
      if (scope.timedOut) this.#timedOutCount += 1;
      else if (isUnwanted(scope) && scope.reason !== overflow) this.#abortCount += 1;
      else this.#failureCount += 1;
      throw error;
    } finally {
      isOpen = false;
      this.#inFlightCount -= 1;
      this.#queue.remove(scope);
      scope.close();
    }
  }
}
