import type { RequestContext } from "@holdfast/connection";
import type { Clock } from "@holdfast/kernel";
import {
  cancelJob,
  getJob,
  type getResult,
  type JobSummary,
  type JobView,
  type Leader,
  type listJobs,
  type OutputOf,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import { JobNotFoundError, NodeNotReadyError, StaleFenceError } from "../errors.ts";
import type { JobRow, JobStore } from "../model/job-table.ts";
import type { FollowedJob } from "../node/event-feed.ts";
import type { Datacenter } from "./datacenter.ts";
import { beginEnding } from "./decide/end-job.ts";
import { decodeGateJob, isTerminal, storedProgress } from "./gate-job.ts";
import type { GatePeers } from "./gate-peers.ts";
import type { JobBook } from "./job-book.ts";
import { summaryOfJob, summaryOfRow, viewOfJob, viewOfResult } from "./job-views.ts";
import type { LedJob } from "./led-job.ts";
import type { ReportDeliveries } from "./report-deliveries.ts";
import { restoreJob } from "./restore-job.ts";
import { storedResult } from "./stored-result.ts";
import { timeForOthersMs } from "./time-for-others.ts";

export interface JobQueriesOptions {
  readonly store: JobStore;
  readonly book: JobBook;
  readonly peers: GatePeers;
  readonly datacenters: ReadonlyMap<string, Datacenter>;
  readonly clock: Clock;
  readonly self: { readonly nodeId: string; readonly address: string };
  readonly leaderOf: (row: Pick<JobRow, "owner" | "fence">) => Leader;
  readonly reports: ReportDeliveries;
}

/** Datacenters are asked to cancel a workflow no longer than this, however long the asker waits. */
const CANCEL_MAX_MS = 60_000;

type CancelInput = z.output<typeof cancelJob.input>;
type CancelAnswer = OutputOf<typeof cancelJob>;

/** Answers about jobs at any gate: from memory for those led here, from their gate for those led elsewhere, from the store for those that have ended. */
export class JobQueries {
  readonly #options: JobQueriesOptions;

  constructor(options: JobQueriesOptions) {
    this.#options = options;
  }

  async get(input: { readonly jobId: string }, context: RequestContext): Promise<JobView> {
    const { book, clock, store, peers, leaderOf } = this.#options;
    const led = book.get(input.jobId);
    if (led !== undefined) {
      const view = viewOfJob(led.job, { leader: led.leader, wallNow: clock.wallNow() });
      return { ...view, status: committedStatus(led) };
    }
    const row = await this.#row(input.jobId, context.signal);
    const leader = leaderOf(row);
    if (isTerminal(row.status)) {
      const [result, reports] = await Promise.all([
        storedResult(store, row.jobId, context.signal),
        this.#options.reports.views(row.jobId, context.signal),
      ]);
      const job = decodeGateJob(row);
      job.head = result.head;
      const view =
        result.result === undefined
          ? viewOfJob(job, { leader, wallNow: clock.wallNow() })
          : viewOfResult(job, { leader, result: result.result, progress: storedProgress(row.state) });
      return reports.length === 0 ? view : { ...view, reports: [...reports] };
    }
    const remote = await peers.ask(leader, getJob, input, context);
    if (remote !== undefined) return remote;
    // Nobody leads it at the moment: what its log says is all there is.
    const job = await restoreJob(store, row, { signal: context.signal });
    return viewOfJob(job, { leader, wallNow: clock.wallNow() });
  }

  async result(
    input: { readonly jobId: string },
    context: RequestContext,
  ): Promise<OutputOf<typeof getResult>> {
    const { book } = this.#options;
    const finished = book.finished.get(input.jobId);
    if (finished !== undefined) {
      return { jobId: input.jobId, status: finished.status, result: finished.result };
    }
    const led = book.get(input.jobId);
    // What is decided and not yet committed is not said: it might be taken back.
    if (led !== undefined) return { jobId: input.jobId, status: committedStatus(led) };
    const row = await this.#row(input.jobId, context.signal);
    if (!isTerminal(row.status)) return { jobId: row.jobId, status: row.status };
    const { result } = await storedResult(this.#options.store, row.jobId, context.signal);
    return { jobId: row.jobId, status: row.status, ...(result === undefined ? {} : { result }) };
  }

  async list(
    input: z.output<typeof listJobs.input>,
    context: RequestContext,
  ): Promise<OutputOf<typeof listJobs>> {
    const { book, clock, store } = this.#options;
    const { statuses, search, limit, cursor } = input;
    const page = await store.jobs.list(
      {
        limit,
        ...(statuses === undefined ? {} : { statuses }),
        ...(search === undefined ? {} : { search }),
        ...(cursor === undefined ? {} : { cursor }),
      },
      { signal: context.signal },
    );
    const wallNow = clock.wallNow();
    const jobs = page.rows.map((row): JobSummary => {
      const led = book.get(row.jobId);
      return led === undefined || isTerminal(row.status)
        ? summaryOfRow(row, wallNow)
        : { ...summaryOfJob(led.job, wallNow), status: row.status };
    });
    return { jobs, ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }) };
  }

  /** What the event feed needs to know of a job. */
  async followed(jobId: string, options: { readonly signal: AbortSignal }): Promise<FollowedJob> {
    const { book, leaderOf } = this.#options;
    const finished = book.finished.get(jobId);
    if (finished !== undefined) return finished;
    const led = book.get(jobId);
    if (led !== undefined) {
      const { head } = led.job;
      return { status: committedStatus(led), leader: led.leader, ...(head === undefined ? {} : { head }) };
    }
    const row = await this.#row(jobId, options.signal);
    return { status: row.status, leader: leaderOf(row) };
  }

  async cancel(input: CancelInput, context: RequestContext): Promise<CancelAnswer> {
    const { book, peers, leaderOf, self } = this.#options;
    const led = book.get(input.jobId);
    if (led !== undefined) return this.#cancelLed(led, input, context);
    const row = await this.#row(input.jobId, context.signal);
    if (isTerminal(row.status)) return alreadyEnded(row.jobId, row.status);
    const remote = await peers.ask(leaderOf(row), cancelJob, input, context);
    if (remote !== undefined) return remote;
    throw new NodeNotReadyError(self.nodeId, `job ${input.jobId} is moving to another gate`, {
      retryAfterMs: 500,
    });
  }

  async #cancelLed(led: LedJob, input: CancelInput, context: RequestContext): Promise<CancelAnswer> {
    const { job } = led;
    if (input.fence !== undefined && BigInt(input.fence) !== job.fence) {
      throw new StaleFenceError(`job ${job.jobId}`, BigInt(input.fence), job.fence);
    }
    if (isTerminal(job.status)) {
      await led.committed();
      return alreadyEnded(job.jobId, job.status);
    }
    if (input.workflowId !== undefined) return this.#cancelWorkflow(led, input, context);
    const reason = input.reason === "" ? "cancelled on request" : input.reason;
    led.apply((target, at) => beginEnding(target, { kind: "cancelled", reason }, at));
    await led.committed();
    return {
      jobId: job.jobId,
      outcome: job.status === "cancelled" ? "cancelled" : "cancelling",
      status: job.status,
      cancelledWorkflows: job.spec.workflows.length,
    };
  }

  /** Every datacenter cancels its part of the workflow; the answer is the one that promises least. */
  async #cancelWorkflow(led: LedJob, input: CancelInput, context: RequestContext): Promise<CancelAnswer> {
    const { job } = led;
    const { fence: _gateFence, ...request } = input;
    if (!job.spec.workflows.some(({ id }) => id === input.workflowId)) {
      return { jobId: job.jobId, outcome: "not-found", status: job.status, cancelledWorkflows: 0 };
    }
    const open = job.parts.filter(({ phase }) => phase !== "ended");
    if (open.some(({ phase }) => phase !== "accepted")) {
      throw new NodeNotReadyError(this.#options.self.nodeId, `job ${job.jobId} is being dispatched`, {
        retryAfterMs: 300,
      });
    }
    const answers = await Promise.all(
      open.map(async ({ datacenter }) => {
        const caller = this.#options.datacenters.get(datacenter)?.caller;
        const answer = await caller?.ask(cancelJob, request, {
          jobId: job.jobId,
          signal: context.signal,
          deadlineMs: timeForOthersMs(context, { maxMs: CANCEL_MAX_MS }),
        });
        return answer?.output;
      }),
    );
    const outcomes = answers.flatMap((answer) => answer?.outcome ?? []);
    const outcome = (["cancelling", "cancelled", "already-cancelled", "already-completed"] as const).find(
      (one) => outcomes.includes(one),
    );
    return {
      jobId: job.jobId,
      outcome: outcome ?? "not-found",
      status: job.status,
      cancelledWorkflows: Math.max(0, ...answers.map((answer) => answer?.cancelledWorkflows ?? 0)),
    };
  }

  async #row(jobId: string, signal: AbortSignal): Promise<JobRow> {
    const [row] = await this.#options.store.jobs.get([jobId], { signal });
    if (row === undefined) throw new JobNotFoundError(jobId, this.#options.self.nodeId);
    return row;
  }
}

/** A job whose end is decided and not yet committed still counts as completing. */
const committedStatus = (led: LedJob) =>
  isTerminal(led.job.status) ? ("completing" as const) : led.job.status;

const alreadyEnded = (jobId: string, status: CancelAnswer["status"]): CancelAnswer => ({
  jobId,
  outcome: status === "cancelled" ? "already-cancelled" : "already-completed",
  status,
  cancelledWorkflows: 0,
});
