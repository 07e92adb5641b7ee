import { createMemoryJobStore, type JobStore, type NewJobRow } from "@holdfast/jobs";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { watchStore } from "../src/simulator/watched-store.ts";

const row = (jobId: string): NewJobRow => ({
  jobId,
  idempotencyKey: jobId,
  payloadHash: "",
  owner: "a",
  status: "running",
  name: "n",
  labels: {},
  spec: {
    name: "n",
    workflows: [],
    vus: 1,
    timeoutMs: 1,
    datacenterCount: 1,
  } as unknown as NewJobRow["spec"],
  state: {},
});

/** A store that forgets its rules, as far as the test says. */
const setUp = (broken: Partial<JobStore["jobs"]> = {}) => {
  const sound = createMemoryJobStore({ clock: new VirtualClock() }) as JobStore;
  const jobs = new Proxy(sound.jobs, {
    get: (target, name) => {
      const member = (broken as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const violations: string[] = [];
  const store = watchStore({ ...sound, jobs }, { name: "it", violations });
  const commit = <T>(body: (jobs: JobStore["jobs"], tx: unknown) => Promise<T>) =>
    store.coordination.transaction((tx) => body(store.jobs, tx));
  return { store, violations, commit };
};

describe("a watched store", () => {
  it("finds nothing wrong in a job that is taken over, cancelled and ended, nor in writes that are refused or rolled back", async () => {
    const { store, violations, commit } = setUp();
    await commit((jobs, tx) => jobs.insert([row("job")], tx));
    await commit((jobs, tx) => jobs.insert([row("job")], tx));
    await expect(
      commit(async (jobs, tx) => {
        await jobs.update([{ jobId: "job", fence: 1n, status: "completed" }], tx);
        throw new Error("rolled back");
      }),
    ).rejects.toThrow("rolled back");
    await commit((jobs, tx) => jobs.takeOver({ owner: "b", liveOwners: ["b"], limit: 10 }, tx));
    await commit((jobs, tx) => jobs.update([{ jobId: "job", fence: 1n, status: "failed" }], tx));
    await commit((jobs, tx) => jobs.update([{ jobId: "job", fence: 2n, status: "cancelling" }], tx));
    await commit((jobs, tx) => jobs.update([{ jobId: "job", fence: 2n, status: "cancelled" }], tx));
    await commit((jobs, tx) => jobs.update([{ jobId: "job", fence: 2n, status: "running" }], tx));
    expect(violations).toEqual([]);
    expect((await store.jobs.get(["job"]))[0]?.status).toBe("cancelled");
  });

  it("names a stale fence, a second end, a job that comes back to life and one that nobody stored", async () => {
    const { violations, commit } = setUp({ update: async (updates) => updates.map(() => true) });
    const update = (
      fence: bigint,
      status: "running" | "cancelling" | "cancelled" | "failed",
      jobId = "job",
    ) => commit((jobs, tx) => jobs.update([{ jobId, fence, status }], tx));
    await commit((jobs, tx) => jobs.insert([row("job")], tx));
    await update(7n, "running");
    await update(1n, "cancelling");
    await update(1n, "running");
    await update(1n, "cancelled");
    await update(1n, "failed");
    await update(1n, "failed", "stranger");
    expect(violations).toEqual([
      "it: job was written under fence 7 instead of 1",
      "it: job went from cancelling back to running",
      "it: job changed after it had ended cancelled",
      "it: stranger changed although it was never stored",
    ]);
  });

  it("names a take-over that does not raise the fence by one", async () => {
    const { violations, commit } = setUp({
      takeOver: async ({ owner }) => [
        {
          row: { ...row("job"), owner, fence: 1n, submittedAt: 0, finishedAt: undefined },
          previousOwner: "z",
        },
      ],
    });
    await commit((jobs, tx) => jobs.insert([row("job")], tx));
    await commit((jobs, tx) => jobs.takeOver({ owner: "b", liveOwners: [], limit: 1 }, tx));
    expect(violations).toEqual(["it: job went from fence 1 to 1", "it: job was taken from z, not a"]);
  });
});
