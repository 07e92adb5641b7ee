import { OutcomeUnknownError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { JobStore } from "../../src/model/job-table.ts";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

describe("a commit of which nobody can tell whether it happened", () => {
  it("in a datacenter makes the gate ask that one again, and give the job to no other", async () => {
    await using t = await setup({ datacenters: ["east", "west"] });
    let isLost = true;
    t.east.afterSubmit = async () => {
      if (!isLost) return;
      isLost = false;
      throw new OutcomeUnknownError("COMMIT");
    };
    const { jobId } = await t.submit({ datacenters: ["east"] });
    await t.clock.advance(3_000);
    expect(t.west.jobs.size).toBe(0);
    await t.east.run(jobId);
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "completed", errors: [] });
  });

  it("at a gate that then cannot ask its store is no refusal: the client repeats, and the job is there once", async () => {
    let isLost = false;
    let awayUntil = 0;
    await using t = await setup({
      wrap: (store) =>
        withLostCommits(store, {
          isLost: () => {
            if (!isLost) return false;
            isLost = false;
            awayUntil = t.clock.monotonicNow() + 2_000;
            return true;
          },
          isAway: () => t.clock.monotonicNow() < awayUntil,
        }),
    });
    isLost = true;
    const { jobId } = await t.submit();
    await t.clock.advance(10_000);
    expect([...t.east.jobs.keys()]).toEqual([jobId]);
    expect((await settle(t.clock, t.client.list())).jobs.length).toBe(1);
  });
});

/** A store that loses the answer to a commit, and answers no question while it is away. */
const withLostCommits = (
  store: JobStore,
  faults: { readonly isLost: () => boolean; readonly isAway: () => boolean },
): JobStore => {
  const wrapped = <T extends object>(
    target: T,
    change: (name: string | symbol, member: unknown) => unknown,
  ): T =>
    new Proxy(target, {
      get: (object, name) => {
        const member: unknown = Reflect.get(object, name, object);
        return change(name, typeof member === "function" ? member.bind(object) : member);
      },
    });
  return {
    ...store,
    [Symbol.asyncDispose]: async () => undefined,
    jobs: wrapped(store.jobs, (name, member) =>
      name === "get" && faults.isAway() ? () => Promise.reject(new OutcomeUnknownError("a read")) : member,
    ),
    coordination: wrapped(store.coordination, (name, member) =>
      name !== "transaction"
        ? member
        : async (...args: Parameters<JobStore["coordination"]["transaction"]>) => {
            const done = await store.coordination.transaction(...args);
            if (faults.isLost()) throw new OutcomeUnknownError("COMMIT");
            return done;
          },
    ),
  };
};
