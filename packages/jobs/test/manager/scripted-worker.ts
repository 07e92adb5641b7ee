import { createHandlers, type Peer } from "@holdfast/connection";
import {
  type Assignment,
  cancelTasks,
  claimTasks,
  leaderChanged,
  registerWorker,
  renewTasks,
  reportOutcomes,
  reportProgress,
  type TaskOutcome,
  type TaskProgress,
  type ValidateInputAnswer,
  validateInput,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import type { Manager } from "../../src/manager/index.ts";
import type { Cluster } from "./cluster.ts";

export type Outcome = z.input<typeof reportOutcomes.input>["outcomes"][number];
type CompletedInput = Extract<TaskOutcome, { kind: "completed" }>;

/** What the scripted workers' workflows answer to `worker.validate`; by name. */
export type Definitions = Readonly<Record<string, Partial<ValidateInputAnswer>>>;

const DEFINITION: ValidateInputAnswer = {
  outcome: "valid",
  issues: [],
  shards: 1,
  timeoutMs: 60_000,
  maxAttempts: 3,
  backoff: { baseMs: 100, factor: 2, capMs: 1_000 },
  kind: "workflow",
  dependsOn: [],
  known: [],
};

/** A worker that does what the test says, built from the contract alone. */
export class ScriptedWorker {
  readonly nodeId: string;
  readonly cancelled: { readonly taskId: string; readonly token: string }[] = [];
  readonly leaders: {
    readonly jobId: string;
    readonly leader: { readonly nodeId: string; readonly fence: string };
  }[] = [];
  readonly peers = new Map<string, Peer>();
  validations = 0;
  /** What it says of its cores when it registers. */
  busyCores: number | undefined;
  #sequence = 0;
  readonly #cluster: Cluster;
  readonly #definitions: Definitions;

  constructor(cluster: Cluster, nodeId: string, definitions: Definitions) {
    this.#cluster = cluster;
    this.nodeId = nodeId;
    this.#definitions = definitions;
  }

  async attach(manager: Manager): Promise<z.output<typeof registerWorker.output>> {
    const handlers = createHandlers();
    handlers.onRequest(validateInput, async ({ workflow }) => {
      this.validations += 1;
      return { ...DEFINITION, ...this.#definitions[workflow] };
    });
    handlers.onPush(cancelTasks, ({ tasks }) => void this.cancelled.push(...tasks));
    handlers.onPush(leaderChanged, ({ jobs }) => void this.leaders.push(...jobs));
    const identity = { nodeId: this.nodeId, role: "worker" };
    const peer = await this.#cluster.connect(manager.address, identity, handlers);
    this.peers.set(manager.nodeId, peer);
    return this.register(manager);
  }

  register(manager: Manager): Promise<z.output<typeof registerWorker.output>> {
    return this.#cluster.run(
      this.peer(manager).request(registerWorker, {
        nodeId: this.nodeId,
        datacenter: "east",
        cores: 8,
        startedAt: 1,
        pid: 1,
        host: "test",
        state: "healthy",
        ...(this.busyCores === undefined ? {} : { busyCores: this.busyCores }),
        workflows: Object.entries(this.#definitions).map(([name, definition]) => ({
          name,
          kind: "workflow" as const,
          description: "",
          shards: definition.shards ?? 1,
          timeoutMs: 60_000,
          maxAttempts: definition.maxAttempts ?? 3,
          dependsOn: definition.dependsOn ?? [],
        })),
      }),
    );
  }

  peer(manager?: Manager): Peer {
    const peer = manager === undefined ? [...this.peers.values()].at(-1) : this.peers.get(manager.nodeId);
    if (peer === undefined) throw new Error("the worker is not connected");
    return peer;
  }

  async claim(maxCount = 10, waitMs = 2_000, manager?: Manager): Promise<readonly Assignment[]> {
    const request = this.peer(manager).request(
      claimTasks,
      { nodeId: this.nodeId, maxCount, waitMs },
      { timeoutMs: waitMs + 5_000 },
    );
    return (await this.#cluster.run(request)).assignments;
  }

  /** Claims again and again until it has `count` assignments. */
  async claimAll(count: number, manager?: Manager): Promise<readonly Assignment[]> {
    const all: Assignment[] = [];
    while (all.length < count) {
      const claimed = await this.claim(count - all.length, 2_000, manager);
      if (claimed.length === 0) throw new Error(`only ${all.length} of ${count} shards came`);
      all.push(...claimed);
    }
    return all;
  }

  async report(outcomes: readonly Outcome[], manager?: Manager) {
    const request = this.peer(manager).request(reportOutcomes, {
      nodeId: this.nodeId,
      outcomes: [...outcomes],
    });
    return (await this.#cluster.run(request)).results;
  }

  async complete(assignment: Assignment, change: Partial<CompletedInput> = {}, manager?: Manager) {
    return (await this.report([completed(assignment, change)], manager))[0];
  }

  async fail(
    assignment: Assignment,
    change: { readonly retry?: boolean; readonly uncounted?: boolean } = {},
    manager?: Manager,
  ) {
    return (await this.report([failed(assignment, change)], manager))[0];
  }

  async renew(assignments: readonly Assignment[], manager?: Manager) {
    const request = this.peer(manager).request(renewTasks, {
      nodeId: this.nodeId,
      tasks: assignments.map(({ taskId, token }) => ({ taskId, token })),
    });
    return (await this.#cluster.run(request)).outcomes;
  }

  async progress(
    updates: readonly (Partial<TaskProgress> & { readonly assignment: Assignment })[],
    options: { readonly manager?: Manager; readonly sequence?: number } = {},
  ) {
    this.#sequence = options.sequence ?? this.#sequence + 1;
    const request = this.peer(options.manager).request(reportProgress, {
      nodeId: this.nodeId,
      sequence: this.#sequence,
      updates: updates.map(({ assignment, ...change }) => ({
        taskId: assignment.taskId,
        token: assignment.token,
        jobId: assignment.jobId,
        workflowId: assignment.workflowId,
        shard: assignment.shard,
        progress: { done: 0, total: 0 },
        windowStart: this.#cluster.clock.wallNow(),
        windowMs: 100,
        counters: {},
        histograms: {},
        logs: [],
        ...change,
      })),
    });
    return this.#cluster.run(request);
  }
}

export const completed = (assignment: Assignment, change: Partial<CompletedInput> = {}): Outcome => ({
  kind: "completed",
  taskId: assignment.taskId,
  token: assignment.token,
  jobId: assignment.jobId,
  workflowId: assignment.workflowId,
  shard: assignment.shard,
  output: { shard: assignment.shard },
  totals: { counters: { units: 1 }, histograms: {} },
  progress: { done: 1, total: 1 },
  startedAt: 1,
  finishedAt: 2,
  ...change,
});

export const failed = (
  assignment: Assignment,
  change: { readonly retry?: boolean; readonly uncounted?: boolean } = {},
): Outcome => ({
  kind: "failed",
  taskId: assignment.taskId,
  token: assignment.token,
  jobId: assignment.jobId,
  workflowId: assignment.workflowId,
  shard: assignment.shard,
  error: { code: "TEST_BOOM", message: "boom", retryable: true },
  retry: true,
  uncounted: false,
  ...change,
});
