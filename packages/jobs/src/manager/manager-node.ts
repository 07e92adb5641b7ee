import { createHandlers, type Server, serve } from "@holdfast/connection";
import { type Abortable, type Logger, TaskGroup } from "@holdfast/kernel";
import type { DatacenterView, Leader } from "@holdfast/protocol/contract";
import { SHARD_QUEUE } from "../model/shard-task.ts";
import { EventFeed } from "../node/event-feed.ts";
import { NodeLease } from "../node/node-lease.ts";
import { Assignments } from "./assignments.ts";
import { ClaimBroker } from "./claim-broker.ts";
import { ClientRequests } from "./client-requests.ts";
import { datacenterViewOf } from "./datacenter-view.ts";
import { FailedWorkers } from "./failed-workers.ts";
import { InputValidator } from "./input-validator.ts";
import { JobCommits } from "./job-commits.ts";
import { JobLifecycle } from "./job-lifecycle.ts";
import { LapsedClaims } from "./lapsed-claims.ts";
import { LedJob } from "./led-job.ts";
import { LedJobs } from "./led-jobs.ts";
import { LiveFigures } from "./live-figures.ts";
import type { Manager, ManagerState, ManagerStats } from "./manager.ts";
import { type ManagerOptions, type ManagerSettings, managerSettings } from "./manager-options.ts";
import { NodeDirectory } from "./node-directory.ts";
import { Renewals } from "./renewals.ts";
import { Sweeps } from "./sweeps.ts";
import { TakeOver } from "./take-over.ts";
import { WorkerRegistry } from "./worker-registry.ts";
import { WorkerRequests } from "./worker-requests.ts";

/** Pending tasks are counted at most this often. */
const QUEUE_STATS_KEPT_MS = 1_000;
/** The parts of a manager, put together. */
export class ManagerNode implements Manager {
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
  readonly #lifecycle: JobLifecycle;
  readonly #sweeps: Sweeps;
  readonly #feed: EventFeed;
  readonly #workerRequests: WorkerRequests;
  readonly #clientRequests: ClientRequests;
  #server: Server | undefined;
  #lease: NodeLease | undefined;
  #phase: "starting" | "running" | "draining" | "stopped" = "starting";
  #stopping: Promise<void> | undefined;
  #hadWorkers = false;
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
      onLoaded: (job, undecided) => this.#lifecycle.loaded(job, undecided),
      onDropped: (jobId) => this.#feed.leadershipChanged(jobId),
    });
    this.#lifecycle = new JobLifecycle({
      led: this.#led,
      commits: () => this.#commits,
      feed: () => this.#feed,
      registry: this.#registry,
      clock,
      logger,
      ownerId,
      taskLeaseMs: settings.taskLeaseMs,
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
      onCommitted: (draft) => this.#lifecycle.committed(draft),
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
    const failedWorkers = new FailedWorkers({ queue, logger });
    this.#broker = new ClaimBroker({
      queue,
      clock,
      logger,
      nodeId,
      taskLeaseMs: settings.taskLeaseMs,
      pollMs: settings.claimPollMs,
      build: (tasks) => assignments.build(tasks),
      failedAt: (tasks) => failedWorkers.of(tasks),
      onAssigned: (assignment, worker) => {
        const { jobId, taskId, workflowId, shard, token } = assignment;
        this.#registry.assigned(worker, taskId);
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
      onLapsed: (taskId, worker) => failedWorkers.note(taskId, worker),
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
      onTaken: (jobs) => this.#lifecycle.taken(jobs),
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
      feed: () => this.#feed,
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
      failedWorkers,
      renewals: this.#renewals,
      figures: this.#figures,
      directory: this.#directory,
      isDraining: () => this.#phase !== "running",
      onStopped: (job) => this.#lifecycle.stopped(job),
    });
    this.#sweeps = new Sweeps({
      settings,
      logger,
      led: this.#led,
      takeOver: this.#takeOver,
      lapsed: this.#lapsed,
      figures: this.#figures,
      registry: this.#registry,
      feed: this.#feed,
      nextLookMs: (everyMs) => this.#directory.nextLookMs(everyMs),
      isAlone: () => this.#directory.managers().length < 2,
      isActive: () => this.#ownerId() !== undefined,
      isLeader: () => this.isLeader,
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
      this.#lifecycle.syncClock(await store.coordination.now());
      this.#tasks.spawn("lapsed claims", (signal) => this.#lapsed.follow(notices, signal));
      this.#phase = "running";
      await this.#takeOver.sweep();
    } catch (error) {
      await this.kill();
      throw error;
    }
    this.#sweeps.start();
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
    const loops = Promise.all([this.#tasks.stop(), this.#sweeps.close(), this.#lifecycle.close()]);
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
      loops,
    ]);
    this.#logger.info({ stats: this.stats() }, "the manager has stopped");
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
}
