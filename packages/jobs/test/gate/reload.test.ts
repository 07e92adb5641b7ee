import { OutcomeUnknownError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { jobStream } from "../../src/model/job-stream.ts";
import type { JobStore } from "../../src/model/job-table.ts";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

/** A gate whose commits and reads of logs fail as the test says. */
const setUp = async () => {
  const faults = {
    /** The answers to so many commits from now on are lost. */
    lostCount: 0,
    /** Asked before each read of a log. */
    beforeRead: async (_stream: string): Promise<void> => undefined,
  };
  const gate = await setup({ wrap: (store) => faultyStore(store, faults) });
  return { ...gate, faults };
};

const faultyStore = (
  store: JobStore,
  faults: { lostCount: number; beforeRead: (stream: string) => Promise<void> },
): JobStore => {
  const { coordination } = store;
  const log = new Proxy(coordination.log, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (name !== "read") return typeof member === "function" ? member.bind(target) : member;
      return async (...args: Parameters<typeof target.read>) => {
        await faults.beforeRead(args[0]);
        return target.read(...args);
      };
    },
  });
  return {
    ...store,
    [Symbol.asyncDispose]: async () => undefined,
    coordination: new Proxy(coordination, {
      get: (target, key) => {
        if (key === "log") return log;
        const member: unknown = Reflect.get(target, key, target);
        if (key !== "transaction") return typeof member === "function" ? member.bind(target) : member;
        return async (...args: Parameters<typeof target.transaction>) => {
          const done = await target.transaction(...args);
          if (faults.lostCount === 0) return done;
          faults.lostCount -= 1;
          throw new OutcomeUnknownError("COMMIT");
        };
      },
    }),
  };
};

describe("jobs that are read again after a commit whose answer was lost", () => {
  it("go on though one beside them cannot be read, and that one as soon as it can", async () => {
    await using t = await setUp();
    const damaged = await t.submit();
    const sound = await t.submit();
    await t.clock.advance(1_000);
    t.faults.lostCount = 2;
    t.faults.beforeRead = async (stream) => {
      if (stream === jobStream(damaged.jobId)) throw new Error("this stream is damaged");
    };
    await t.east.window(damaged.jobId, 1);
    await t.east.window(sound.jobId, 1);
    await t.clock.advance(5_000);
    expect(t.faults.lostCount).toBe(0);
    await t.east.end(sound.jobId, "completed");
    await t.clock.advance(5_000);
    expect(await settle(t.clock, t.client.get(sound.jobId))).toMatchObject({ status: "completed" });
    t.faults.beforeRead = async () => undefined;
    await t.clock.advance(10_000);
    await t.east.end(damaged.jobId, "completed");
    expect(await t.result(damaged.jobId)).toMatchObject({ status: "completed" });
  });

  it("are read once more when that happens again before the last of them is there", async () => {
    await using t = await setUp();
    const first = await t.submit();
    const second = await t.submit();
    await t.clock.advance(1_000);
    t.faults.lostCount = 2;
    t.faults.beforeRead = async (stream) => {
      if (stream === jobStream(second.jobId)) await t.clock.sleep(3_000);
    };
    await t.east.window(first.jobId, 1);
    await t.east.window(second.jobId, 1);
    await t.clock.advance(1_000);
    expect([t.faults.lostCount, t.gate.stats().ledJobs]).toEqual([0, 1]);
    t.faults.lostCount = 1;
    await t.east.window(first.jobId, 2);
    await t.clock.advance(500);
    expect([t.faults.lostCount, t.gate.stats().ledJobs]).toEqual([0, 0]);
    await t.clock.advance(10_000);
    expect(t.gate.stats().ledJobs).toBe(2);
    for (const { jobId } of [first, second]) {
      await t.east.end(jobId, "completed");
      expect(await t.result(jobId)).toMatchObject({ status: "completed" });
    }
  });
});
