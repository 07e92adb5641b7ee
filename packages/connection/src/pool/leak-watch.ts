import type { Logger } from "@holdfast/kernel";
import type { Deadline, DeadlineQueue } from "../link/deadline-queue.ts";
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
    const { deadlines, leakAfterMs: heldMs, logger, onLeak, pool } = this.#options;
    if (heldMs === undefined) return undefined;
    const acquiredAt = new Error("acquired here").stack ?? "";
    const onDeadline = (): void => {
      logger.warn({ pool, id, heldMs, acquiredAt }, "a lease is held too long");
      onLeak({ id, heldMs, acquiredAt });
    };
    return deadlines.add(heldMs, { onDeadline });
  }
}
