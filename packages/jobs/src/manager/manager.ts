import { createHandlers, type Server, serve } from "@holdfast/connection";
import { type Abortable, hasCode, type Logger, TaskGroup } from "@holdfast/kernel";
import type { DatacenterView, Leader } from "@holdfast/protocol/contract";
import { SHARD_QUEUE } from "../model/shard-task.ts";
import { EventFeed } from "../node/event-feed.ts";
import { NodeLease } from "../node/node-lease.ts";
import { Assignments } from "./assignments.ts";
import { ClaimBroker } from "./claim-broker.ts";
import { ClientRequests } from "./client-requests.ts";
import type { JobDraft } from "./commit-batch.ts";
import { datacenterViewOf } from "./datacenter-view.ts";
import { InputValidator } from "./input-validator.ts";
import { JobCommits } from "./job-commits.ts";
import { isTerminal } from "./job-state.ts";
import { LapsedClaims } from "./lapsed-claims.ts";
import { LedJob } from "./led-job.ts";
import { LedJobs, type UndecidedShard } from "./led-jobs.ts";
import { LiveFigures } from "./live-figures.ts";
import { type ManagerOptions, type ManagerSettings, managerSettings } from "./manager-options.ts";
import { NodeDirectory } from "./node-directory.ts";
import { Renewals } from "./renewals.ts";
import { purgeEnded } from "./retention.ts";
import { type TakenJob, TakeOver } from "./take-over.ts";
import { WorkerRegistry } from "./worker-registry.ts";
import { type OutcomeStats, WorkerRequests } from "./worker-requests.ts";

/**
 * `syncing`: no lease in the store yet (or any more), nothing is accepted or decided. `active`. `draining`: it
 * finishes what is under way and hands its jobs over. `offline`: stopped.
 */
export type ManagerState = "syncing" | "active" | "draining" | "offline";

export interface ManagerStats {
  readonly leadingJobs: number;
  readonly submittedJobs: number;
  readonly takenOverJobs: number;
  /** Writes that were refused because another manager led the job by then. */
  readonly deposedJobs: number;
  readonly outcomes: Readonly<OutcomeStats>;
  readonly commits: { readonly batches: number; readonly items: number; readonly failures: number };
  readonly claims: { readonly waiting: number; readonly claims: number; readonly claimedTasks: number };
  readonly lapsedClaims: number;
  readonly workers: number;
  readonly subscriptions: number;
}

/**
 * One manager of a datacenter. It hands out shards to workers, leads jobs (all those submitted while it leads
 * the datacenter, and those it took over), and answers clients and gates.
 */
export interface Manager extends AsyncDisposable {
  readonly nodeId: string;
  /** Where it listens, with the real port. */
  readonly address: string;
  readonly state: ManagerState;
  /** Whether it leads the datacenter: only the leader accepts new jobs. */
  readonly isLeader: boolean;
  /** The datacenter as this manager sees it; `pendingTasks` as of the last `cluster.get`. */
  view(): DatacenterView;
  stats(): ManagerStats;
  /** Hands over its jobs and leadership, answers what is under way for up to `drainMs` (default 5000), and stops. Idempotent. */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  /** Drops everything at once, as a crash would: leases are left to lapse. For tests and the simulator. */
  kill(): Promise<void>;
}

/**
 * Starts a manager: opens its port, takes its lease, takes over jobs that nobody leads, and serves.
 * @throws InvalidInputError for options out of range; AddressInUseError; what the store throws when it cannot
 * be reached. Nothing is left open then.
 */
export const createManager = async (options: ManagerOptions): Promise<Manager> => {
  const node = new ManagerNode(options);
  await node.start();
  return node;
};

/** Pending tasks are counted at most this often. */
const QUEUE_STATS_KEPT_MS = 1_000;
/** Workflows without news that are looked at in one sweep. */
const PROBE_MAX_COUNT = 50;
/** Stands in `LedJob.stopping` while it is not known which shards of a cancelled job still run. */
const UNKNOWN_SHARDS = "*";

