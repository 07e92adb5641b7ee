import { createMemoryStore } from "@holdfast/coordination/memory";
import { InvalidInputError, seededRandom, silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { StoreUnavailableError } from "../errors.ts";
import { runSchedules } from "./run-schedules.ts";
import { stepOf } from "./schedule-times.ts";

const HOUR = 3_600_000;
const START = Date.parse("2027-03-27T22:59:00Z");

const setUp = () => {
  const clock = new VirtualClock({ wallStartsAt: START });
  const store = createMemoryStore({ clock, random: seededRandom(1) });
  const queue = store.queue("q");
  const group = new TaskGroup({ logger: silentLogger });
  const start = (owner: string) => {
    const controller = new AbortController();
    group.spawn(owner, () =>
      runSchedules({ queue, leases: store.leases, owner, clock, signal: controller.signal, leaseMs: 5000 }),
    );
    return () => controller.abort(new Error("stop"));
  };
  const fired = async (): Promise<readonly string[]> =>
    (await queue.list({ limit: 1000 })).map(({ id }) => id);
  return { clock, store, queue, start, fired };
};

const task = { type: "report", payload: null };

describe("schedules", () => {
  it("fire each tick once however many programs run them, and go on when one of these stops", async () => {
    const { clock, queue, start, fired } = setUp();
    await queue.schedules.put({ name: "hourly", cron: "0 * * * *", task });
    const stops = ["a", "b", "c"].map(start);
    await clock.advance(2.5 * HOUR);
    expect((await fired()).length).toBe(3);
    stops[0]?.();
    stops[1]?.();
    await clock.advance(2 * HOUR);
    expect(await fired()).toEqual(
      [23, 24, 25, 26, 27].map(
        (hour) => `hourly@${new Date(Date.parse("2027-03-27T00:00:00Z") + hour * HOUR).toISOString()}`,
      ),
    );
    stops[2]?.();
    await clock.advance(10);
  });

  it("go on after an outage in which their lease could not be given back either", async () => {
    const { clock, store, queue, start, fired } = setUp();
    await queue.schedules.put({ name: "hourly", cron: "0 * * * *", task });
    const stop = start("a");
    await clock.advance(10);
    const away = () => Promise.reject(new StoreUnavailableError("asking"));
    const outage = [
      vi.spyOn(queue.schedules, "due").mockImplementation(away),
      vi.spyOn(store.leases, "release").mockImplementation(away),
    ];
    await clock.advance(5000);
    for (const each of outage) each.mockRestore();
    await clock.advance(HOUR);
    expect((await fired()).length).toBe(1);
    stop();
    await clock.advance(10);
  });

  it("fire beside one that cannot be stepped here, without turning for it all the time", async () => {
    const { clock, queue, start, fired } = setUp();
    await queue.schedules.put({ name: "b", cron: "0 * * * *", task });
    const due = queue.schedules.due.bind(queue.schedules);
    const asked = vi.spyOn(queue.schedules, "due").mockImplementation(async (options) => {
      const found = await due(options);
      // Put by a program that knows a zone which this one does not.
      const stuck = { name: "a", cron: "* * * * *", timeZone: "Mars/Base", nextAt: found.now, task };
      return { ...found, schedules: [stuck, ...found.schedules] };
    });
    const stop = start("a");
    await clock.advance(60_000);
    expect(await fired()).toEqual(["b@2027-03-27T23:00:00.000Z"]);
    expect(asked.mock.calls.length).toBeLessThan(70);
    stop();
    await clock.advance(1000);
  });

  it("are refused at once with a lease that cannot be", async () => {
    const { clock, store, queue } = setUp();
    const running = runSchedules({ queue, leases: store.leases, owner: "a", clock, leaseMs: 50 });
    await expect(running).rejects.toThrow(InvalidInputError);
  });

  it("follow their time zone over a change of its clocks", async () => {
    const { clock, queue, start, fired } = setUp();
    await queue.schedules.put({ name: "nightly", cron: "30 3 * * *", timeZone: "Europe/Berlin", task });
    const stop = start("a");
    await clock.advance(48 * HOUR);
    // The night of 28 March lacks an hour: half past three is 01:30 UTC from then on, 02:30 before.
    expect(await fired()).toEqual(["nightly@2027-03-28T01:30:00.000Z", "nightly@2027-03-29T01:30:00.000Z"]);
    stop();
    await clock.advance(10);
  });

  it("make up for missed ticks as each of them says", async () => {
    const { clock, queue, start, fired } = setUp();
    for (const missed of ["latest", "all", "skip"] as const) {
      await queue.schedules.put({ name: missed, everyMs: HOUR, missed, task });
    }
    await clock.advance(3.5 * HOUR);
    const stop = start("late");
    await clock.advance(100);
    const at = (hours: number): string =>
      new Date(Date.parse("2027-03-27T23:00:00Z") + hours * HOUR).toISOString();
    expect(await fired()).toEqual([
      `all@${at(0)}`,
      `all@${at(1)}`,
      `all@${at(2)}`,
      `all@${at(3)}`,
      `latest@${at(3)}`,
    ]);
    await clock.advance(HOUR);
    expect(await fired()).toEqual(
      expect.arrayContaining([`skip@${at(4)}`, `latest@${at(4)}`, `all@${at(4)}`]),
    );
    stop();
    await clock.advance(10);
  });

  it("ride out an outage of the store", async () => {
    const { clock, queue, start, fired } = setUp();
    await queue.schedules.put({ name: "hourly", cron: "@hourly", task });
    vi.spyOn(queue.schedules, "due").mockRejectedValueOnce(new StoreUnavailableError("due"));
    const stop = start("a");
    await clock.advance(HOUR);
    expect((await fired()).length).toBe(1);
    stop();
    await clock.advance(10);
  });
});

describe("a step of a schedule", () => {
  it("makes up for at most a hundred ticks at once", () => {
    const { nextAt, tasks } = stepOf(
      { name: "n", everyMs: 1000, missed: "all", nextAt: 1000, task: { type: "t", payload: null } },
      1_000_000,
    );
    expect(tasks.length).toBe(100);
    expect(nextAt).toBe(101_000);
  });
});
