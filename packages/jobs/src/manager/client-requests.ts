import type { Handlers, Peer, RequestContext } from "@holdfast/connection";
import { toWirePosition } from "@holdfast/coordination";
import { type Abortable, type Clock, checkPlainJson, InvalidInputError } from "@holdfast/kernel";
import {
  cancelJob,
  type DatacenterView,
  getCluster,
  getJob,
  getResult,
  type JobEvent,
  type JobResult,
  listJobs,
  type OutputOf,
  ping,
  submitJob,
  submitJobs,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import {
  IdempotencyConflictError,
  JobNotFoundError,
  NodeNotReadyError,
  NotLeaderError,
  StaleFenceError,
} from "../errors.ts";
import { jobStream } from "../model/job-stream.ts";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { payloadHash } from "../model/payload-hash.ts";
import { answerEach } from "../node/answer-each.ts";
import type { EventFeed, FollowedJob } from "../node/event-feed.ts";
import { jobResultOf } from "./decide/result.ts";
import type { InputValidator } from "./input-validator.ts";
import type { JobCommits } from "./job-commits.ts";
import { decodeGate, decodeProgress, isTerminal, newJobState } from "./job-state.ts";
import { type LedJobs, readJobState } from "./led-jobs.ts";
import type { ManagerSettings } from "./manager-options.ts";
import type { NodeDirectory } from "./node-directory.ts";
import { type CheckedJob, checkSubmission } from "./submission.ts";
import { jobSummaryOf, jobViewOf, storedFigures } from "./views.ts";
import { notLeaderOf } from "./worker-requests.ts";

export interface ClientRequestsOptions {
  readonly settings: ManagerSettings;
  readonly store: JobStore;
  readonly clock: Clock;
  readonly led: LedJobs;
  readonly commits: JobCommits;
  readonly validator: InputValidator;
  readonly directory: NodeDirectory;
  readonly node: () => {
    readonly address: string;
    readonly state: "syncing" | "active" | "draining" | "offline";
    readonly isLeader: boolean;
    readonly knownLeader: { readonly nodeId: string; readonly address: string } | undefined;
  };
  readonly datacenter: (options: Abortable) => Promise<DatacenterView>;
  readonly feed: () => Pick<EventFeed, "followNew">;
}

type SubmitInput = z.output<typeof submitJob.input>;
type SubmitAnswer = OutputOf<typeof submitJob>;

const LOG_START = { epoch: "0", offset: "0" };

/** Answers what clients and gates ask. */
export class ClientRequests {
  readonly #options: ClientRequestsOptions;
  #submittedCount = 0;

  constructor(options: ClientRequestsOptions) {
    this.#options = options;
  }

  get submittedCount(): number {
    return this.#submittedCount;
  }

  serve(handlers: Handlers): void {
    handlers.onRequest(submitJob, (input, context) => this.#submit(input, context));
    handlers.onRequest(submitJobs, async ({ submissions }, context) => {
      const answers = await answerEach(submissions, (submission) => this.#submit(submission, context));
      return { answers: answers.map(({ value, refused }) => ({ accepted: value, refused })) };
    });
    handlers.onRequest(cancelJob, (input) => this.#cancel(input));
    handlers.onRequest(getJob, (input, context) => this.#get(input.jobId, context));
    handlers.onRequest(listJobs, (input, context) => this.#list(input, context));
    handlers.onRequest(getResult, (input, context) => this.#result(input.jobId, context));
    handlers.onRequest(getCluster, (_input, context) => this.#cluster(context));
    handlers.onRequest(ping, async () => this.#ping());
  }

  /** What the event feed needs to know of a job. @throws JobNotFoundError */
  async lookUp(jobId: string, options: Abortable): Promise<FollowedJob> {
    const job = this.#options.led.get(jobId);
    if (job !== undefined) {
      const { head } = job;
      return { status: job.state.status, leader: job.leader, ...(head === undefined ? {} : { head }) };
    }
    const row = await this.#row(jobId, options);
    return { status: row.status, leader: this.#options.directory.leaderOf(row) };
  }

  async #submit(input: SubmitInput, context: RequestContext): Promise<SubmitAnswer> {
    const { settings, node } = this.#options;
    const { state, isLeader, knownLeader } = node();
    if (state !== "active") {
      throw new NodeNotReadyError(settings.nodeId, `it is ${state}`, { retryAfterMs: 500 });
    }
    // Before it is hashed and stored: big integers cannot be hashed, and NaN would come to the workflow as null.
    checkPlainJson("spec", input.spec);
    // Checking needs workers, not leadership.
    if (input.dryRun) return this.#dryRun(input, context);
    if (!isLeader) {
      throw new NotLeaderError(`datacenter ${settings.datacenter}`, knownLeader, { retryAfterMs: 250 });
    }
    const hash = payloadHash(input.spec);
    let checked: CheckedJob;
    try {
      checked = await this.#check(input, context);
    } catch (error) {
      // A job that was accepted before needs no worker to be accepted again.
      const [row] = await this.#options.store.jobs.get([input.jobId], { signal: context.signal });
      if (row === undefined) throw error;
      return this.#answerDuplicate(input, hash, row);
    }
    return this.#store(input, context.peer, hash, checked);
  }

  async #dryRun(input: SubmitInput, context: RequestContext): Promise<SubmitAnswer> {
    const { settings, node } = this.#options;
    await this.#check(input, context);
    const leader = { nodeId: settings.nodeId, address: node().address, fence: "0" };
    return { jobId: input.jobId, status: "submitted", position: LOG_START, leader, duplicate: false };
  }

  /** Takes no longer than workers may take to answer; who asked may have gone by then. */
  async #check(input: SubmitInput, { signal }: RequestContext): Promise<CheckedJob> {
    const checked = await checkSubmission(input.jobId, input.spec, this.#options.validator);
    signal.throwIfAborted();
    return checked;
  }

  async #store(input: SubmitInput, peer: Peer, hash: string, checked: CheckedJob): Promise<SubmitAnswer> {
    const { commits, settings, directory, clock, led, feed } = this.#options;
    const { jobId, idempotencyKey, gate, follow } = input;
    const { spec, plans } = checked;
    const outcome = await commits.add({
      kind: "submit",
      jobId,
      row: { jobId, idempotencyKey, payloadHash: hash, name: spec.name, labels: spec.labels, spec },
      newState: () =>
        newJobState({
          jobId,
          datacenter: settings.datacenter,
          spec,
          plans,
          submittedAt: clock.wallNow(),
          gate,
        }),
    });
    if (outcome.kind !== "submitted") throw new Error(`a submission came to ${outcome.kind}`);
    if (outcome.duplicate) return this.#answerDuplicate(input, hash, outcome.row);
    this.#submittedCount += 1;
    const followed =
      follow !== undefined &&
      led.get(jobId) !== undefined &&
      feed().followNew(jobId, follow, { start: outcome.position, peer });
    return {
      jobId,
      status: outcome.row.status,
      position: toWirePosition(outcome.position),
      leader: directory.leaderOf(outcome.row),
      duplicate: false,
      ...(followed ? { followed } : {}),
    };
  }

  /** @throws IdempotencyConflictError, StaleFenceError */
  async #answerDuplicate(input: SubmitInput, hash: string, row: JobRow): Promise<SubmitAnswer> {
    const { led, commits, directory } = this.#options;
    if (row.payloadHash !== hash) throw new IdempotencyConflictError(input.idempotencyKey, row.jobId);
    const job = led.get(row.jobId);
    if (input.gate !== undefined) {
      const known = job === undefined ? decodeGate(row.state) : job.state.gate;
      const [given, current] = [BigInt(input.gate.fence), BigInt(known?.fence ?? "0")];
      if (given < current) throw new StaleFenceError(`the gate of job ${row.jobId}`, given, current);
      if (given > current && job !== undefined) {
        await commits.add({ kind: "gate", jobId: row.jobId, gate: input.gate });
      }
    }
    return {
      jobId: row.jobId,
      status: job?.state.status ?? row.status,
      position: LOG_START,
      leader: job?.leader ?? directory.leaderOf(row),
      duplicate: true,
    };
  }

  async #cancel(input: z.output<typeof cancelJob.input>): Promise<OutputOf<typeof cancelJob>> {
    const { led, commits, directory } = this.#options;
    const { jobId, workflowId, dependents, reason, fence } = input;
    const job = await led.whenLoaded(jobId);
    if (job !== undefined) {
      if (fence !== undefined) refuseOtherFence(jobId, BigInt(fence), job.fence);
      const outcome = await commits.add({ kind: "cancel", jobId, workflowId, dependents, reason });
      if (outcome.kind === "cancel") {
        const { decision, status } = outcome;
        return { jobId, ...decision, status };
      }
    }
    const row = await this.#row(jobId, {});
    if (!isTerminal(row.status)) {
      const leader = directory.isSelf(row.owner) ? undefined : directory.leaderOf(row);
      throw notLeaderOf(jobId, leader?.address === "" ? undefined : leader);
    }
    return {
      jobId,
      outcome: row.status === "cancelled" ? "already-cancelled" : "already-completed",
      status: row.status,
      cancelledWorkflows: 0,
    };
  }

  async #get(jobId: string, options: Abortable): Promise<OutputOf<typeof getJob>> {
    const { led, store, settings, directory, clock } = this.#options;
    const { signal } = options;
    const job = led.get(jobId);
    if (job !== undefined) {
      const head = job.head ?? (await store.coordination.log.bounds(jobStream(jobId), { signal })).head;
      return jobViewOf(job.state, {
        figures: job.progress,
        leader: job.leader,
        head,
        now: clock.wallNow(),
      });
    }
    const row = await this.#row(jobId, options);
    const { state, running } = await readJobState(store, row, settings.datacenter);
    const { head } = await store.coordination.log.bounds(jobStream(jobId), { signal });
    return jobViewOf(state, {
      figures: storedFigures(running),
      leader: directory.leaderOf(row),
      head,
      now: clock.wallNow(),
    });
  }

  async #list(
    input: z.output<typeof listJobs.input>,
    { signal }: Abortable,
  ): Promise<OutputOf<typeof listJobs>> {
    const { led, store, settings, clock } = this.#options;
    const { statuses, search, limit, cursor } = input;
    const { rows, nextCursor } = await store.jobs.list(
      {
        limit,
        ...(statuses === undefined ? {} : { statuses }),
        ...(search === undefined ? {} : { search }),
        ...(cursor === undefined ? {} : { cursor }),
      },
      { signal },
    );
    const now = clock.wallNow();
    return {
      jobs: rows.map((row) => {
        const progress = led.get(row.jobId)?.progress.total() ?? decodeProgress(row.state);
        return jobSummaryOf(row, { datacenter: settings.datacenter, progress, now });
      }),
      ...(nextCursor === undefined ? {} : { nextCursor }),
    };
  }

  async #result(jobId: string, options: Abortable): Promise<OutputOf<typeof getResult>> {
    const { led, store, settings } = this.#options;
    const job = led.get(jobId);
    if (job !== undefined) return { jobId, status: job.state.status };
    const row = await this.#row(jobId, options);
    if (!isTerminal(row.status)) return { jobId, status: row.status };
    const result =
      (await this.#loggedResult(jobId, options)) ??
      jobResultOf((await readJobState(store, row, settings.datacenter)).state);
    return { jobId, status: row.status, result };
  }

  /** The last entry of an ended job's log is its result. */
  async #loggedResult(jobId: string, { signal }: Abortable): Promise<JobResult | undefined> {
    const { log } = this.#options.store.coordination;
    const stream = jobStream(jobId);
    const { head } = await log.bounds(stream, { signal });
    if (head.offset === 0n) return undefined;
    const read = await log.read(stream, { after: { ...head, offset: head.offset - 1n }, limit: 1, signal });
    const event = read.kind === "entries" ? (read.entries[0]?.payload as JobEvent | undefined) : undefined;
    return event?.type === "job.result" ? event.result : undefined;
  }

  async #cluster(options: Abortable): Promise<OutputOf<typeof getCluster>> {
    const { settings, node, datacenter } = this.#options;
    const { address, state } = node();
    const view = await datacenter(options);
    return {
      node: { nodeId: settings.nodeId, role: "manager", address, state, version: settings.version },
      gates: [],
      datacenters: [view],
      activeJobs: view.activeJobs,
    };
  }

  #ping(): OutputOf<typeof ping> {
    const { settings, node, clock } = this.#options;
    const { state, isLeader } = node();
    return {
      nodeId: settings.nodeId,
      role: "manager",
      state,
      datacenter: settings.datacenter,
      version: settings.version,
      isLeader,
      wallNow: clock.wallNow(),
    };
  }

  async #row(jobId: string, options: Abortable): Promise<JobRow> {
    const [row] = await this.#options.store.jobs.get([jobId], { signal: options.signal });
    if (row === undefined) throw new JobNotFoundError(jobId, this.#options.settings.nodeId);
    return row;
  }
}

const refuseOtherFence = (jobId: string, given: bigint, current: bigint): void => {
  if (given < current) throw new StaleFenceError(`job ${jobId}`, given, current);
  if (given > current) throw new InvalidInputError("fence", given, `the job's current fence ${current}`);
};
