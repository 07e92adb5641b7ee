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
import type { QueueScripts } from "./queue-scripts.ts";
import type { TaskIntake } from "./task-intake.ts";

export class RedisSchedules implements ScheduleTable {
  readonly #scripts: QueueScripts;
  readonly #intake: TaskIntake;

  constructor(scripts: QueueScripts, intake: TaskIntake) {
    this.#scripts = scripts;
    this.#intake = intake;
  }

  async put(spec: ScheduleSpec, options: Abortable = {}): Promise<Schedule> {
    checkSchedule(spec);
    this.#intake.encode([spec.task]);
    // The caller may change the spec while the store is asked: only what was checked counts.
    const text = JSON.stringify(spec);
    const checked = JSON.parse(text) as ScheduleSpec;
    const { now, schedules } = await this.#read(options);
    const known = schedules.find(({ name }) => name === checked.name);
    const keepsTick = known !== undefined && sameTiming(known, checked);
    const nextAt = await this.#scripts.run<string>(
      "put-schedule",
      [checked.name, text, `${nextTick(checked, now) ?? ""}`, keepsTick ? "1" : "0"],
      options,
      true,
    );
    return toSchedule(nextAt, text);
  }

  async remove(name: string, options: Abortable = {}): Promise<boolean> {
    return (await this.#scripts.run<string>("remove-schedule", [name], options, false)) === "1";
  }

  async list(options: Abortable = {}): Promise<readonly Schedule[]> {
    return (await this.#read(options)).schedules.slice(0, SCHEDULES_MAX_COUNT);
  }

  async due(options: Abortable = {}): Promise<DueSchedules> {
    const { now, schedules } = await this.#read(options);
    const ahead = schedules.flatMap(({ nextAt }) =>
      nextAt !== undefined && nextAt > now ? [nextAt - now] : [],
    );
    return {
      now,
      schedules: schedules.filter(({ nextAt }) => nextAt !== undefined && nextAt <= now),
      nextInMs: ahead.length === 0 ? undefined : Math.min(...ahead),
    };
  }

  async advance(step: ScheduleStep, options: Abortable = {}): Promise<boolean> {
    const args = [step.name, `${step.tickAt}`, `${step.nextAt ?? ""}`, ...this.#intake.encode(step.tasks)];
    return (await this.#scripts.run<string>("advance-schedule", args, options, false)) === "1";
  }

  async #read(
    options: Abortable,
  ): Promise<{ readonly now: number; readonly schedules: readonly Schedule[] }> {
    const [now, ...flat] = await this.#scripts.run<readonly string[]>("list-schedules", [], options, true);
    const schedules: Schedule[] = [];
    for (let index = 0; index < flat.length; index += 2) {
      schedules.push(toSchedule(flat[index] as string, flat[index + 1] as string));
    }
    schedules.sort((a, b) => compareByCodePoint(a.name, b.name));
    return { now: Number(now), schedules };
  }
}

const toSchedule = (nextAt: string, text: string): Schedule => ({
  ...(JSON.parse(text) as ScheduleSpec),
  nextAt: nextAt === "" ? undefined : Number(nextAt),
});
