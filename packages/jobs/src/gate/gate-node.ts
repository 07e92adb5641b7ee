import { createHandlers, type Server, serve } from "@holdfast/connection";
import { type Logger, TaskGroup } from "@holdfast/kernel";
import {
  cancelJob,
  followJob,
  getCluster,
  getJob,
  getResult,
  type Leader,
  listJobs,
  ping,
  submitJob,
  submitJobs,
  unfollowJob,
} from "@holdfast/protocol/contract";
import { HEARTBEAT_MS } from "../caller/caller-options.ts";
import { NodeLinks } from "../caller/node-links.ts";
import { NodeNotReadyError } from "../errors.ts";
import type { JobRow } from "../model/job-table.ts";
import { Admission, worseOf } from "../node/admission.ts";
import { answerEach } from "../node/answer-each.ts";
import { EventFeed } from "../node/event-feed.ts";
import { type LiveNode, NodeLease, nodeIdOf } from "../node/node-lease.ts";
import { CommitLoad } from "./commit-load.ts";
import { Datacenter } from "./datacenter.ts";
import type { Gate, GateState, GateStats, GateView } from "./gate.ts";
import { type GateOptions, type GateSettings, gateSettings } from "./gate-options.ts";
import { GatePeers } from "./gate-peers.ts";
import { InputValidation } from "./input-validation.ts";
import { JobBook } from "./job-book.ts";
import { JobCommits } from "./job-commits.ts";
import { JobQueries } from "./job-queries.ts";
import { PartRunner } from "./part-runner.ts";
import { ReportDeliveries } from "./report-deliveries.ts";
import { Retention } from "./retention.ts";
import { Submissions } from "./submission.ts";

