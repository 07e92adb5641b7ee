import type { Logger } from "@holdfast/kernel";
import { Deadline, type DeadlineQueue } from "../link/deadline-queue.ts";
import type { PoolEvents } from "./pool-stats.ts";

export interface LeakWatchOptions {
  readonly pool: string;
  /** Undefined: nothing is watched. */
  readonly leakAfterMs: number | undefined;
  readonly deadlines: DeadlineQueue;
  readonly logger: Logger;
  readonly onLeak: (leak: PoolEvents["leaked"]) => void;
}

/** Reports leases that are held for too long, each once, with the place in the program that acquired it. */
export class LeakWatch {
  readonly #options: LeakWatchOptions;

  constructor(options: LeakWatchOptions) {
    this.#options = options;
  }

  /** To be cancelled when the lease ends. */
  start(id: number): Deadline | undefined {
    if (this.#options.leakAfterMs === undefined) return undefined;
    const { deadlines, leakAfterMs: heldMs, logger, onLeak, pool } = this.#options;
    const acquiredAt = new Error("acquired here").stack ?? "";
    const watched = new WatchedLease(() => {
      logger.warn({ pool, id, heldMs, acquiredAt }, "a lease is held too long");
      onLeak({ id, heldMs, acquiredAt });
    });
    deadlines.add(heldMs, watched);
    return watched;
  }
}

class WatchedLease extends Deadline {
  readonly onDeadline: () => void;

  constructor(onHeldTooLong: () => void) {
    super();
    this.onDeadline = onHeldTooLong;
  }
}
