import type { Abortable } from "@holdfast/kernel";
import { compareByCodePoint } from "../../input-checks.ts";
import {
  type DueSchedules,
  SCHEDULES_MAX_COUNT,
  type Schedule,
  type ScheduleSpec,
  type ScheduleStep,
  type ScheduleTable,
} from "../../queue/schedule-table.ts";
import { checkSchedule, nextTick, sameTiming } from "../../queue/schedule-times.ts";
import type { NewTask } from "../../queue/task-queue.ts";
import type { Change } from "./transactor.ts";

interface MemorySchedulesParts {
  /** Runs one change of the queue. */
  readonly run: <T>(options: Abortable, step: (change: Change, now: number) => T) => Promise<T>;
  readonly enqueue: (tasks: readonly NewTask[], now: number, change: Change) => void;
  /** Throws what no store could keep. */
  readonly check: (tasks: readonly NewTask[]) => void;
}

export class MemorySchedules implements ScheduleTable {
  readonly #parts: MemorySchedulesParts;
  readonly #byName = new Map<string, Schedule>();

  constructor(parts: MemorySchedulesParts) {
    this.#parts = parts;
  }

  async put(spec: ScheduleSpec, options: Abortable = {}): Promise<Schedule> {
    checkSchedule(spec);
    this.#parts.check([spec.task]);
    return this.#parts.run(options, (_change, now) => {
      const known = this.#byName.get(spec.name);
      const nextAt = known !== undefined && sameTiming(known, spec) ? known.nextAt : nextTick(spec, now);
      const schedule: Schedule = { ...structuredClone(spec), nextAt };
      this.#byName.set(spec.name, schedule);
      return schedule;
    });
  }

  remove(name: string, options: Abortable = {}): Promise<boolean> {
    return this.#parts.run(options, () => this.#byName.delete(name));
  }

  list(options: Abortable = {}): Promise<readonly Schedule[]> {
    return this.#parts.run(options, () =>
      [...this.#byName.values()]
        .sort((a, b) => compareByCodePoint(a.name, b.name))
        .slice(0, SCHEDULES_MAX_COUNT),
    );
  }

  due(options: Abortable = {}): Promise<DueSchedules> {
    return this.#parts.run(options, (_change, now) => {
      const schedules: Schedule[] = [];
      let nextInMs: number | undefined;
      for (const schedule of this.#byName.values()) {
        if (schedule.nextAt === undefined) continue;
        if (schedule.nextAt <= now) schedules.push(schedule);
        else nextInMs = Math.min(nextInMs ?? Number.POSITIVE_INFINITY, schedule.nextAt - now);
      }
      return { now, schedules, nextInMs };
    });
  }

  advance(step: ScheduleStep, options: Abortable = {}): Promise<boolean> {
    this.#parts.check(step.tasks);
    return this.#parts.run(options, (change, now) => {
      const schedule = this.#byName.get(step.name);
      if (schedule?.nextAt !== step.tickAt) return false;
      this.#byName.set(step.name, { ...schedule, nextAt: step.nextAt });
      this.#parts.enqueue(step.tasks, now, change);
      return true;
    });
  }
}
