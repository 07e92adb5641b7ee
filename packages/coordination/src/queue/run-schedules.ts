import {
  type Abortable,
  type Clock,
  hasCode,
  isHoldfastError,
  type Logger,
  silentLogger,
  systemClock,
} from "@holdfast/kernel";
import { checkGrant } from "../lease/grant-checks.ts";
import { holdLease } from "../lease/lease-keeper.ts";
import type { Leases } from "../lease/leases.ts";
import { stepOf } from "./schedule-times.ts";
import type { TaskQueue } from "./task-queue.ts";

export interface SchedulesOptions extends Abortable {
  readonly queue: TaskQueue<never>;
  /** Where the lease lies under which one program at a time runs the queue's schedules. */
  readonly leases: Leases<never>;
  /** This program's name, for people. */
  readonly owner: string;
  /** How soon another program takes over when this one is gone. Default 10_000. */
  readonly leaseMs?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** New schedules of other programs are noticed after this long at the latest. */
const LOOK_EVERY_MS = 1000;
const OUTAGE_PAUSE_MS = 1000;

/**
 * Enqueues what the queue's schedules say, tick by tick, until the signal aborts. Run it in every program: one of them
 * holds the lease and works, the others wait.
 *
 * Each tick fires once in the cluster: taking a tick moves the schedule and adds its task in one step, and only one
 * caller can take it, so even a deposed holder that still runs does no harm. What was missed while nobody ran is made
 * up for as the schedule says. Ticks come as late as the store's clock and one round trip make them.
 */
export const runSchedules = async (options: SchedulesOptions): Promise<void> => {
  const {
    queue,
    leases,
    owner,
    leaseMs = 10_000,
    clock = systemClock,
    logger = silentLogger,
    signal,
  } = options;
  const name = `schedules/${queue.name}`;
  checkGrant(name, { owner, ttlMs: leaseMs });
  while (signal?.aborted !== true) {
    try {
      const outcome = await holdLease(leases, name, { owner, ttlMs: leaseMs, clock, logger, signal });
      if (outcome.kind === "held") {
        await clock.sleep(Math.min(leaseMs, Math.max(50, outcome.holder.remainingMs)), { signal });
        continue;
      }
      const { lease } = outcome;
      try {
        await tickWhileHeld(queue, lease.signal, { clock, logger, signal });
      } finally {
        // When the store does not answer, it ends by itself. What ended the work is what counts.
        await lease.release().catch((err: unknown) => {
          logger.warn({ err, queue: queue.name }, "could not give back the lease of the schedules");
        });
      }
    } catch (err) {
      if (signal?.aborted) return;
      if (!isHoldfastError(err)) throw err;
      logger.warn({ err, queue: queue.name }, "could not run schedules; trying again");
      await clock.sleep(OUTAGE_PAUSE_MS, { signal }).catch(() => undefined);
    }
  }
};

const tickWhileHeld = async (
  queue: TaskQueue<never>,
  held: AbortSignal,
  { clock, logger, signal }: { clock: Clock; logger: Logger; signal: AbortSignal | undefined },
): Promise<void> => {
  while (!held.aborted && signal?.aborted !== true) {
    const { now, schedules, nextInMs } = await queue.schedules.due({ signal });
    let stuckCount = 0;
    for (const schedule of schedules) {
      if (schedule.nextAt === undefined) continue;
      try {
        const { nextAt, tasks } = stepOf(schedule, now);
        const step = { name: schedule.name, tickAt: schedule.nextAt, nextAt, tasks };
        if (await queue.schedules.advance(step, { signal })) {
          logger.info(
            { queue: queue.name, schedule: schedule.name, ticks: tasks.length },
            "a schedule fired",
          );
        }
      } catch (err) {
        // A zone that is not known here, or a task that is too large for this store: that concerns no other schedule.
        if (!hasCode(err, "KERNEL_INVALID_INPUT") && !hasCode(err, "COORDINATION_PAYLOAD_TOO_LARGE"))
          throw err;
        stuckCount += 1;
        logger.error({ err, queue: queue.name, schedule: schedule.name }, "a schedule cannot fire here");
      }
    }
    // What catches up goes on at once.
    if (schedules.length > stuckCount) continue;
    await clock.sleep(Math.max(1, Math.min(LOOK_EVERY_MS, nextInMs ?? LOOK_EVERY_MS)), { signal });
  }
};
