import { Emitter, OverloadedError } from "@holdfast/kernel";
import { CallScope } from "../execution/call-scope.ts";
import { markLocalRefusal } from "../execution/local-refusal.ts";
import type { Body, ExecuteOptions } from "../execution/policy.ts";
import { bodyRunner } from "../execution/runner.ts";
import { checkCount, checkOneOf } from "../option-checks.ts";
import { type Priority, priorities } from "./priority.ts";

export interface InFlightCapsOptions {
  /** All work together; critical work counts but is not held back by it. Default 1_000. */
  readonly totalMaxCount?: number;
  /** Default 500. */
  readonly highMaxCount?: number;
  /** Default 300. */
  readonly normalMaxCount?: number;
  /** Default 200. */
  readonly lowMaxCount?: number;
}

export interface InFlightCapsEvents {
  refused: { readonly priority: Priority };
}

/** Of one priority: `offeredCount = endedCount + inFlightCount + refusedCount`. */
export interface InFlightPriorityStats {
  readonly offeredCount: number;
  readonly inFlightCount: number;
  readonly endedCount: number;
  readonly refusedCount: number;
}

/** `inFlightCount` is the sum over the priorities. */
export interface InFlightCapsStats {
  readonly inFlightCount: number;
  readonly byPriority: Readonly<Record<Priority, InFlightPriorityStats>>;
}

/** How much work of each priority may be in the house at once. Refuses at once and never waits; critical work always passes. */
export class InFlightCaps {
  readonly events = new Emitter<InFlightCapsEvents>();
  readonly #totalMaxCount: number;
  readonly #maxCounts: Readonly<Record<Priority, number>>;
  readonly #inFlight: Record<Priority, number> = { critical: 0, high: 0, normal: 0, low: 0 };
  readonly #ended: Record<Priority, number> = { critical: 0, high: 0, normal: 0, low: 0 };
  readonly #refused: Record<Priority, number> = { critical: 0, high: 0, normal: 0, low: 0 };
  #inFlightCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: InFlightCapsOptions = {}) {
    this.#totalMaxCount = checkCount("inFlight.totalMaxCount", options.totalMaxCount ?? 1_000, { min: 1 });
    this.#maxCounts = {
      critical: Number.POSITIVE_INFINITY,
      high: checkCount("inFlight.highMaxCount", options.highMaxCount ?? 500),
      normal: checkCount("inFlight.normalMaxCount", options.normalMaxCount ?? 300),
      low: checkCount("inFlight.lowMaxCount", options.lowMaxCount ?? 200),
    };
  }

  get stats(): InFlightCapsStats {
    const of = (priority: Priority): InFlightPriorityStats => ({
      offeredCount: this.#ended[priority] + this.#inFlight[priority] + this.#refused[priority],
      inFlightCount: this.#inFlight[priority],
      endedCount: this.#ended[priority],
      refusedCount: this.#refused[priority],
    });
    return {
      inFlightCount: this.#inFlightCount,
      byPriority: { critical: of("critical"), high: of("high"), normal: of("normal"), low: of("low") },
    };
  }

  /**
   * Takes work in, or gives undefined when a cap is reached.
   * @returns The function that marks the work as ended; calling it again has no effect.
   * @throws InvalidInputError for an unknown priority.
   */
  tryEnter(priority: Priority): (() => void) | undefined {
    checkOneOf("priority", priority, priorities);
    const isFull =
      priority !== "critical" &&
      (this.#inFlightCount >= this.#totalMaxCount || this.#inFlight[priority] >= this.#maxCounts[priority]);
    if (isFull) {
      this.#refused[priority] += 1;
      this.events.emit("refused", { priority });
      return undefined;
    }
    this.#inFlight[priority] += 1;
    this.#inFlightCount += 1;
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#inFlight[priority] -= 1;
      this.#inFlightCount -= 1;
      this.#ended[priority] += 1;
    };
  }

  /** Calls `body` within the caps. @throws OverloadedError when one is reached; retryable, nothing was done. */
  async execute<T>(body: Body<T>, options: ExecuteOptions & { readonly priority: Priority }): Promise<T> {
    const scope = CallScope.open(options);
    try {
      scope.throwIfAborted();
      const leave = this.tryEnter(options.priority);
      if (leave === undefined) {
        const limit = Math.min(this.#maxCounts[options.priority], this.#totalMaxCount);
        throw markLocalRefusal(new OverloadedError(`in-flight work of priority ${options.priority}`, limit));
      }
      try {
        return await bodyRunner.run(body, scope);
      } finally {
        leave();
      }
    } finally {
      scope.close();
    }
  }
}
