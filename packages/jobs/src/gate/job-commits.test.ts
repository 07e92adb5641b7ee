import { type Deferred, deferred, silentLogger, systemClock } from "@holdfast/kernel";
import type { JobEvent, JobSpec } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import { createMemoryJobStore } from "../model/job-store/index.ts";
import { jobStream } from "../model/job-stream.ts";
import type { JobStore, NewJobRow } from "../model/job-table.ts";
import { encodeGateState, newGateJob } from "./gate-job.ts";
import { JobCommits } from "./job-commits.ts";

const JOB_ID = "job-1";

const row: NewJobRow = {
  jobId: JOB_ID,
  idempotencyKey: "key-1",
  payloadHash: "hash",
  owner: "gate#1",
  status: "dispatching",
  name: "greet",
  labels: {},
  spec: {} as JobSpec,
  state: encodeGateState({ parts: [], fallbacks: [], ending: undefined }),
};

const statusEvent = (status: "running" | "completed"): JobEvent => ({ type: "job.status", at: 1, status });

/** Commits over a store that begins a transaction only when it is let, as a server does that is busy. */
const setup = async () => {
  const store = createMemoryJobStore({ clock: systemClock }) as JobStore;
  let gate: Deferred<void> | undefined;
  const began: Deferred<void>[] = [];
  const { coordination } = store;
  const slow: JobStore = {
    ...store,
    coordination: new Proxy(coordination, {
      get: (target, property) => {
        if (property !== "transaction") return Reflect.get(target, property, target) as unknown;
        return async (...args: Parameters<typeof coordination.transaction>) => {
          began.shift()?.resolve();
          await gate?.promise;
          return target.transaction(...args);
        };
      },
    }),
  };
  const commits = new JobCommits({
    store: slow,
    logger: silentLogger,
    pendingMaxCount: 100,
    onCommitted: () => undefined,
    onUnknown: () => undefined,
    onDuration: () => undefined,
    monotonicNow: () => systemClock.monotonicNow(),
    onEnding: async () => undefined,
  });
  return {
    store,
    commits,
    /** Keeps transactions waiting from now on; resolves when the next one has been asked for. */
    hold: (): Promise<void> => {
      gate = deferred();
      const next = deferred<void>();
      began.push(next);
      return next.promise;
    },
    letGo: () => gate?.resolve(),
    [Symbol.asyncDispose]: async () => {
      await commits.close();
      await store[Symbol.asyncDispose]();
    },
  };
};

it("writes no end of a job without its events, also when the job goes on while a transaction begins", async () => {
  await using harness = await setup();
  const { commits, store } = harness;
  const inserted = await commits.insert({ row, eventsOf: () => [statusEvent("running")] });
  expect(inserted.kind).toBe("inserted");
  const job = newGateJob(inserted.row, { datacenters: [], fallbacks: [] });
  const change = { job, events: [statusEvent("running")], isQueued: false, isDropped: false };

  const waits = harness.hold();
  job.status = "running";
  const first = commits.update(change);
  await waits;
  job.status = "completed";
  change.events.push(statusEvent("completed"));
  harness.letGo();

  expect(await first).toBe(true);
  expect((await store.jobs.get([JOB_ID]))[0]?.status).toBe("running");
  expect(await commits.update(change)).toBe(true);
  expect((await store.jobs.get([JOB_ID]))[0]?.status).toBe("completed");
  const read = await store.coordination.log.read(jobStream(JOB_ID), {});
  expect(read.kind === "entries" ? read.entries.map(({ payload }) => payload) : read.kind).toEqual([
    statusEvent("running"),
    statusEvent("running"),
    statusEvent("completed"),
  ]);
});
