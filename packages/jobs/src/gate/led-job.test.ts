import { type Deferred, deferred, silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEvent, JobSpec } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import { newGateJob } from "./gate-job.ts";
import type { JobCommits, PendingChange } from "./job-commits.ts";
import { LedJob } from "./led-job.ts";

/** A led job whose commits end when the test says so. */
const setUp = () => {
  const committed: JobEvent[] = [];
  const ends: Deferred<boolean>[] = [];
  const commits = {
    update: (change: PendingChange) => {
      committed.push(...change.events);
      change.events = [];
      const end = deferred<boolean>();
      ends.push(end);
      return end.promise;
    },
  } as unknown as JobCommits;
  const job = newGateJob(
    {
      jobId: "job-1",
      idempotencyKey: "key",
      spec: { policy: "allow-partial" } as JobSpec,
      fence: 1n,
      submittedAt: 0,
      status: "dispatching",
    },
    { datacenters: ["east"], fallbacks: [] },
  );
  const led = new LedJob(
    {
      commits,
      clock: new VirtualClock(),
      logger: silentLogger,
      tasks: new TaskGroup({ logger: silentLogger }),
      self: { nodeId: "gate", address: "gate:1" },
      onFinished: () => undefined,
      onDeposed: () => undefined,
    },
    job,
    { deadlineAt: 1_000 },
  );
  return { led, ends, committed };
};

const statusAt = (at: number): JobEvent => ({ type: "job.status", at, status: "running" });

it.each([
  0, 1, 2, 3, 4, 5,
])("a change that comes %i steps after the answer to the commit before is committed without another one", async (steps) => {
  const { led, ends, committed } = setUp();
  led.apply(() => [statusAt(1)]);
  ends[0]?.resolve(true);
  let step = Promise.resolve();
  for (let count = 0; count < steps; count += 1) step = step.then(() => undefined);
  const changed = step.then(() => led.apply(() => [statusAt(2)]));
  await changed;
  for (let count = 0; count < 10; count += 1) await Promise.resolve();
  expect(committed).toEqual([statusAt(1), statusAt(2)]);
  ends[1]?.resolve(true);
  await led.committed();
});
