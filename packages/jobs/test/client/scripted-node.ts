import { createHandlers, type Peer, type Server, serve, type Transport } from "@holdfast/connection";
import { type CoordinationStore, toWirePosition } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import type { VirtualClock } from "@holdfast/kernel/testing";
import {
  cancelJob,
  getCluster,
  getJob,
  getResult,
  type InputOf,
  type JobEvent,
  type JobResult,
  type JobStatus,
  jobEvents,
  listJobs,
  type OutputOf,
  ping,
  submitJob,
  submitJobs,
} from "@holdfast/protocol/contract";
import { JobNotFoundError } from "../../src/errors.ts";
import { jobStream } from "../../src/model/job-stream.ts";
import { answerEach } from "../../src/node/answer-each.ts";
import { EventFeed } from "../../src/node/event-feed.ts";

/** What several scripted nodes share: jobs and their logs, as gates share a store. */
export class ScriptedCluster {
  readonly clock: VirtualClock;
  readonly store: CoordinationStore<unknown>;
  readonly jobs = new Map<string, { key: string; status: JobStatus; result: JobResult | undefined }>();
  readonly nodes: ScriptedNode[] = [];
  /** Whether nodes started from now on know `jobs.submit-all`. */
  takesBundles = false;

  constructor(clock: VirtualClock) {
    this.clock = clock;
    this.store = createMemoryStore({ clock }) as CoordinationStore<unknown>;
  }

  async append(jobId: string, ...events: JobEvent[]): Promise<void> {
    await this.store.log.append(
      events.map((event) => ({ stream: jobStream(jobId), payload: JSON.parse(JSON.stringify(event)) })),
    );
  }

  /** A job that is there without having been submitted. */
  async add(jobId: string, status: JobStatus = "running"): Promise<void> {
    this.jobs.set(jobId, { key: `key of ${jobId}`, status, result: undefined });
    await this.append(jobId, { type: "job.status", at: 0, status });
  }

  async finish(jobId: string, more: Partial<JobResult> = {}): Promise<JobResult> {
    const job = this.jobs.get(jobId);
    if (job === undefined) throw new Error(`no job ${jobId}`);
    job.result = { ...jobResult(jobId), ...more };
    job.status = job.result.status;
    await this.append(jobId, { type: "job.result", at: 0, result: job.result });
    return job.result;
  }
}

export const jobResult = (jobId: string): JobResult => ({
  jobId,
  name: "n",
  status: "completed",
  workflows: [],
  datacenters: {},
  errors: [],
  submittedAt: 0,
  finishedAt: 1,
  elapsedMs: 1,
});

export const logLine = (message: string): JobEvent => ({
  type: "log",
  at: 0,
  workflowId: "wf",
  shard: 0,
  worker: "w",
  level: "info",
  message,
});

/** A subscription that was opened with the answer to a submission. */
export class OpenedFeed {
  readonly jobId: string;
  readonly want: string;
  readonly #subscriptionId: string;
  readonly #peer: Peer;
  #offset = 0;

  constructor(jobId: string, follow: { readonly subscriptionId: string; readonly want: string }, peer: Peer) {
    this.jobId = jobId;
    this.want = follow.want;
    this.#subscriptionId = follow.subscriptionId;
    this.#peer = peer;
  }

  /** Pushes what comes next in the job's log. */
  push(
    events: readonly JobEvent[],
    more: { readonly end?: boolean; readonly lostCount?: number } = {},
  ): void {
    this.#offset += more.lostCount ?? 0;
    const positioned = events.map((event) => {
      this.#offset += 1;
      return { position: { epoch: "1", offset: `${this.#offset}` }, event };
    });
    const { jobId } = this;
    const subscriptionId = this.#subscriptionId;
    this.#peer.push(jobEvents, { subscriptionId, jobId, events: positioned, end: more.end ?? false });
  }
}

type Submission = InputOf<typeof submitJob>;
type Cancellation = InputOf<typeof cancelJob>;

/** A node that answers as the test says, over a real connection. */
export class ScriptedNode {
  readonly nodeId: string;
  readonly submissions: Submission[] = [];
  readonly cancellations: Cancellation[] = [];
  /** What connected sides said of themselves, newest last. */
  readonly callers: Peer["remote"][] = [];
  followCount = 0;
  /** Whether a submission that asks for a subscription gets one; its pushes are up to the test. */
  opensFeeds = false;
  readonly feeds: OpenedFeed[] = [];
  /** What lists were asked for, newest last. */
  readonly lists: InputOf<typeof listJobs>[] = [];
  /** Asked before each answer; an error that it returns is the answer. */
  onSubmit: (input: Submission) => Promise<Error | undefined> | Error | undefined = () => undefined;
  /** Asked after a submission was carried out, before the answer leaves. */
  afterSubmit: (input: Submission) => Promise<void> = async () => undefined;
  /** Asked before each answer to a cancel; an error that it returns is the answer, and so is what it returns else. */
  onCancel: (input: Cancellation) => Error | Partial<OutputOf<typeof cancelJob>> = () => ({});
  /** Asked before each answer to a ping. */
  onPing: () => Promise<void> = async () => undefined;
  /** What the answers about a job say beside what the cluster knows. */
  view: Partial<OutputOf<typeof getJob>> = {};
  #server: Server | undefined;
  #feed: EventFeed | undefined;
  readonly #cluster: ScriptedCluster;
  readonly #transport: Transport;
  readonly #listen: string;

