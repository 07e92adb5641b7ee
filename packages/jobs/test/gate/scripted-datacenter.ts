import { createHandlers, type Server, serve, type Transport } from "@holdfast/connection";
import { type CoordinationStore, toWirePosition } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import type { VirtualClock } from "@holdfast/kernel/testing";
import {
  cancelJob,
  type DatacenterView,
  getCluster,
  getResult,
  type InputOf,
  type JobEvent,
  type JobResult,
  type JobSpec,
  type JobStatus,
  type Leader,
  ping,
  submitJob,
  type WorkflowResult,
} from "@holdfast/protocol/contract";
import { JobNotFoundError, NotLeaderError, StaleFenceError } from "../../src/errors.ts";
import { jobStream } from "../../src/model/job-stream.ts";
import { EventFeed } from "../../src/node/event-feed.ts";

interface StoredJob {
  readonly jobId: string;
  readonly spec: JobSpec;
  gate: Leader | undefined;
  status: JobStatus;
  result: JobResult | undefined;
}

/** A datacenter whose managers share a log, and whose jobs run as the test says. */
export class ScriptedDatacenter {
  readonly name: string;
  readonly clock: VirtualClock;
  readonly transport: Transport;
  readonly store: CoordinationStore<unknown>;
  readonly jobs = new Map<string, StoredJob>();
  readonly managers: ScriptedManager[] = [];
  readonly submissions: InputOf<typeof submitJob>[] = [];
  readonly cancellations: string[] = [];
  leader: ScriptedManager | undefined;
  workflows = ["w"];
  workers = 1;
  availableCores = 4;
  /** Asked before a submission is found good that is not to be stored. */
  onDryRun: (input: InputOf<typeof submitJob>) => Promise<void> = async () => undefined;
  /** Asked before a submission is stored. */
  onSubmit: (input: InputOf<typeof submitJob>) => Promise<void> = async () => undefined;
  /** Asked after it was stored, before the answer. */
  afterSubmit: () => Promise<void> = async () => undefined;
  /** What a cancel does beside being noted. */
  onCancel: (jobId: string) => Promise<void> = (jobId) => this.end(jobId, "cancelled");
  /** Called with each stored job. */
  onStored: (jobId: string) => void = () => undefined;

  constructor(name: string, clock: VirtualClock, transport: Transport) {
    this.name = name;
    this.clock = clock;
    this.transport = transport;
    this.store = createMemoryStore({ clock }) as CoordinationStore<unknown>;
  }

  async startManagers(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      const manager = new ScriptedManager(this, `${this.name}-m${index}:7411`);
      await manager.start();
      this.managers.push(manager);
    }
    this.leader = this.managers[0];
  }

  get addresses(): string[] {
    return this.managers.map(({ address }) => address);
  }

  async append(jobId: string, ...events: JobEvent[]): Promise<void> {
    await this.store.log.append(
      events.map((event) => ({ stream: jobStream(jobId), payload: JSON.parse(JSON.stringify(event)) })),
    );
    await this.clock.advance(0);
  }

  async run(jobId: string): Promise<void> {
    const job = this.job(jobId);
    job.status = "running";
    await this.append(jobId, { type: "job.status", at: this.clock.wallNow(), status: "running" });
  }

  /** One window of a workflow in which `count` units were done. */
  async window(jobId: string, done: number, counters: Record<string, number> = {}): Promise<void> {
    const workflowId = this.job(jobId).spec.workflows[0]?.id ?? "";
    await this.append(jobId, {
      type: "window",
      at: this.clock.wallNow(),
      workflowId,
      windowStart: 0,
      windowMs: 500,
      progress: { done, total: 100 },
      shards: { total: 2, completed: 0, failed: 0, running: 2 },
      workerCount: 1,
      counters,
      histograms: {},
    });
  }

  async workflowDone(jobId: string, index = 0, more: Partial<WorkflowResult> = {}): Promise<void> {
    await this.append(jobId, {
      type: "workflow.result",
      at: this.clock.wallNow(),
      result: this.workflowResult(jobId, index, more),
    });
  }

  workflowResult(jobId: string, index: number, more: Partial<WorkflowResult> = {}): WorkflowResult {
    const workflow = this.job(jobId).spec.workflows[index];
    if (workflow === undefined) throw new Error("no such workflow");
    return {
      workflowId: workflow.id,
      name: workflow.name,
      workflow: workflow.workflow,
      status: "completed",
      shards: { total: 2, completed: 2, failed: 0 },
      outputs: [this.name],
      totals: { counters: { units: 10 }, histograms: {} },
      elapsedMs: 100,
      ...more,
    };
  }

  /** Ends the job here, as a manager does: status and result are the last events. */
  async end(
    jobId: string,
    status: JobStatus,
    more: { readonly workflow?: Partial<WorkflowResult>; readonly errors?: string[] } = {},
  ): Promise<void> {
    const job = this.job(jobId);
    if (job.result !== undefined) return;
    const at = this.clock.wallNow();
    const workflowStatus =
      status === "completed" ? "completed" : status === "cancelled" ? "cancelled" : "failed";
    job.status = status;
    job.result = {
      jobId,
      name: job.spec.name,
      status,
      workflows: job.spec.workflows.map((_, index) =>
        this.workflowResult(jobId, index, { status: workflowStatus, ...more.workflow }),
      ),
      datacenters: { [this.name]: { status, elapsedMs: 100 } },
      errors: more.errors ?? [],
      submittedAt: at,
      finishedAt: at,
      elapsedMs: 100,
    };
    await this.append(
      jobId,
      ...job.result.workflows.map((result): JobEvent => ({ type: "workflow.result", at, result })),
      { type: "job.status", at, status },
      { type: "job.result", at, result: job.result },
    );
  }

  job(jobId: string): StoredJob {
    const job = this.jobs.get(jobId);
    if (job === undefined) throw new JobNotFoundError(jobId, this.name);
    return job;
  }

  view(): DatacenterView {
    return {
      datacenter: this.name,
      health: "healthy",
      managers: this.managers
        .filter(({ isUp }) => isUp)
        .map((manager) => ({
          nodeId: manager.address,
          address: manager.address,
          state: "active",
          isLeader: manager === this.leader,
        })),
      workers: Array.from({ length: this.workers }, (_, index) => ({
        nodeId: `${this.name}-w${index}`,
        datacenter: this.name,
        state: "healthy",
        cores: 4,
        busyCores: 0,
        workflows: this.workflows,
        startedAt: 1,
        pid: 1,
        host: "h",
        completedShards: 0,
        failedShards: 0,
      })),
      totalCores: 4 * this.workers,
      availableCores: this.availableCores,
      activeJobs: 0,
      pendingTasks: 0,
      workflows: this.workflows.map((name) => ({
        name,
        kind: "workflow",
        description: "",
        shards: 1,
        timeoutMs: 1_000,
        maxAttempts: 3,
        dependsOn: name === "late" ? ["w"] : [],
      })),
    };
  }

  async stop(): Promise<void> {
    for (const manager of this.managers) await manager.kill();
    await this.store.close();
  }
}

