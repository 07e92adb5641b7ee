import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { Json } from "../json.ts";
import type { Schedule, ScheduleSpec } from "../queue/schedule-table.ts";
import { stepOf } from "../queue/schedule-times.ts";
import type { TasksSetUp } from "./harness.ts";
import { idsOf } from "./task-fixtures.ts";

const hourly: ScheduleSpec = {
  name: "report",
  cron: "0 * * * *",
  task: { type: "report", payload: { day: 1 } },
};

/** What every backend guarantees about schedules: each tick is taken once, together with its tasks. */
export const schedulesSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
  describe("task queue: schedules", () => {
    it("are kept by name, replaced and removed, and keep their next tick while their timing stays", async () => {
      await using harness = await setUp();
      const { schedules } = harness.store.queue("q");
      expect(await schedules.list()).toEqual([]);
      const first = await schedules.put(hourly);
      expect((first.nextAt ?? 1) % 3_600_000).toBe(0);
      await schedules.put({
        name: "other",
        everyMs: 60_000,
        missed: "skip",
        task: { type: "o", payload: null },
      });
      expect((await schedules.list()).map(({ name }) => name)).toEqual(["other", "report"]);
      const nextAt = (first.nextAt ?? 0) + 7_200_000;
      expect(await schedules.advance({ name: "report", tickAt: first.nextAt ?? 0, nextAt, tasks: [] })).toBe(
        true,
      );
      expect((await schedules.put({ ...hourly, task: { type: "report", payload: 2 } })).nextAt).toBe(nextAt);
      expect((await schedules.list())[1]).toEqual({
        ...hourly,
        task: { type: "report", payload: 2 },
        nextAt,
      });
      expect((await schedules.put({ ...hourly, cron: "30 * * * *" })).nextAt).not.toBe(nextAt);
      expect(await harness.store.queue("elsewhere").schedules.list()).toEqual([]);
      expect(await schedules.remove("report")).toBe(true);
      expect(await schedules.remove("report")).toBe(false);
      expect((await schedules.list()).map(({ name }) => name)).toEqual(["other"]);
    });

    it("are kept as they were when they were put, whatever the caller does to them before the store has answered", async () => {
      await using harness = await setUp();
      const { schedules } = harness.store.queue("q");
      for (const missed of ["skip", "all"] as const) {
        const given = { name: "s", everyMs: 60_000, missed, task: { type: "a", payload: { n: 1 } as Json } };
        const expected = structuredClone(given);
        const putting = schedules.put(given);
        given.name = "not a name";
        given.everyMs = 1;
        given.task.type = "";
        given.task.payload = { by: new Map() } as unknown as Json;
        expect(await putting).toMatchObject(expected);
        const kept = await schedules.list();
        expect(kept).toMatchObject([expected]);
        expect((kept[0]?.nextAt ?? 1) % 60_000).toBe(0);
      }
    });

    it("give each tick to one of many callers, and add its task once", async () => {
      await using harness = await setUp();
      const queue = harness.store.queue("q");
      const { nextAt: tickAt = 0 } = await queue.schedules.put(hourly);
      const schedule: Schedule = { ...hourly, nextAt: tickAt };
      const { nextAt, tasks } = stepOf(schedule, tickAt + 5);
      expect(nextAt).toBe(tickAt + 3_600_000);
      const taken = await Promise.all(
        Array.from({ length: 8 }, () => queue.schedules.advance({ name: "report", tickAt, nextAt, tasks })),
      );
      expect(taken.filter(Boolean)).toEqual([true]);
      expect(idsOf(await queue.list({}))).toEqual([`report@${new Date(tickAt).toISOString()}`]);
      expect(await queue.schedules.advance({ name: "gone", tickAt, nextAt, tasks })).toBe(false);
      expect((await queue.schedules.due()).schedules).toEqual([]);
      expect((await queue.schedules.due()).nextInMs).toBeGreaterThan(0);
    });

    it("refuse what no clock can follow and what no queue can hold", async () => {
      await using harness = await setUp();
      const { schedules } = harness.store.queue("q");
      const { cron: _cron, ...bare } = hourly;
      for (const spec of [
        { ...hourly, cron: "every full moon" },
        { ...hourly, timeZone: "Atlantis/Centre" },
        { ...hourly, everyMs: 60_000 },
        bare,
        { ...bare, everyMs: 10 },
        { ...hourly, name: "" },
        { ...hourly, task: { type: "", payload: 1 } },
      ]) {
        await expect(schedules.put(spec)).rejects.toThrow(InvalidInputError);
      }
      expect(await schedules.list()).toEqual([]);
    });
  });
};