  private constructor(cluster: ScriptedCluster, transport: Transport, listen: string) {
    this.#cluster = cluster;
    this.#transport = transport;
    this.#listen = listen;
    this.nodeId = `node-${listen}`;
  }

  static async start(cluster: ScriptedCluster, transport: Transport, listen: string): Promise<ScriptedNode> {
    const node = new ScriptedNode(cluster, transport, listen);
    cluster.nodes.push(node);
    await node.restart();
    return node;
  }

  get address(): string {
    return this.#listen;
  }

  get feed(): EventFeed {
    if (this.#feed === undefined) throw new Error("stopped");
    return this.#feed;
  }

  async restart(): Promise<void> {
    const { clock, store, jobs } = this.#cluster;
    const handlers = createHandlers();
    const leader = { nodeId: this.nodeId, address: this.#listen, fence: "1" };
    const known = (jobId: string) => {
      const job = jobs.get(jobId);
      if (job === undefined) throw new JobNotFoundError(jobId, this.nodeId);
      return job;
    };
    const feed = new EventFeed({
      log: store.log,
      clock,
      logger: silentLogger,
      leads: () => false,
      lookup: async (jobId) => {
        this.followCount += 1;
        return { status: known(jobId).status, leader };
      },
    });
    feed.register(handlers);
    const submit = async (input: Submission, peer: Peer): Promise<OutputOf<typeof submitJob>> => {
      this.submissions.push(input);
      const refusal = await this.onSubmit(input);
      if (refusal !== undefined) throw refusal;
      let jobId = [...jobs].find(([, { key }]) => key === input.idempotencyKey)?.[0];
      const duplicate = jobId !== undefined;
      jobId ??= input.jobId;
      if (!duplicate) {
        jobs.set(jobId, { key: input.idempotencyKey, status: "submitted", result: undefined });
        await this.#cluster.append(jobId, { type: "job.status", at: 0, status: "submitted" });
      }
      await this.afterSubmit(input);
      const { head } = await store.log.bounds(jobStream(jobId));
      const position = toWirePosition({ epoch: head.epoch, offset: 0n });
      const follow = this.opensFeeds ? input.follow : undefined;
      if (follow !== undefined) this.feeds.push(new OpenedFeed(jobId, follow, peer));
      const followed = follow === undefined ? {} : { followed: true };
      return { jobId, status: known(jobId).status, position, leader, duplicate, ...followed };
    };
    handlers.onRequest(submitJob, (input, { peer }) => submit(input, peer));
    if (this.#cluster.takesBundles) {
      handlers.onRequest(submitJobs, async ({ submissions }, { peer }) => {
        const answers = await answerEach(submissions, (input) => submit(input, peer));
        return { answers: answers.map(({ value, refused }) => ({ accepted: value, refused })) };
      });
    }
    handlers.onRequest(listJobs, async (input) => {
      this.lists.push(input);
      return { jobs: [], nextCursor: "more" };
    });
    handlers.onRequest(
      getCluster,
      async (): Promise<OutputOf<typeof getCluster>> => ({
        node: { nodeId: this.nodeId, role: "gate", address: this.#listen, state: "active", version: "0.1.0" },
        gates: [],
        datacenters: [],
        activeJobs: jobs.size,
      }),
    );
    handlers.onRequest(getResult, async ({ jobId }) => {
      const { status, result } = known(jobId);
      return { jobId, status, ...(result === undefined ? {} : { result }) };
    });
    handlers.onRequest(getJob, async ({ jobId }): Promise<OutputOf<typeof getJob>> => {
      const { status } = known(jobId);
      const { head } = await store.log.bounds(jobStream(jobId));
      return {
        jobId,
        name: "n",
        status,
        submittedAt: 0,
        elapsedMs: 0,
        datacenters: {},
        progress: { done: 0, total: 0 },
        workflows: [],
        leader,
        head: toWirePosition(head),
        errors: [],
        labels: {},
        ...this.view,
      };
    });
    handlers.onRequest(cancelJob, async (input) => {
      this.cancellations.push(input);
      known(input.jobId);
      const answer = this.onCancel(input);
      if (answer instanceof Error) throw answer;
      return {
        jobId: input.jobId,
        outcome: "cancelling" as const,
        status: "cancelling" as const,
        cancelledWorkflows: 1,
        ...answer,
      };
    });
    handlers.onRequest(ping, async (_input, { peer }) => {
      this.callers.push(peer.remote);
      await this.onPing();
      return {
        nodeId: this.nodeId,
        role: "gate" as const,
        state: "active" as const,
        datacenter: "",
        version: "0.1.0",
        isLeader: true,
        wallNow: clock.wallNow(),
      };
    });
    this.#feed = feed;
    this.#server = await serve({
      listen: this.#listen,
      transport: this.#transport,
      clock,
      random: seededRandom(7),
      handlers,
      identity: { nodeId: this.nodeId, role: "gate", address: this.#listen },
    });
  }

  /** Stops at once, as a process that dies. */
  async kill(): Promise<void> {
    await this.#server?.close({ drainMs: 0 });
    await this.#feed?.close();
  }
}
