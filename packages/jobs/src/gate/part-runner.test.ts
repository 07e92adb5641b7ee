import type { Peer } from "@holdfast/connection";
import { deferred, silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobSpec } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import type { Datacenter } from "./datacenter.ts";
import { newGateJob } from "./gate-job.ts";
import type { JobCommits } from "./job-commits.ts";
import { LedJob } from "./led-job.ts";
import { PartRunner } from "./part-runner.ts";

it("a job that moves to another gate while its datacenter takes it leaves no subscription behind", async () => {
  const clock = new VirtualClock();
  const tasks = new TaskGroup({ logger: silentLogger });
  const answer = deferred<unknown>();
  let openCount = 0;
  const caller = {
    openFeed: () => {
      openCount += 1;
      return { subscriptionId: "sub-1", buffer: undefined, close: () => (openCount -= 1) };
    },
    ask: () => answer.promise,
  };
  const datacenters = new Map([["east", { caller } as unknown as Datacenter]]);
  const runner = new PartRunner({
    datacenters,
    tasks,
    clock,
    logger: silentLogger,
    onStale: () => undefined,
  });
  const job = newGateJob(
    {
      jobId: "job-1",
      idempotencyKey: "key",
      spec: { policy: "require-all" } as JobSpec,
      fence: 1n,
      submittedAt: 0,
      status: "dispatching",
    },
    { datacenters: ["east"], fallbacks: [] },
  );
  const led = new LedJob(
    {
      commits: {} as JobCommits,
      clock,
      logger: silentLogger,
      tasks,
      self: { nodeId: "gate", address: "gate:1" },
      onFinished: () => undefined,
      onDeposed: () => undefined,
    },
    job,
    { deadlineAt: 1_000 },
  );
  runner.start(led);
  expect(openCount).toBe(1);
  led.drop("the gate's lease is lost");
  const leader = { nodeId: "m", address: "m:1", fence: "1" };
  answer.resolve({
    output: {
      jobId: "job-1",
      status: "queued",
      position: { epoch: "1", offset: "0" },
      leader,
      duplicate: false,
      followed: true,
    },
    address: "m:1",
    peer: {} as Peer,
  });
  await clock.advance(10);
  expect([openCount, tasks.size]).toEqual([0, 0]);
});
