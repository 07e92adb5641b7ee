import { fileURLToPath } from "node:url";
import { createMemoryNetwork } from "@holdfast/connection";
import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createWorker, type Worker } from "../../src/worker/index.ts";
import { ScriptedManager, ScriptedTasks } from "./scripted-manager.ts";

const modulePath = fileURLToPath(new URL("./fixtures/workflows.ts", import.meta.url));

let tasks: ScriptedTasks;
let manager: ScriptedManager;
let worker: Worker;

beforeEach(async () => {
  const transport = createMemoryNetwork({ clock: systemClock, latencyMs: 1 });
  tasks = new ScriptedTasks();
  manager = await new ScriptedManager({
    nodeId: "manager-1",
    address: "manager-1:7411",
    transport,
    clock: systemClock,
    tasks,
    taskLeaseMs: 300,
    progressEveryMs: 30,
  }).start();
  worker = await createWorker({
    nodeId: "worker-1",
    datacenter: "east",
    managers: ["manager-1:7411"],
    transport,
    cores: 2,
    modulePath,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
  });
  await worker.whenRegistered();
});

afterEach(async () => {
  await worker.kill();
  await manager.stop();
});

const assignment = (workflow: string, shard: number, overrides: Partial<Assignment> = {}): Assignment => ({
  taskId: `job-1/wf-1/${shard}`,
  token: "1",
  jobId: "job-1",
  workflowId: "wf-1",
  name: workflow,
  workflow,
  shard,
  shardCount: 8,
  attempt: 1,
  maxAttempts: 3,
  input: {},
  timeoutMs: 60_000,
  datacenter: "east",
  leader: manager.leader,
  dependencies: {},
  ...overrides,
});

const eventually = (assertion: () => void): Promise<void> => vi.waitFor(assertion, { timeout: 15_000 });

describe("a worker with threads", () => {
  it("goes on renewing, reporting and working while one of its workflows loops for ever", async () => {
    tasks.add(assignment("endless", 0));
    await eventually(() => expect(tasks.renewalCounts.get("job-1/wf-1/0") ?? 0).toBeGreaterThan(3));
    tasks.add(assignment("measure", 1, { input: { rounds: 100 } }));
    await eventually(() => expect(tasks.outcomes.map(({ shard }) => shard)).toContain(1));
    expect(tasks.outcomes[0]).toMatchObject({ kind: "completed", totals: { counters: { rows: 300 } } });
    const updates = manager.progress.flatMap((report) => report.updates).filter(({ shard }) => shard === 1);
    expect(updates.length).toBeGreaterThan(2);
    expect(updates.reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(300);
    expect(await manager.validate("measure", { rounds: "many" })).toMatchObject({ outcome: "invalid" });
    expect(worker.state).toBe("healthy");
  });

  it("reports the crash of one workflow and completes the others", async () => {
    tasks.add(
      assignment("exit", 0),
      assignment("uncaught", 1),
      ...[2, 3, 4].map((shard) => assignment("measure", shard, { input: { rounds: 5 } })),
    );
    await eventually(() => expect(tasks.outcomes.length).toBe(5));
    const byShard = [...tasks.outcomes].sort((a, b) => a.shard - b.shard);
    expect(byShard.slice(0, 2)).toMatchObject([
      { kind: "failed", retry: true, error: { code: "JOBS_SHARD_CRASHED" } },
      { kind: "failed", retry: true, error: { code: "JOBS_SHARD_CRASHED" } },
    ]);
    expect(byShard.slice(2)).toMatchObject([2, 3, 4].map((shard) => ({ shard, kind: "completed" })));
  });
});
