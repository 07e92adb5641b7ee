import type { Abortable } from "@holdfast/kernel";
import type { NewTask } from "./task-queue.ts";

/** What a tick enqueues. Its id is made of the schedule's name and the tick, so a tick never has two tasks. */
export type ScheduledTask = Omit<NewTask, "id" | "delayMs" | "dedupeWindowMs" | "after" | "afterEnd">;

/** Most schedules of one queue that are listed. */
export const SCHEDULES_MAX_COUNT = 1000;

/** What to do about ticks that passed while nobody ran the schedules: only the `latest`, `all` of them, or none (`skip`). */
export type MissedTicks = "latest" | "all" | "skip";

export interface ScheduleSpec {
  /** Unique in the queue; 1 to 128 characters of `[A-Za-z0-9_.:-]`. */
  readonly name: string;
  /** A cron expression of five fields, six with seconds first, or a nickname such as `@daily`. Or give `everyMs`. */
  readonly cron?: string;
  /** IANA name of the zone that `cron` is in. Default UTC. */
  readonly timeZone?: string;
  /** A tick at every multiple of this since the epoch, at least 1000 ms. */
  readonly everyMs?: number;
  /** Default latest. */
  readonly missed?: MissedTicks;
  readonly task: ScheduledTask;
}

export interface Schedule extends ScheduleSpec {
  /** The next tick, milliseconds since the epoch; undefined when there is none any more. */
  readonly nextAt: number | undefined;
}

/** A step of a schedule: its tasks are added and its next tick is moved, both or neither. */
export interface ScheduleStep {
  readonly name: string;
  /** The tick that is taken; the step counts only while it is still the next one. */
  readonly tickAt: number;
  readonly nextAt: number | undefined;
  readonly tasks: readonly NewTask[];
}

/**
 * The schedules of one queue, kept by the store.
 *
 * Guaranteed: of all callers that take one tick exactly one succeeds, and the tick's tasks are added if and only if it
 * does. So each tick fires once in the cluster, however many programs run the schedules.
 */
export interface ScheduleTable {
  /** Adds or replaces. The first tick of a new or changed timing is the next one from now. */
  put(spec: ScheduleSpec, options?: Abortable): Promise<Schedule>;
  /** False when there was none. */
  remove(name: string, options?: Abortable): Promise<boolean>;
  /** By name; at most 1000. */
  list(options?: Abortable): Promise<readonly Schedule[]>;
  /** Those whose tick has come, by the store's clock, and how long until the next other one comes. */
  due(options?: Abortable): Promise<DueSchedules>;
  /** True when the tick was taken by this call. */
  advance(step: ScheduleStep, options?: Abortable): Promise<boolean>;
}

export interface DueSchedules {
  /** By the store's clock, milliseconds since the epoch. */
  readonly now: number;
  readonly schedules: readonly Schedule[];
  /** undefined when no other tick is ahead. */
  readonly nextInMs: number | undefined;
}