export class ScriptedManager {
  readonly address: string;
  isUp = false;
  readonly #datacenter: ScriptedDatacenter;
  #server: Server | undefined;
  #feed: EventFeed | undefined;

  constructor(datacenter: ScriptedDatacenter, address: string) {
    this.#datacenter = datacenter;
    this.address = address;
  }

  async start(): Promise<void> {
    const dc = this.#datacenter;
    const { clock } = dc;
    const handlers = createHandlers();
    const self = { nodeId: this.address, address: this.address, fence: "5" };
    this.#feed = new EventFeed({
      log: dc.store.log,
      clock,
      logger: silentLogger,
      leads: () => false,
      lookup: async (jobId) => ({ status: dc.job(jobId).status, leader: self }),
    });
    this.#feed.register(handlers);
    handlers.onRequest(submitJob, async (input) => {
      if (input.dryRun) {
        await dc.onDryRun(input);
        return {
          jobId: input.jobId,
          status: "submitted" as const,
          position: { epoch: "0", offset: "0" },
          leader: self,
          duplicate: false,
        };
      }
      dc.submissions.push(input);
      const { leader } = dc;
      if (leader !== this && leader !== undefined) {
        throw new NotLeaderError("the datacenter", { nodeId: leader.address, address: leader.address });
      }
      await dc.onSubmit(input);
      let job = dc.jobs.get(input.jobId);
      const duplicate = job !== undefined;
      if (job === undefined) {
        job = {
          jobId: input.jobId,
          spec: input.spec,
          gate: input.gate,
          status: "submitted",
          result: undefined,
        };
        dc.jobs.set(input.jobId, job);
        await dc.append(
          input.jobId,
          { type: "job.status", at: clock.wallNow(), status: "submitted" },
          { type: "job.leader", at: clock.wallNow(), role: "manager", leader: self },
        );
        dc.onStored(input.jobId);
      }
      const known = BigInt(job.gate?.fence ?? "0");
      const given = BigInt(input.gate?.fence ?? "0");
      if (given < known) throw new StaleFenceError(`job ${input.jobId}`, given, known);
      job.gate = input.gate;
      await dc.afterSubmit();
      const { head } = await dc.store.log.bounds(jobStream(input.jobId));
      return {
        jobId: input.jobId,
        status: job.status,
        position: toWirePosition({ epoch: head.epoch, offset: 0n }),
        leader: self,
        duplicate,
      };
    });
    handlers.onRequest(cancelJob, async ({ jobId }) => {
      dc.cancellations.push(jobId);
      const job = dc.job(jobId);
      if (job.result === undefined) {
        job.status = "cancelling";
        await dc.onCancel(jobId);
      }
      return { jobId, outcome: "cancelling" as const, status: job.status, cancelledWorkflows: 1 };
    });
    handlers.onRequest(getResult, async ({ jobId }) => {
      const { status, result } = dc.job(jobId);
      return { jobId, status, ...(result === undefined ? {} : { result }) };
    });
    handlers.onRequest(getCluster, async () => ({
      node: {
        nodeId: this.address,
        role: "manager" as const,
        address: this.address,
        state: "active" as const,
        version: "0.1.0",
      },
      gates: [],
      datacenters: [dc.view()],
      activeJobs: 0,
    }));
    handlers.onRequest(ping, async () => ({
      nodeId: this.address,
      role: "manager" as const,
      state: "active" as const,
      datacenter: dc.name,
      version: "0.1.0",
      isLeader: dc.leader === this,
      wallNow: clock.wallNow(),
    }));
    this.#server = await serve({
      listen: this.address,
      transport: dc.transport,
      clock,
      random: seededRandom(11),
      handlers,
      identity: { nodeId: this.address, role: "manager", address: this.address },
    });
    this.isUp = true;
  }

  async kill(): Promise<void> {
    this.isUp = false;
    await this.#server?.close({ drainMs: 0 });
    await this.#feed?.close();
  }
}
