import { type Clock, type Logger, silentLogger, systemClock } from "@holdfast/kernel";
import { ClaimLostError, TaskCancelledError } from "../errors.ts";
import { type Kept, RenewalKeeper } from "../lease/renewal-keeper.ts";
import type { TaskQueue, TaskRef } from "./task-queue.ts";

export interface ClaimKeeperOptions {
  readonly queue: TaskQueue<never>;
  /** What the claims were taken with; renewed every third of it. */
  readonly leaseMs: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** A claim that is renewed until it is dropped. */
export type KeptClaim = Kept;

/**
 * Keeps a worker's claims alive, all in one call per third of the lease. A short task that ends before then
 * costs no renewal at all.
 *
 * The signal of a claim aborts with ClaimLostError when its renewal is refused or none was confirmed by nine
 * tenths of the lease, and with TaskCancelledError when its task was cancelled. Drop a claim once the end of
 * its task was reported.
 */
export class ClaimKeeper implements AsyncDisposable {
  readonly #keeper: RenewalKeeper<TaskRef>;

  constructor(options: ClaimKeeperOptions) {
    const { queue, leaseMs, clock = systemClock, logger = silentLogger } = options;
    this.#keeper = new RenewalKeeper({
      name: `claims of queue ${queue.name}`,
      ttlMs: leaseMs,
      clock,
      logger,
      renew: async (refs, signal) => {
        const outcomes = await queue.renew(refs, { leaseMs, signal });
        return refs.map((ref, index) => {
          if (outcomes[index] === "renewed") return "renewed";
          return {
            lost:
              outcomes[index] === "cancelled"
                ? new TaskCancelledError(ref.id)
                : new ClaimLostError(ref.id, ref.token),
          };
        });
      },
      unconfirmed: ({ id, token }, cause) => new ClaimLostError(id, token, { cause }),
    });
  }

  get count(): number {
    return this.#keeper.count;
  }

  /** Keeps a claim. `askedAt` is `clock.monotonicNow()` from before `claim` was called. */
  keep(task: TaskRef, options: { readonly askedAt: number }): KeptClaim {
    return this.#keeper.keep({ id: task.id, token: task.token }, options);
  }

  /** Stops renewing; the claims lapse by themselves. */
  close(): Promise<void> {
    return this.#keeper.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
