import { InvalidInputError } from "@holdfast/kernel";
import { Cron } from "croner";
import { checkInteger, checkQueueName } from "../input-checks.ts";
import type { Schedule, ScheduleSpec } from "./schedule-table.ts";
import type { NewTask } from "./task-queue.ts";

/** Most ticks that one step makes up for when all missed ones are wanted; the rest follows in the next step. */
const CATCH_UP_MAX_COUNT = 100;

/** @throws InvalidInputError with what is wrong in the expression. */
export const checkSchedule = (spec: ScheduleSpec): void => {
  checkQueueName(spec.name);
  if ((spec.cron === undefined) === (spec.everyMs === undefined)) {
    throw new InvalidInputError("schedule", spec.name, "given either cron or everyMs");
  }
  if (spec.everyMs !== undefined) checkInteger("schedule.everyMs", spec.everyMs, 1000, 365 * 86_400_000);
  if (spec.missed !== undefined && !["latest", "all", "skip"].includes(spec.missed)) {
    throw new InvalidInputError("schedule.missed", spec.missed, "one of latest, all, skip");
  }
  nextTick(spec, 0);
};

/** The first tick after an instant, milliseconds since the epoch; undefined when there is none any more. */
export const nextTick = (
  spec: Pick<ScheduleSpec, "cron" | "timeZone" | "everyMs">,
  after: number,
): number | undefined => {
  if (spec.everyMs !== undefined) return (Math.floor(after / spec.everyMs) + 1) * spec.everyMs;
  try {
    const cron = new Cron(spec.cron as string, { timezone: spec.timeZone ?? "UTC", paused: true });
    return cron.nextRun(new Date(after))?.getTime();
  } catch (cause) {
    throw new InvalidInputError("schedule.cron", spec.cron, "a cron expression in a known time zone", {
      cause,
    });
  }
};

/** Says whether a change of a schedule keeps its next tick: only when the timing is the same. */
export const sameTiming = (one: ScheduleSpec, other: ScheduleSpec): boolean =>
  one.cron === other.cron &&
  one.everyMs === other.everyMs &&
  (one.timeZone ?? "UTC") === (other.timeZone ?? "UTC");

/** What to enqueue for a schedule whose tick has come, and its next tick. */
export const stepOf = (
  schedule: Schedule,
  now: number,
): { readonly nextAt: number | undefined; readonly tasks: readonly NewTask[] } => {
  const ticks: number[] = [];
  let nextAt = schedule.nextAt;
  if ((schedule.missed ?? "latest") === "all") {
    while (nextAt !== undefined && nextAt <= now && ticks.length < CATCH_UP_MAX_COUNT) {
      ticks.push(nextAt);
      nextAt = nextTick(schedule, nextAt);
    }
  } else {
    const following = nextAt === undefined ? undefined : nextTick(schedule, nextAt);
    // When the following tick has come too, this one was missed.
    const wasMissed = following !== undefined && following <= now;
    if (nextAt !== undefined && !(wasMissed && schedule.missed === "skip")) {
      ticks.push(wasMissed ? latestTick(schedule, following, now) : nextAt);
    }
    nextAt = nextTick(schedule, Math.max(now, schedule.nextAt ?? now));
  }
  return {
    nextAt,
    tasks: ticks.map((tickAt) => ({ ...schedule.task, id: taskIdOf(schedule.name, tickAt) })),
  };
};

/** The last tick that has come. Looks back in growing steps, because expressions are only searched forwards. */
const latestTick = (schedule: Schedule, known: number, now: number): number => {
  for (let backMs = 1000; ; backMs *= 4) {
    const from = Math.max(known, now - backMs);
    let tick = from === known ? known : nextTick(schedule, from);
    if (tick === undefined || tick > now) {
      if (from === known) return known;
      continue;
    }
    for (
      let next = nextTick(schedule, tick);
      next !== undefined && next <= now;
      next = nextTick(schedule, tick)
    ) {
      tick = next;
    }
    return tick;
  }
};

const taskIdOf = (name: string, tickAt: number): string => `${name}@${new Date(tickAt).toISOString()}`;