class ManagerNode implements Manager {
  readonly #options: ManagerOptions;
  readonly #settings: ManagerSettings;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  readonly #handlers = createHandlers();
  readonly #registry: WorkerRegistry;
  readonly #directory: NodeDirectory;
  readonly #led: LedJobs;
  readonly #commits: JobCommits;
  readonly #figures: LiveFigures;
  readonly #broker: ClaimBroker;
  readonly #renewals: Renewals;
  readonly #lapsed: LapsedClaims;
  readonly #takeOver: TakeOver;
  readonly #feed: EventFeed;
  readonly #workerRequests: WorkerRequests;
  readonly #clientRequests: ClientRequests;
  #server: Server | undefined;
  #lease: NodeLease | undefined;
  #phase: "starting" | "running" | "draining" | "stopped" = "starting";
  #stopping: Promise<void> | undefined;
  #hadWorkers = false;
  /** The store's time minus the monotonic clock. */
  #storeOffset = 0;
  #pendingTasks: { readonly count: number; readonly readAt: number } = { count: 0, readAt: -Infinity };

  constructor(options: ManagerOptions) {
    const settings = managerSettings(options);
    const { store, clock, random, nodeId } = settings;
    this.#options = options;
    this.#settings = settings;
    this.#logger = options.logger.child({ node: nodeId, datacenter: settings.datacenter });
    const logger = this.#logger;
    this.#tasks = new TaskGroup({ logger });
    const queue = store.coordination.queue(SHARD_QUEUE);
    const self = (): { nodeId: string; address: string } => ({ nodeId, address: this.address });
    const ownerId = (): string | undefined => this.#ownerId();
    this.#registry = new WorkerRegistry({
      clock,
      silenceMs: settings.workerSilenceMs,
      onChanged: () => this.#onWorkersChanged(),
    });
    this.#directory = new NodeDirectory(() => this.#lease, self);
    this.#led = new LedJobs({
      store,
      clock,
      logger,
      datacenter: settings.datacenter,
      self,
      ownerId,
      windowMs: settings.windowMs,
      driftMs: settings.windowDriftMs,
      onLoaded: (job, undecided) => this.#onLoaded(job, undecided),
      onDropped: (jobId) => this.#feed.leadershipChanged(jobId),
    });
    this.#commits = new JobCommits({
      nodeId,
      store,
      led: this.#led,
      clock,
      logger,
      ownerId,
      pendingMaxCount: settings.pendingMaxCount,
      create: (state, owner) =>
        new LedJob({
          state,
          fence: 1n,
          ownerId: owner,
          leader: { ...self(), fence: "1" },
          windowMs: settings.windowMs,
          driftMs: settings.windowDriftMs,
        }),
      onCommitted: (draft) => this.#onCommitted(draft),
    });
    this.#figures = new LiveFigures({
      clock,
      logger,
      led: this.#led,
      commits: this.#commits,
      windowMs: settings.windowMs,
    });
    const assignments = new Assignments({
      store,
      led: this.#led,
      datacenter: settings.datacenter,
      monotonicNow: () => clock.monotonicNow(),
      leaderOf: (row) => this.#directory.leaderOf(row),
    });
    this.#broker = new ClaimBroker({
      queue,
      clock,
      logger,
      nodeId,
      taskLeaseMs: settings.taskLeaseMs,
      build: (tasks) => assignments.build(tasks),
      onAssigned: (assignment, worker) => {
        const { jobId, taskId, workflowId, shard, token } = assignment;
        this.#registry.holds(worker, taskId);
        const job = this.#led.get(jobId);
        const workflowIndex = job?.state.indexById.get(workflowId);
        if (job === undefined || workflowIndex === undefined) return;
        this.#figures.started(job, { taskId, workflowIndex, shard, worker, token: BigInt(token) });
      },
    });
    this.#renewals = new Renewals({ queue, leaseMs: settings.taskLeaseMs });
    this.#lapsed = new LapsedClaims({
      coordination: store.coordination,
      queue,
      led: this.#led,
      commits: this.#commits,
      clock,
      logger,
    });
    this.#takeOver = new TakeOver({
      store,
      led: this.#led,
      directory: this.#directory,
      clock,
      logger,
      self,
      ownerId,
      onTaken: (jobs) => this.#onTaken(jobs),
    });
    const validator = new InputValidator({ nodeId, registry: this.#registry, clock, random });
    this.#clientRequests = new ClientRequests({
      settings,
      store,
      clock,
      led: this.#led,
      commits: this.#commits,
      validator,
      directory: this.#directory,
      node: () => ({
        address: this.address,
        state: this.state,
        isLeader: this.isLeader,
        knownLeader: this.#otherLeader(),
      }),
      datacenter: (request) => this.#freshView(request),
    });
    this.#feed = new EventFeed({
      log: store.coordination.log,
      lookup: (jobId, request) => this.#clientRequests.lookUp(jobId, request),
      leads: (jobId) => this.#led.get(jobId) !== undefined,
      clock,
      logger,
    });
    this.#workerRequests = new WorkerRequests({
      settings,
      store,
      led: this.#led,
      commits: this.#commits,
      registry: this.#registry,
      broker: this.#broker,
      renewals: this.#renewals,
      figures: this.#figures,
      directory: this.#directory,
      isDraining: () => this.#phase !== "running",
      onStopped: (job) => this.#commitLater({ kind: "stopped", jobId: job.jobId }),
    });
    this.#workerRequests.serve(this.#handlers);
    this.#clientRequests.serve(this.#handlers);
    this.#feed.register(this.#handlers);
  }

  get nodeId(): string {
    return this.#settings.nodeId;
  }

  get address(): string {
    return this.#options.advertise ?? this.#server?.address ?? this.#settings.listen;
  }

  get state(): ManagerState {
    if (this.#phase === "stopped") return "offline";
    if (this.#phase === "draining") return "draining";
    return this.#phase === "running" && this.#ownerId() !== undefined ? "active" : "syncing";
  }

  get isLeader(): boolean {
    return this.state === "active" && this.#lease?.isLeader === true;
  }

  view(): DatacenterView {
    return datacenterViewOf({
      datacenter: this.#settings.datacenter,
      nodeId: this.nodeId,
      state: this.state,
      leader: this.#lease?.knownLeader,
      directory: this.#directory,
      registry: this.#registry,
      activeJobs: this.#led.size,
      pendingTasks: this.#pendingTasks.count,
      hadWorkers: this.#hadWorkers,
    });
  }

  stats(): ManagerStats {
    const { deposed, ...commits } = this.#commits.stats;
    return {
      leadingJobs: this.#led.size,
      submittedJobs: this.#clientRequests.submittedCount,
      takenOverJobs: this.#takeOver.takenCount,
      deposedJobs: deposed,
      outcomes: { ...this.#workerRequests.stats },
      commits,
      claims: this.#broker.stats,
      lapsedClaims: this.#lapsed.recoveredCount,
      workers: this.#registry.size,
      subscriptions: this.#feed.stats().subscriptions,
    };
  }

  async start(): Promise<void> {
    const settings = this.#settings;
    const { clock, random, transport, nodeId, store } = settings;
    try {
      this.#server = await serve({
        listen: settings.listen,
        clock,
        random,
        transport,
        logger: this.#logger,
        identity: { nodeId, role: "manager" },
        handlers: this.#handlers,
        ...(this.#options.authenticate === undefined ? {} : { authenticate: this.#options.authenticate }),
      });
      this.#lease = new NodeLease({
        leases: store.coordination.leases,
        clock,
        random,
        logger: this.#logger,
        nodeId,
        role: "manager",
        address: this.address,
        ttlMs: settings.nodeLeaseMs,
        onLost: () => this.#led.clear(),
      });
      await this.#lease.start();
      const notices = await this.#lapsed.head();
      this.#storeOffset = (await store.coordination.now()) - clock.monotonicNow();
      this.#tasks.spawn("lapsed claims", (signal) => this.#lapsed.follow(notices, signal));
      this.#phase = "running";
      await this.#takeOver.sweep();
    } catch (error) {
      await this.kill();
      throw error;
    }
    this.#tasks.spawn("sweep", (signal) => this.#runSweeps(signal));
    this.#tasks.spawn("retention", (signal) => this.#runRetention(signal));
    this.#logger.info({ address: this.address }, "the manager is ready");
  }

  stop(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#stopping ??= this.#drain(options.drainMs ?? 5_000);
    return this.#stopping;
  }

  kill(): Promise<void> {
    this.#stopping ??= this.#close({ drainMs: 0, release: false });
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #drain(drainMs: number): Promise<void> {
    this.#phase = "draining";
    try {
      // New jobs go to the next leader from here on.
      await this.#lease?.resign();
    } catch (error) {
      this.#logger.warn({ err: error }, "the leadership could not be released; it ends by itself");
    }
    await this.#broker.close();
    await this.#figures.close();
    await this.#commits.close();
    await this.#close({ drainMs, release: true });
  }

  async #close(options: { readonly drainMs: number; readonly release: boolean }): Promise<void> {
    this.#phase = "stopped";
    const tasks = this.#tasks.stop();
    this.#led.clear();
    // With the lease released others take the jobs over at once.
    await this.#lease?.stop({ release: options.release });
    await this.#server?.close({ drainMs: options.drainMs });
    await Promise.all([
      this.#broker.close(),
      this.#figures.close(),
      this.#feed.close(),
      this.#renewals.close(),
      this.#commits.close(),
      tasks,
    ]);
    this.#logger.info({}, "the manager has stopped");
  }

  /** Undefined as soon as this node must not decide any more. */
  #ownerId(): string | undefined {
    return this.#phase === "stopped" ? undefined : this.#lease?.ownerId;
  }

  #otherLeader(): Leader | undefined {
    const leader = this.#lease?.knownLeader;
    return leader?.nodeId === this.nodeId ? undefined : leader;
  }

  async #freshView({ signal }: Abortable): Promise<DatacenterView> {
    const { store, clock } = this.#settings;
    const now = clock.monotonicNow();
    if (now - this.#pendingTasks.readAt >= QUEUE_STATS_KEPT_MS) {
      // Set first: whoever asks meanwhile gets the old count instead of another query.
      this.#pendingTasks = { count: this.#pendingTasks.count, readAt: now };
      const stats = await store.coordination.queue(SHARD_QUEUE).stats({ signal });
      this.#pendingTasks = { count: stats.pending + stats.delayed, readAt: now };
    }
    return this.view();
  }

  #onWorkersChanged(): void {
    this.#hadWorkers ||= this.#registry.size > 0;
    this.#broker.wake();
  }

  /** Tells everyone who waits for a job what was committed of it. */
  #onCommitted(draft: JobDraft): void {
    const { job } = draft;
    const { jobId, state } = job;
    if (draft.isNew) {
      // The lease may have ended while the commit was under way.
      if (this.#ownerId() !== job.ownerId) return;
      this.#led.add(job);
      this.#armDeadline(job, state.spec.timeoutMs);
    }
    if (draft.entries.length > 0) this.#feed.publish(jobId, draft.entries);
    if (draft.cancel.length > 0) this.#tellWorkers(draft);
    if (isTerminal(state.status)) {
      this.#led.end(jobId);
    } else if (state.status === "cancelling" && draft.held.length > 0) {
      this.#awaitStop(job, draft.held);
    }
  }

  /** Workers that hold shards of cancelled workflows stop sooner than their renewals would tell them. */
  #tellWorkers({ job, cancel }: JobDraft): void {
    const cancelled = new Set(cancel);
    const byWorker = new Map<string, { taskId: string; token: string }[]>();
    for (const shard of [...job.progress.running.values()]) {
      if (!cancelled.has(shard.workflowIndex)) continue;
      const tasks = byWorker.get(shard.worker) ?? [];
      tasks.push({ taskId: shard.taskId, token: shard.token.toString() });
      byWorker.set(shard.worker, tasks);
      job.progress.ended(shard.taskId);
    }
    const reason = job.state.ending?.reason ?? "";
    for (const [worker, tasks] of byWorker) this.#registry.cancel(worker, tasks, reason);
  }

  /** A worker that does not answer has stopped by its own clock when its lease is over. */
  #awaitStop(job: LedJob, taskIds: readonly string[]): void {
    for (const taskId of taskIds) job.stopping.add(taskId);
    job.stopTimer = this.#settings.clock.schedule(this.#settings.taskLeaseMs, () => {
      job.stopping.clear();
      this.#commitLater({ kind: "stopped", jobId: job.jobId });
    });
  }

  #onLoaded(job: LedJob, undecided: readonly UndecidedShard[]): void {
    const { jobId, state } = job;
    const now = this.#settings.clock.monotonicNow() + this.#storeOffset;
    this.#armDeadline(job, state.submittedAt + state.spec.timeoutMs - now);
    if (state.status === "cancelling") this.#awaitStop(job, [UNKNOWN_SHARDS]);
    for (const { workflowIndex, attempt } of undecided) {
      const taskId = `${job.groups[workflowIndex]}/${attempt.shard}`;
      this.#commitLater({ kind: "lapsed", jobId, taskId, workflowIndex, ...attempt, outcome: "dead" });
    }
    this.#feed.leadershipChanged(jobId);
  }

  #onTaken(jobs: readonly TakenJob[]): void {
    for (const { jobId, entries } of jobs) this.#feed.publish(jobId, entries);
    this.#registry.announceLeader(jobs);
  }

  #armDeadline(job: LedJob, afterMs: number): void {
    const { clock } = this.#settings;
    const endsAt = clock.monotonicNow() + afterMs;
    job.deadline = clock.schedule(afterMs, () => {
      const leftMs = endsAt - clock.monotonicNow();
      // A timer holds 24 days at most; a job may have 30.
      if (leftMs > 1) this.#armDeadline(job, leftMs);
      else this.#commitLater({ kind: "timeout", jobId: job.jobId });
    });
  }

  /** Commits without anybody waiting; tries again until it is done, void, or the manager stops. */
  #commitLater(change: Parameters<JobCommits["add"]>[0]): void {
    const { clock } = this.#settings;
    this.#tasks.spawn(`${change.kind} of ${change.jobId}`, async (signal) => {
      for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 5_000)) {
        try {
          await this.#commits.add(change);
          return;
        } catch (error) {
          if (signal.aborted || hasCode(error, "KERNEL_CLOSED")) return;
          this.#logger.warn({ err: error, job: change.jobId, change: change.kind }, "not committed yet");
          await clock.sleep(waitMs, { signal });
        }
      }
    });
  }

  async #runSweeps(signal: AbortSignal): Promise<void> {
    const { clock, sweepEveryMs, taskLeaseMs } = this.#settings;
    const steps: readonly (readonly [name: string, run: () => Promise<void>])[] = [
      ["jobs in doubt are read again", () => this.#led.settle()],
      ["jobs of dead managers are taken over", () => this.#takeOver.sweep()],
      ["lapsed claims are recovered", () => this.#lapsed.recover()],
      ["workflows without news are looked at", () => this.#probe()],
    ];
    for (;;) {
      await clock.sleep(sweepEveryMs, { signal });
      for (const worker of this.#registry.sweep(taskLeaseMs * 2)) {
        const { nodeId } = worker.registration;
        this.#logger.warn({ worker: nodeId }, "nothing was heard from the worker; its shards go to others");
      }
      if (this.#ownerId() === undefined) continue;
      for (const [what, run] of steps) {
        try {
          await run();
        } catch (error) {
          if (signal.aborted) return;
          this.#logger.warn({ err: error }, `a sweep failed (${what}); the next one tries again`);
        }
      }
    }
  }

  /** A shard that another manager handed out, and that says nothing, is known from the queue alone. */
  async #probe(): Promise<void> {
    const queue = this.#settings.store.coordination.queue(SHARD_QUEUE);
    let probedCount = 0;
    for (const job of [...this.#led.values()]) {
      for (const { index, status } of job.state.workflows) {
        if (status !== "assigned" || job.begun.has(index) || probedCount >= PROBE_MAX_COUNT) continue;
        probedCount += 1;
        const group = job.groups[index] as string;
        for (const record of await queue.list({ group, states: ["claimed"], limit: 100 })) {
          const shard = Number(record.id.slice(group.length + 1));
          const worker = record.worker ?? "";
          this.#figures.started(job, { taskId: record.id, workflowIndex: index, shard, worker, token: 0n });
        }
      }
    }
  }

  async #runRetention(signal: AbortSignal): Promise<void> {
    const { clock, store, retention } = this.#settings;
    for (;;) {
      await clock.sleep(retention.sweepEveryMs, { signal });
      if (!this.isLeader) continue;
      try {
        const gone = await purgeEnded(store, retention, signal);
        for (const jobId of gone) this.#feed.forget(jobId);
        if (gone.length > 0) this.#logger.info({ jobs: gone.length }, "ended jobs were deleted");
        await this.#lapsed.trim({ signal });
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn({ err: error }, "ended jobs could not be deleted; the next sweep tries again");
      }
    }
  }
}
