import { type Clock, OverloadedError } from "@holdfast/kernel";
import type { CallScope } from "../execution/call-scope.ts";
import { markLocalRefusal } from "../execution/local-refusal.ts";
import { WaitLine } from "../execution/wait-line.ts";
import { checkCount, checkNumber } from "../option-checks.ts";

/** Who may wait for a slot. */
export interface SlotWaitOptions {
  /** Calls that may wait at once; one more is refused. Default 0: nobody waits. */
  readonly waiterMaxCount?: number;
  /** The longest wait in milliseconds, after which the call is refused. Default 10_000. */
  readonly waitMaxMs?: number;
}

/**
 * Conservation: `callCount = successCount + failureCount + rejectedCount + abortedWaitCount + waitingCount + inFlightCount`.
 */
export interface SlotStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly waitingCount: number;
  readonly successCount: number;
  readonly failureCount: number;
  /** Calls that found no slot: the line was full, or the wait too long. */
  readonly rejectedCount: number;
  /** Calls that ended while they waited. */
  readonly abortedWaitCount: number;
  readonly limit: number;
}

/** A number of slots that may change, and the bounded line of those who wait for one. */
export class Slots {
  readonly #name: string;
  readonly #waiterMaxCount: number;
  readonly #waitMaxMs: number;
  readonly #line: WaitLine;
  readonly #onRefused: (error: OverloadedError) => void;
  #limit: number;
  #inFlightCount = 0;
  #callCount = 0;
  #successCount = 0;
  #failureCount = 0;
  #refusedCount = 0;

  constructor(
    options: SlotWaitOptions & {
      readonly name: string;
      readonly limit: number;
      readonly clock: Clock;
      /** Hears of each refusal. Must not throw. */
      readonly onRefused: (error: OverloadedError) => void;
    },
  ) {
    this.#name = options.name;
    this.#limit = options.limit;
    this.#waiterMaxCount = checkCount(`${options.name}.waiterMaxCount`, options.waiterMaxCount ?? 0);
    this.#waitMaxMs = checkNumber(`${options.name}.waitMaxMs`, options.waitMaxMs ?? 10_000, { min: 0 });
    this.#line = new WaitLine(options.clock);
    this.#onRefused = options.onRefused;
  }

  get limit(): number {
    return this.#limit;
  }

  get inFlightCount(): number {
    return this.#inFlightCount;
  }

  get stats(): SlotStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      waitingCount: this.#line.size,
      successCount: this.#successCount,
      failureCount: this.#failureCount,
      rejectedCount: this.#refusedCount + this.#line.timedOutCount,
      abortedWaitCount: this.#line.abortedCount,
      limit: this.#limit,
    };
  }

  /** A lower limit lets running calls finish; a higher one serves the line at once. */
  setLimit(limit: number): void {
    this.#limit = limit;
    this.#serve();
  }

  /** Takes a slot now, and gives undefined, or gives the wait for one. Throws when there is no place to wait. */
  enter(scope: CallScope): Promise<void> | undefined {
    scope.throwIfAborted();
    this.#callCount += 1;
    if (this.#inFlightCount < this.#limit && this.#line.size === 0) {
      this.#inFlightCount += 1;
      return undefined;
    }
    if (this.#line.size >= this.#waiterMaxCount) {
      this.#refusedCount += 1;
      throw this.#refusal();
    }
    return this.#wait(scope);
  }

  leave(isSuccess: boolean): void {
    if (isSuccess) this.#successCount += 1;
    else this.#failureCount += 1;
    this.#inFlightCount -= 1;
    this.#serve();
  }

  async #wait(scope: CallScope): Promise<void> {
    const end = await this.#line.join(scope, { waitMaxMs: this.#waitMaxMs });
    if (end === "timed-out") throw this.#refusal();
  }

  /** A slot passes to the waiter here and now, so that no newcomer can take it before the waiter wakes. */
  #serve(): void {
    if (this.#line.size > 0) this.#line.endLate();
    while (this.#inFlightCount < this.#limit && this.#line.serveFirst()) this.#inFlightCount += 1;
  }

  #refusal(): OverloadedError {
    const error = markLocalRefusal(new OverloadedError(this.#name, this.#limit));
    this.#onRefused(error);
    return error;
  }
}
