import type { Abortable } from "@holdfast/kernel";
import {
  type DueSchedules,
  SCHEDULES_MAX_COUNT,
  type Schedule,
  type ScheduleSpec,
  type ScheduleStep,
  type ScheduleTable,
} from "../../queue/schedule-table.ts";
import { checkSchedule, nextTick, sameTiming } from "../../queue/schedule-times.ts";
import type { StatementRunner } from "./statement-runner.ts";
import type { TaskIntake } from "./task-intake.ts";

interface ScheduleRow {
  readonly spec: string;
  readonly next_ms: number | null;
  readonly now_ms: number;
}

export class PostgresSchedules implements ScheduleTable {
  readonly #queue: string;
  readonly #statements: StatementRunner;
  readonly #intake: TaskIntake;

  constructor(queue: string, statements: StatementRunner, intake: TaskIntake) {
    this.#queue = queue;
    this.#statements = statements;
    this.#intake = intake;
  }

  async put(spec: ScheduleSpec, options: Abortable = {}): Promise<Schedule> {
    checkSchedule(spec);
    this.#intake.check([spec.task]);
    // The caller may change the spec while the store is asked: only what was checked counts.
    const text = JSON.stringify(spec);
    const checked = JSON.parse(text) as ScheduleSpec;
    const [known] = await this.#rows(checked.name, options);
    const keepsTick = known !== undefined && sameTiming(JSON.parse(known.spec) as ScheduleSpec, checked);
    const [time] = await this.#statements.run<{ readonly now: number }>("now", [], options);
    const nextAt = nextTick(checked, Number(time?.now));
    const [row] = await this.#statements.run<{ readonly next_ms: number | null }>(
      "put-schedule",
      [this.#queue, checked.name, text, nextAt ?? null, keepsTick],
      options,
      { isRepeatable: true },
    );
    return toSchedule({ spec: text, next_ms: row?.next_ms ?? null });
  }

  async remove(name: string, options: Abortable = {}): Promise<boolean> {
    const rows = await this.#statements.run("remove-schedule", [this.#queue, name], options);
    return rows.length > 0;
  }

  async list(options: Abortable = {}): Promise<readonly Schedule[]> {
    return (await this.#rows(null, options)).map(toSchedule);
  }

  async due(options: Abortable = {}): Promise<DueSchedules> {
    // All of them: one that is not listed fires all the same.
    const rows = await this.#rows(null, options, null);
    const now = Number(rows[0]?.now_ms ?? 0);
    const all = rows.map(toSchedule);
    const ahead = all.flatMap(({ nextAt }) => (nextAt !== undefined && nextAt > now ? [nextAt - now] : []));
    return {
      now,
      schedules: all.filter(({ nextAt }) => nextAt !== undefined && nextAt <= now),
      nextInMs: ahead.length === 0 ? undefined : Math.min(...ahead),
    };
  }

  async advance(step: ScheduleStep, options: Abortable = {}): Promise<boolean> {
    this.#intake.check(step.tasks);
    return this.#statements.ownTransaction(
      "advance-schedule",
      async (tx) => {
        const taken = await this.#statements.run(
          "advance-schedule",
          [this.#queue, step.name, step.tickAt, step.nextAt ?? null],
          { tx, signal: options.signal },
        );
        if (taken.length === 0) return false;
        await this.#intake.enqueue(step.tasks, { tx, signal: options.signal });
        return true;
      },
      options,
    );
  }

  #rows(
    name: string | null,
    options: Abortable,
    maxCount: number | null = SCHEDULES_MAX_COUNT,
  ): Promise<readonly ScheduleRow[]> {
    return this.#statements.run<ScheduleRow>("list-schedules", [this.#queue, name, maxCount], options);
  }
}

const toSchedule = ({ spec, next_ms }: Pick<ScheduleRow, "spec" | "next_ms">): Schedule => ({
  ...(JSON.parse(spec) as ScheduleSpec),
  nextAt: next_ms === null ? undefined : Math.round(Number(next_ms)),
});
