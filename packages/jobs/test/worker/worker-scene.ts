import { createMemoryNetwork, type Transport } from "@holdfast/connection";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { Assignment } from "@holdfast/protocol/contract";
import { z } from "zod";
import { createRegistry, defineWorkflow, PermanentError, type WorkflowDefinition } from "../../src/index.ts";
import { createWorker, type Worker, type WorkerOptions } from "../../src/worker/index.ts";
import { ScriptedManager, ScriptedTasks } from "./scripted-manager.ts";

/** A worker with inline workflows, its scripted managers, and the virtual clock that drives them all. */
export interface Scene {
  readonly clock: VirtualClock;
  readonly transport: Transport;
  readonly tasks: ScriptedTasks;
  readonly managers: readonly ScriptedManager[];
  /** The first manager. */
  readonly manager: ScriptedManager;
  startWorker(options?: Partial<WorkerOptions>): Promise<Worker>;
  /** An assignment of the workflow `sleep` (or another) that the first manager leads. */
  assignment(shard: number, options?: Partial<Assignment>): Assignment;
  until(condition: () => boolean, limitMs?: number): Promise<void>;
}

const anything = z.unknown();

/** Workflows of the scenes. Waits go through the context's clock. */
export const sceneWorkflows: readonly WorkflowDefinition[] = [
  defineWorkflow({
    name: "sleep",
    input: z.object({ ms: z.number().default(0) }),
    run: async ({ input, clock, signal, shard }) => {
      if (input.ms > 0) await clock.sleep(input.ms, { signal });
      return { shard };
    },
  }),
  defineWorkflow({
    name: "count",
    input: z.object({ times: z.number() }),
    run: async ({ input, clock, signal, count, record, progress, log }) => {
      for (let index = 1; index <= input.times; index += 1) {
        count("rows", 2);
        record("ms", index);
        progress(index, input.times);
        log.info({ index }, "row");
        await clock.sleep(10, { signal });
      }
      return input.times;
    },
  }),
  defineWorkflow({
    name: "fail",
    input: z.object({ permanent: z.boolean() }),
    run: async ({ input }) => {
      if (input.permanent) throw new PermanentError("there is no such file");
      throw Object.assign(new TypeError("bad row"), { code: "E_ROW" });
    },
  }),
  defineWorkflow({
    name: "stubborn",
    input: anything,
    run: async ({ clock }) => {
      await clock.sleep(1_000_000_000);
    },
  }),
];

export const createScene = async (
  options: {
    readonly managerCount?: number;
    readonly latencyMs?: number;
    readonly taskLeaseMs?: number;
  } = {},
): Promise<Scene> => {
  const { managerCount = 1, latencyMs = 1, taskLeaseMs = 3_000 } = options;
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock, latencyMs });
  const tasks = new ScriptedTasks();
  const names = Array.from({ length: managerCount }, (_, index) => ({
    nodeId: `manager-${index + 1}`,
    address: `manager-${index + 1}:7411`,
  }));
  const managers = await Promise.all(
    names.map((name) =>
      new ScriptedManager({
        ...name,
        transport,
        clock,
        tasks,
        taskLeaseMs,
        others: names.filter(({ nodeId }) => nodeId !== name.nodeId),
      }).start(),
    ),
  );
  const [manager] = managers;
  if (manager === undefined) throw new Error("a scene needs a manager");
  const until: Scene["until"] = (condition, limitMs = 60_000) => clock.advanceUntil(condition, limitMs);
  return {
    clock,
    transport,
    tasks,
    managers,
    manager,
    until,
    startWorker: async (overrides = {}) => {
      const worker = await createWorker({
        nodeId: "worker-1",
        datacenter: "east",
        managers: ["manager-1:7411"],
        transport,
        cores: 2,
        ...(overrides.executor === undefined ? { registry: createRegistry(sceneWorkflows) } : {}),
        clock,
        random: seededRandom(7),
        logger: silentLogger,
        ...overrides,
      });
      await until(() => worker.stats().managers.length > 0);
      return worker;
    },
    assignment: (shard, overrides = {}) => ({
      taskId: `job-1/wf-1/${shard}`,
      token: "10",
      jobId: "job-1",
      workflowId: "wf-1",
      name: "sleep",
      workflow: "sleep",
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
    }),
  };
};
