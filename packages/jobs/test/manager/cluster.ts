import {
  type Connect,
  connect,
  createHandlers,
  createMemoryNetwork,
  type Peer,
  type Transport,
} from "@holdfast/connection";
import { type Clock, seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import {
  type Assignment,
  cancelTasks,
  claimTasks,
  followJob,
  getJob,
  getResult,
  type JobEvent,
  type JobSpecInput,
  type JobView,
  jobEvents,
  leaderChanged,
  registerWorker,
  renewTasks,
  reportOutcomes,
  reportProgress,
  submitJob,
  type TaskOutcome,
  type TaskProgress,
  type ValidateInputAnswer,
  validateInput,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import { createManager, type Manager } from "../../src/manager/index.ts";
import type { ManagerOptions } from "../../src/manager/manager-options.ts";
import { createMemoryJobStore } from "../../src/model/job-store/index.ts";
import type { JobStore } from "../../src/model/job-table.ts";

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

/** Managers, scripted workers and clients over a memory network. */
export class Cluster {
  readonly clock: Clock;
  readonly virtual: VirtualClock | undefined;
  readonly transport: Transport;
  readonly store: JobStore;
  readonly random = seededRandom(7);
  readonly managers: Manager[] = [];
  readonly peers: Peer[] = [];
  #jobCount = 0;

  constructor(options: { readonly store?: (clock: Clock) => JobStore; readonly clock?: Clock } = {}) {
    this.virtual = options.clock === undefined ? new VirtualClock() : undefined;
    this.clock = options.clock ?? (this.virtual as VirtualClock);
    this.transport = createMemoryNetwork({ clock: this.clock, latencyMs: 1 });
    this.store =
      options.store?.(this.clock) ?? createMemoryJobStore({ clock: this.clock, random: seededRandom(1) });
  }

  /** Lets virtual time pass until `promise` settles. On a real clock it simply waits. */
  async run<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
    if (this.virtual === undefined) return promise;
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
    });
    watched.catch(() => undefined);
    await this.virtual.advanceUntil(() => settled, limitMs);
    return watched;
  }

  /** Lets time pass until the condition holds. */
  async until(condition: () => boolean | Promise<boolean>, limitMs = 120_000): Promise<void> {
    const started = this.clock.monotonicNow();
    while (!(await condition())) {
      if (this.clock.monotonicNow() - started > limitMs) throw new Error("the condition did not come true");
      await this.run(this.clock.sleep(5));
    }
  }

  async advance(ms: number): Promise<void> {
    await this.run(this.clock.sleep(ms), ms + 1);
  }

  async manager(nodeId: string, options: Partial<ManagerOptions> = {}): Promise<Manager> {
    const manager = await this.run(
      createManager({
        nodeId,
        datacenter: "east",
        listen: "127.0.0.1:0",
        store: this.store,
        transport: this.transport,
        clock: this.clock,
        random: this.random,
        logger: silentLogger,
        ...options,
      }),
    );
    this.managers.push(manager);
    return manager;
  }

  async connect(
    address: string,
    identity: Parameters<Connect>[0]["identity"],
    handlers = createHandlers(),
  ): Promise<Peer> {
    const peer = await this.run(
      connect({
        address,
        identity,
        handlers,
        clock: this.clock,
        random: this.random,
        transport: this.transport,
      }),
    );
    this.peers.push(peer);
    return peer;
  }

  async worker(
    manager: Manager,
    nodeId: string,
    definitions: Definitions = { noop: {} },
  ): Promise<ScriptedWorker> {
    const worker = new ScriptedWorker(this, nodeId, definitions);
    await worker.attach(manager);
    return worker;
  }

  async client(manager: Manager): Promise<ScriptedClient> {
    const client = new ScriptedClient(this);
    await client.attach(manager);
    return client;
  }

  nextJobId(): string {
    this.#jobCount += 1;
    return `job-${String(this.#jobCount).padStart(16, "0")}`;
  }

  async close(): Promise<void> {
    await this.run(Promise.all(this.peers.map((peer) => peer.close())));
    await this.run(Promise.all(this.managers.map((manager) => manager.stop({ drainMs: 0 }))));
    await this.store[Symbol.asyncDispose]();
  }
}

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

type WorkflowInput = Partial<JobSpecInput["workflows"][number]> & { readonly name: string };

/** A client of one manager that keeps every event it was pushed. */
export class ScriptedClient {
  readonly events: JobEvent[] = [];
  readonly ended = new Set<string>();
  readonly #cluster: Cluster;
  #peer: Peer | undefined;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get peer(): Peer {
    if (this.#peer === undefined) throw new Error("the client is not connected");
    return this.#peer;
  }

  async attach(manager: Manager): Promise<void> {
    const handlers = createHandlers();
    handlers.onPush(jobEvents, ({ jobId, events, end }) => {
      this.events.push(...events.map(({ event }) => event));
      if (end) this.ended.add(jobId);
    });
    this.#peer = await this.#cluster.connect(manager.address, { nodeId: "", role: "client" }, handlers);
  }

  /** Submits a job; the workflows' ids are `wf-<name>`. */
  async submit(
    workflows: readonly WorkflowInput[],
    change: Partial<Omit<JobSpecInput, "workflows">> & {
      readonly jobId?: string;
      readonly idempotencyKey?: string;
      readonly gate?: { readonly nodeId: string; readonly address: string; readonly fence: string };
      readonly dryRun?: boolean;
    } = {},
  ) {
    const { jobId = this.#cluster.nextJobId(), idempotencyKey, gate, dryRun, ...spec } = change;
    const request = this.peer.request(submitJob, {
      jobId,
      idempotencyKey: idempotencyKey ?? `key-${jobId}`,
      spec: {
        name: "test job",
        ...spec,
        workflows: workflows.map((workflow) => ({
          id: `wf-${workflow.name}`,
          workflow: "noop",
          input: {},
          ...workflow,
        })),
      },
      ...(gate === undefined ? {} : { gate }),
      ...(dryRun === undefined ? {} : { dryRun }),
    });
    return this.#cluster.run(request);
  }

  async follow(jobId: string, after?: { readonly epoch: string; readonly offset: string }) {
    const request = { jobId, subscriptionId: jobId, ...(after === undefined ? {} : { after }) };
    return this.#cluster.run(this.peer.request(followJob, request));
  }

  get(jobId: string): Promise<JobView> {
    return this.#cluster.run(this.peer.request(getJob, { jobId }));
  }

  async result(jobId: string) {
    return (await this.#cluster.run(this.peer.request(getResult, { jobId }))).result;
  }

  /** Lets time pass until the job has a result. */
  async finished(jobId: string) {
    let result = await this.result(jobId);
    await this.#cluster.until(async () => {
      result = await this.result(jobId);
      return result !== undefined;
    });
    if (result === undefined) throw new Error("no result");
    return result;
  }

  types(): readonly string[] {
    return this.events.map((event) =>
      event.type === "job.status" || event.type === "workflow.status"
        ? `${event.type}:${event.status}`
        : event.type,
    );
  }
}