/** Puts the parts of a gate together and takes them apart again. Each part keeps its own state. */
export class GateNode implements Gate {
  readonly nodeId: string;
  readonly #options: GateOptions;
  readonly #settings: GateSettings;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  /** Apart from the other tasks: whoever takes over this gate's jobs need not wait for a slow receiver. */
  readonly #reporting: TaskGroup;
  readonly #load = new CommitLoad();
  readonly #datacenters = new Map<string, Datacenter>();
  #self: { readonly nodeId: string; readonly address: string };
  #state: GateState = "syncing";
  #live: readonly LiveNode[] = [];
  #server: Server | undefined;
  #lease: NodeLease | undefined;
  #links: NodeLinks | undefined;
  #commits: JobCommits | undefined;
  #book: JobBook | undefined;
  #feed: EventFeed | undefined;
  #reports: ReportDeliveries | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: GateOptions) {
    this.#options = options;
    this.#settings = gateSettings(options);
    this.nodeId = options.nodeId;
    this.#self = { nodeId: options.nodeId, address: options.advertise ?? options.listen };
    this.#logger = options.logger.child({ node: options.nodeId });
    this.#tasks = new TaskGroup({ logger: this.#logger });
    this.#reporting = new TaskGroup({ logger: this.#logger });
  }

  get address(): string {
    return this.#self.address;
  }

  get state(): GateState {
    return this.#state === "active" && this.#lease?.ownerId === undefined ? "syncing" : this.#state;
  }

  get isLeader(): boolean {
    return this.#lease?.isLeader ?? false;
  }

  async start(): Promise<void> {
    const { clock, random, transport, listen, store, authenticate, advertise } = this.#options;
    const reports = new ReportDeliveries({
      reporters: this.#settings.reporters,
      store,
      nodeId: this.nodeId,
      clock,
      logger: this.#logger,
    });
    this.#reports = reports;
    const level = this.#options.load;
    const load = this.#load;
    const admission = new Admission({
      clock,
      source: level === undefined ? load : worseOf(load, level),
      limits: this.#settings.rateLimits,
    });
    const handlers = createHandlers({ admit: admission.admit });
    // Our own wall clock may be off, or be set while we run. Asked before we listen: from then on until the handlers
    // are there nothing may wait, or a client would be told for good that we do not know its message.
    const storeOffsetMs = (await store.coordination.now()) - clock.monotonicNow();
    this.#server = await serve({
      listen,
      transport,
      clock,
      random,
      logger: this.#logger,
      handlers,
      identity: { nodeId: this.nodeId, role: "gate", address: this.#self.address },
      ...(authenticate === undefined ? {} : { authenticate }),
    });
    const self = { nodeId: this.nodeId, address: advertise ?? this.#server.address };
    this.#self = self;
    for (const name of Object.keys(this.#settings.datacenters)) {
      this.#datacenters.set(name, new Datacenter(name, { ...this.#settings, logger: this.#logger }, self));
    }
    const datacenters = this.#datacenters;
    const links = new NodeLinks(
      {
        transport,
        clock,
        random,
        logger: this.#logger,
        credential: this.#options.credential,
        identity: { ...self, role: "gate" },
        heartbeatMs: HEARTBEAT_MS,
      },
      createHandlers(),
    );
    this.#links = links;
    const lease = new NodeLease({
      leases: store.coordination.leases,
      clock,
      random,
      logger: this.#logger,
      ...self,
      role: "gate",
      ttlMs: this.#settings.nodeLeaseMs,
      onLost: () => this.#book?.dropAll("the gate's lease is lost"),
    });
    this.#lease = lease;
    const commits = new JobCommits({
      store,
      logger: this.#logger,
      pendingMaxCount: this.#settings.pendingMaxCount,
      onCommitted: (jobId, entries) => this.#feed?.publish(jobId, entries),
      onUnknown: (jobIds, error) => {
        this.#logger.warn({ err: error, jobs: jobIds.length }, "a commit failed; its jobs are read again");
        this.#book?.reload(jobIds);
      },
      onDuration: (durationMs) => load.record(durationMs),
      monotonicNow: () => clock.monotonicNow(),
      onEnding: (jobs, tx) => reports.enqueue(jobs, tx),
    });
    this.#commits = commits;
    const runner = new PartRunner({
      datacenters,
      tasks: this.#tasks,
      clock,
      logger: this.#logger,
      onStale: (led) => book.reload([led.job.jobId]),
    });
    const book = new JobBook({
      settings: this.#settings,
      store,
      lease,
      commits,
      runner,
      tasks: this.#tasks,
      clock,
      logger: this.#logger,
      self,
      storeNow: () => clock.monotonicNow() + storeOffsetMs,
      onLive: (live) => {
        this.#live = live;
      },
      onLeadership: (jobId) => this.#feed?.leadershipChanged(jobId),
    });
    this.#book = book;
    const leaderOf = (row: Pick<JobRow, "owner" | "fence">): Leader => this.#leaderOf(row);
    const peers = new GatePeers({ links, logger: this.#logger, self });
    const queries = new JobQueries({ store, book, peers, datacenters, clock, self, leaderOf, reports });
    const feed = new EventFeed({
      log: store.coordination.log,
      clock,
      logger: this.#logger,
      leads: (jobId) => book.publishes(jobId),
      lookup: (jobId, request) => queries.followed(jobId, request),
    });
    this.#feed = feed;
    const submissions = new Submissions({
      store,
      lease,
      book,
      commits,
      datacenters,
      validation: new InputValidation(),
      reports,
      clock,
      self,
      leaderOf,
      followNew: (jobId, follow, job) => feed.followNew(jobId, follow, job),
    });

    const limited = admission.limited(handlers);
    limited.onRequest(submitJob, (input, context) => {
      this.#ensureActive();
      return submissions.submit(input, context);
    });
    handlers.onRequest(submitJobs, async (input, context) => {
      this.#ensureActive();
      const answers = await answerEach(input.submissions, (submission) =>
        admission.each(submitJob, context.peer, () => submissions.submit(submission, context)),
      );
      return { answers: answers.map(({ value, refused }) => ({ accepted: value, refused })) };
    });
    limited.onRequest(getJob, (input, context) => queries.get(input, context));
    limited.onRequest(getResult, (input, context) => queries.result(input, context));
    limited.onRequest(listJobs, (input, context) => queries.list(input, context));
    limited.onRequest(cancelJob, (input, context) => queries.cancel(input, context));
    limited.onRequest(followJob, (input, context) => feed.follow(input, context));
    limited.onRequest(unfollowJob, (input, context) => feed.unfollow(input, context));
    limited.onRequest(getCluster, () => this.view());
    limited.onRequest(ping, async () => ({
      nodeId: this.nodeId,
      role: "gate" as const,
      state: this.state,
      datacenter: "",
      version: this.#settings.version,
      isLeader: this.isLeader,
      wallNow: clock.wallNow(),
    }));

    for (const datacenter of datacenters.values()) datacenter.start();
    await lease.start();
    this.#live = await lease.live();
    book.start();
    const retention = new Retention({
      store,
      settings: this.#settings,
      logger: this.#logger,
      feed,
      book,
      reports,
    });
    this.#tasks.spawn("retention", (signal) => retention.run(signal, { isLeader: () => lease.isLeader }));
    this.#reporting.spawn("reports", (signal) => reports.run(signal));
    this.#tasks.spawn("load", (signal) => load.watchRest({ clock, isIdle: () => commits.isIdle, signal }));
    this.#state = "active";
    this.#logger.info({ address: self.address }, "the gate takes jobs");
  }

  async view(): Promise<GateView> {
    const counts = await this.#options.store.jobs.counts();
    const active = (
      ["submitted", "queued", "dispatching", "running", "completing", "cancelling"] as const
    ).reduce((sum, status) => sum + (counts[status] ?? 0), 0);
    const leader = this.#lease?.knownLeader;
    const others = this.#live.filter(({ nodeId }) => nodeId !== this.nodeId);
    return {
      node: {
        nodeId: this.nodeId,
        role: "gate",
        address: this.address,
        state: this.state,
        version: this.#settings.version,
      },
      gates: [
        { nodeId: this.nodeId, address: this.address, state: this.state },
        ...others.map(({ nodeId, address }) => ({ nodeId, address, state: "active" as const })),
      ]
        .toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
        .map((gate) => {
          const isLeader = leader !== undefined && leader.nodeId === gate.nodeId;
          return { ...gate, isLeader, ...(isLeader ? { fence: leader.fence } : {}) };
        }),
      datacenters: [...this.#datacenters.values()].map(({ view }) => view),
      activeJobs: active,
    };
  }

  stats(): GateStats {
    return {
      ledJobs: this.#book?.size ?? 0,
      finishedJobs: this.#book?.finished.size ?? 0,
      takeOvers: this.#book?.takeOverCount ?? 0,
      deposedJobs: this.#book?.deposedCount ?? 0,
      commits: this.#commits?.stats ?? { batches: 0, items: 0, failures: 0 },
      feed: this.#feed?.stats() ?? {
        followedJobs: 0,
        subscriptions: 0,
        pausedSubscriptions: 0,
        memoryBytes: 0,
        pushedEvents: 0,
      },
      connections: this.#server?.peers.size ?? 0,
      load: this.#load.level,
    };
  }

  stop(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close({ drainMs: options.drainMs ?? 5_000, release: true });
    return this.#closing;
  }

  kill(): Promise<void> {
    this.#closing ??= this.#close({ drainMs: 0, release: false });
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #close(options: { readonly drainMs: number; readonly release: boolean }): Promise<void> {
    this.#state = "draining";
    if (!options.release) this.#book?.dropAll("the gate was killed");
    await this.#server?.close({ drainMs: options.drainMs });
    this.#book?.dropAll("the gate is stopping");
    const reported = this.#reporting.stop();
    await this.#tasks.stop();
    await this.#commits?.close();
    await this.#feed?.close();
    await Promise.all([...this.#datacenters.values()].map((datacenter) => datacenter.close()));
    await this.#links?.close();
    await this.#lease?.stop({ release: options.release });
    await reported;
    await this.#reports?.close();
    this.#state = "offline";
    this.#logger.info({ stats: this.stats() }, "the gate has stopped");
  }

  #ensureActive(): void {
    if (this.state === "active") return;
    throw new NodeNotReadyError(this.nodeId, `it is ${this.state}`, { retryAfterMs: 500 });
  }

  #leaderOf(row: Pick<JobRow, "owner" | "fence">): Leader {
    const fence = row.fence.toString();
    if (row.owner === this.#lease?.ownerId) return { ...this.#self, fence };
    const live = this.#live.find(({ ownerId }) => ownerId === row.owner);
    return { nodeId: live?.nodeId ?? nodeIdOf(row.owner), address: live?.address ?? "", fence };
  }
}
