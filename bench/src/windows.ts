import { connect, createHandlers, tcpTransport } from "@holdfast/connection";
import { createMemoryJobStore, Histogram, type JobStore } from "@holdfast/jobs";
import { createManager } from "@holdfast/jobs/manager";
import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import {
  type Assignment,
  claimTasks,
  registerWorker,
  reportProgress,
  submitJob,
  validateInput,
} from "@holdfast/protocol/contract";
import type { Bench, BenchResult } from "./measure/bench-result.ts";

const SHARDS = 1_000;
const SECONDS = 8;
/** Reports under way at a time. */
const AHEAD = 4;

const base = {
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
  transport: tcpTransport(),
};

/** Latencies as a load test has them: spread over an order of magnitude. */
const latencies = (count: number): ReturnType<Histogram["encode"]> => {
  const histogram = new Histogram();
  for (let value = 1; value <= count; value += 1) histogram.record(5 + value * value * 0.3);
  return histogram.encode();
};

/** A manager that leads one job of a thousand shards, all of them with one worker that the bench plays. */
const setUp = async () => {
  const store = createMemoryJobStore({ clock: systemClock }) as JobStore;
  const manager = await createManager({
    ...base,
    nodeId: "manager",
    datacenter: "local",
    listen: "127.0.0.1:0",
    store,
    // Nobody renews: the claims must outlive the bench.
    taskLeaseMs: 600_000,
  });
  const handlers = createHandlers();
  handlers.onRequest(validateInput, async () => ({
    outcome: "valid" as const,
    issues: [],
    shards: SHARDS,
    timeoutMs: 600_000,
    maxAttempts: 1,
    backoff: { baseMs: 100, factor: 2, capMs: 1_000 },
    kind: "workflow" as const,
    dependsOn: [],
    known: [],
  }));
  const identity = { nodeId: "worker", role: "worker" };
  const worker = await connect({ ...base, address: manager.address, identity, handlers });
  const workflow = {
    name: "w",
    kind: "workflow" as const,
    description: "",
    shards: SHARDS,
    timeoutMs: 600_000,
    maxAttempts: 1,
    dependsOn: [],
  };
  await worker.request(registerWorker, {
    nodeId: "worker",
    datacenter: "local",
    cores: SHARDS,
    startedAt: 1,
    pid: 1,
    host: "bench",
    state: "healthy",
    workflows: [workflow],
  });
  const jobId = "job-0000000000000001";
  await worker.request(submitJob, {
    jobId,
    idempotencyKey: "windows",
    spec: {
      name: "w",
      workflows: [{ id: "wf-0000000000000001", name: "w", workflow: "w", input: {} }],
      timeoutMs: 600_000,
    },
  });
  const claimed: Assignment[] = [];
  while (claimed.length < SHARDS) {
    const { assignments } = await worker.request(claimTasks, {
      nodeId: "worker",
      maxCount: SHARDS - claimed.length,
      waitMs: 2_000,
    });
    claimed.push(...assignments);
  }
  return {
    worker,
    claimed,
    windowCount: async () => {
      const { bounds } = await store.coordination.log.read(`job:${jobId}`, { limit: 1 });
      return Number(bounds.head.offset);
    },
    [Symbol.asyncDispose]: async () => {
      await worker.close();
      await manager.stop({ drainMs: 0 });
      await store[Symbol.asyncDispose]();
    },
  };
};

const run = async (): Promise<readonly BenchResult[]> => {
  const measure = async (histograms: boolean): Promise<{ perCore: number; windows: number }> => {
    await using scene = await setUp();
    const { worker, claimed } = scene;
    const measured = histograms ? { latencyMs: latencies(20) } : {};
    let sequence = 0;
    const report = async (): Promise<void> => {
      sequence += 1;
      const number = sequence;
      await worker.request(reportProgress, {
        nodeId: "worker",
        sequence: number,
        updates: claimed.map(({ taskId, token, jobId, workflowId, shard }) => ({
          taskId,
          token,
          jobId,
          workflowId,
          shard,
          progress: { done: number, total: 1_000_000 },
          windowStart: Date.now(),
          windowMs: 250,
          counters: { requests: 20, failures: 1 },
          histograms: measured,
          logs: [],
        })),
      });
    };
    const forSeconds = async (seconds: number): Promise<number> => {
      const endsAt = performance.now() + seconds * 1_000;
      const before = sequence;
      // One after the other on each lane; the manager drops what comes late, so the lanes share the numbers.
      const lane = async (): Promise<void> => {
        while (performance.now() < endsAt) await report();
      };
      await Promise.all(Array.from({ length: AHEAD }, lane));
      return (sequence - before) * claimed.length;
    };
    await forSeconds(2);
    const before = process.cpuUsage();
    const updates = await forSeconds(SECONDS);
    const { user, system } = process.cpuUsage(before);
    return { perCore: Math.round(updates / ((user + system) / 1e6)), windows: await scene.windowCount() };
  };
  const counters = await measure(false);
  const histograms = await measure(true);
  const notes =
    `One job of ${SHARDS} shards, reports of ${SHARDS} updates over TCP to a real manager; its store is in memory, and ` +
    "the figure is updates by the processor seconds of the whole process, so making, sending and checking the " +
    "reports is in it.";
  return [
    {
      unit: "updates/s and core, two counters each",
      ours: counters.perCore,
      peers: {},
      higherIsBetter: true,
      notes,
    },
    {
      unit: "updates/s and core, two counters and a histogram of 20 values each",
      ours: histograms.perCore,
      peers: {},
      higherIsBetter: true,
      notes: `${notes} The log has ${histograms.windows} events at the end.`,
    },
  ];
};

const bench: Bench = {
  name: "windows",
  description: "How many updates of workers does a manager fold into windows, per second and core?",
  run,
};

export default bench;
