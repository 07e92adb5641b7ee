import type { Handlers, RequestContext } from "@holdfast/connection";
import { hasCode } from "@holdfast/kernel";
import {
  claimTasks,
  type Leader,
  type OutputOf,
  registerWorker,
  renewTasks,
  reportOutcomes,
  reportProgress,
  type TaskOutcome,
  type TaskProgress,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import { NodeNotReadyError, NotLeaderError } from "../errors.ts";
import type { JobStore } from "../model/job-table.ts";
import { type Change, type ChangeOutcome, NOT_LED } from "./changes.ts";
import type { ClaimBroker } from "./claim-broker.ts";
import type { FailedWorkers } from "./failed-workers.ts";
import type { JobCommits } from "./job-commits.ts";
import { isActive, isTerminal } from "./job-state.ts";
import type { LedJob } from "./led-job.ts";
import type { LedJobs } from "./led-jobs.ts";
import type { LiveFigures } from "./live-figures.ts";
import type { ManagerSettings } from "./manager-options.ts";
import type { NodeDirectory } from "./node-directory.ts";
import { toOutcomeChange } from "./outcome-checks.ts";
import { RecentOutcomes } from "./recent-outcomes.ts";
import type { Renewals } from "./renewals.ts";
import type { WorkerRegistry } from "./worker-registry.ts";

export interface WorkerRequestsOptions {
  readonly settings: ManagerSettings;
  readonly store: JobStore;
  readonly led: LedJobs;
  readonly commits: JobCommits;
  readonly registry: WorkerRegistry;
  readonly broker: ClaimBroker;
  readonly failedWorkers: FailedWorkers;
  readonly renewals: Renewals;
  readonly figures: LiveFigures;
  readonly directory: NodeDirectory;
  readonly isDraining: () => boolean;
  /** A shard of a job that is being cancelled was heard of for the last time. */
  readonly onStopped: (job: LedJob) => void;
}

type OutcomeAnswer = OutputOf<typeof reportOutcomes>["results"][number];

/** Counters of what workers reported. */
export interface OutcomeStats {
  accepted: number;
  stale: number;
  notLeader: number;
}

const STALE: ChangeOutcome = { kind: "outcome", outcome: "stale" };

/** Delay asked of a worker by how full the commit line is: at least that full, this many milliseconds. */
const BACK_PRESSURE: readonly (readonly [fill: number, delayMs: number])[] = [
  [0.95, 2_000],
  [0.85, 1_000],
  [0.7, 500],
];

/** Answers what workers ask. */
export class WorkerRequests {
  readonly stats: OutcomeStats = { accepted: 0, stale: 0, notLeader: 0 };
  readonly #options: WorkerRequestsOptions;
  readonly #recent = new RecentOutcomes();

  constructor(options: WorkerRequestsOptions) {
    this.#options = options;
  }

  serve(handlers: Handlers): void {
    handlers.onRequest(registerWorker, (input, context) => this.#register(input, context));
    handlers.onRequest(claimTasks, (input, context) => this.#claim(input, context));
    handlers.onRequest(renewTasks, (input) => this.#renew(input));
    handlers.onRequest(reportProgress, (input) => this.#progress(input));
    handlers.onRequest(reportOutcomes, (input) => this.#outcomes(input));
  }

  async #register(
    input: z.output<typeof registerWorker.input>,
    context: RequestContext,
  ): Promise<OutputOf<typeof registerWorker>> {
    const { settings, registry, directory, broker } = this.#options;
    if (input.datacenter !== settings.datacenter) {
      throw new NodeNotReadyError(
        settings.nodeId,
        `it serves ${settings.datacenter}, not ${input.datacenter}`,
        {
          retryable: false,
        },
      );
    }
    registry.register(input, context.peer);
    if (input.state === "draining") broker.dismiss(input.nodeId);
    return {
      managerId: settings.nodeId,
      managers: directory.managers().map(({ nodeId, address }) => ({ nodeId, address })),
      taskLeaseMs: settings.taskLeaseMs,
      progressEveryMs: settings.progressEveryMs,
    };
  }

  async #claim(
    input: z.output<typeof claimTasks.input>,
    context: RequestContext,
  ): Promise<OutputOf<typeof claimTasks>> {
    const { registry, broker, settings, isDraining } = this.#options;
    if (isDraining()) {
      throw new NodeNotReadyError(settings.nodeId, "it is draining; ask another manager", {
        retryAfterMs: 1_000,
      });
    }
    const worker = registry.get(input.nodeId);
    if (worker === undefined) {
      throw new NodeNotReadyError(settings.nodeId, `worker ${input.nodeId} has not registered here`, {
        retryAfterMs: 100,
      });
    }
    registry.heard(input.nodeId);
    const assignments = await broker.claim({
      worker: input.nodeId,
      maxCount: input.maxCount,
      waitMs: input.waitMs,
      types: worker.workflows,
      signal: context.signal,
    });
    return { assignments: [...assignments] };
  }

  async #renew(input: z.output<typeof renewTasks.input>): Promise<OutputOf<typeof renewTasks>> {
    const { registry, renewals } = this.#options;
    registry.heard(input.nodeId);
    const taskIds = input.tasks.map(({ taskId }) => taskId);
    registry.holdsOnly(input.nodeId, taskIds);
    const refs = input.tasks.map(({ taskId, token }) => ({ id: taskId, token: BigInt(token) }));
    return { outcomes: [...(await renewals.renew(refs))] };
  }

  async #progress(input: z.output<typeof reportProgress.input>): Promise<OutputOf<typeof reportProgress>> {
    const { registry, commits } = this.#options;
    registry.heard(input.nodeId);
    const cancelled: string[] = [];
    const isNew = registry.accept(input.nodeId, input.sequence);
    for (const update of input.updates) {
      if (this.#mustStop(update)) cancelled.push(update.taskId);
      else if (isNew) this.#takeUpdate(update, input.nodeId);
    }
    const delayMs = BACK_PRESSURE.find(([fill]) => commits.fill >= fill)?.[1] ?? 0;
    return { delayMs, cancelled };
  }

  #mustStop({ jobId, workflowId }: TaskProgress): boolean {
    const { led } = this.#options;
    const job = led.get(jobId);
    if (job === undefined) return led.hasEnded(jobId);
    const index = job.state.indexById.get(workflowId);
    const workflow = index === undefined ? undefined : job.state.workflows[index];
    return workflow !== undefined && !isActive(workflow);
  }

  #takeUpdate(update: TaskProgress, worker: string): void {
    const { led, registry, figures } = this.#options;
    const job = led.get(update.jobId);
    const index = job?.state.indexById.get(update.workflowId);
    if (job === undefined || index === undefined) return;
    registry.holds(worker, update.taskId);
    figures.take(job, index, update, worker);
  }

  async #outcomes(input: z.output<typeof reportOutcomes.input>): Promise<OutputOf<typeof reportOutcomes>> {
    const { registry } = this.#options;
    registry.heard(input.nodeId);
    const foreign = new Map<string, Promise<ForeignJob>>();
    const results = await Promise.all(
      input.outcomes.map((outcome) => this.#outcome(outcome, input.nodeId, foreign)),
    );
    return { results };
  }

  async #outcome(
    outcome: TaskOutcome,
    worker: string,
    foreign: Map<string, Promise<ForeignJob>>,
  ): Promise<OutcomeAnswer> {
    const { led, registry } = this.#options;
    const { taskId, jobId } = outcome;
    const job = await led.whenLoaded(jobId);
    if (job === undefined) {
      if (led.hasEnded(jobId)) return this.#answerEnded(outcome);
      let found = foreign.get(jobId);
      if (found === undefined) {
        found = this.#lookUp(jobId);
        foreign.set(jobId, found);
      }
      return this.#answerForeign(outcome, await found);
    }
    const change = toOutcomeChange(outcome, worker, job);
    const result = change === undefined ? STALE : await this.#commit(change);
    if (result.kind !== "outcome") {
      this.stats.notLeader += 1;
      return { taskId, outcome: "not-leader" };
    }
    this.#confirmStop(job, taskId);
    if (result.outcome === "stale") return this.#answerEnded(outcome);
    this.stats.accepted += 1;
    if (outcome.kind === "failed" && !outcome.uncounted) this.#options.failedWorkers.note(taskId, worker);
    this.#recent.add(taskId, BigInt(outcome.token));
    registry.released(worker, taskId, change?.kind === "completed" ? "completed" : "failed");
    return { taskId, outcome: "accepted" };
  }

  /** A manager that stops sends the worker elsewhere. */
  async #commit(change: Change): Promise<ChangeOutcome> {
    try {
      return await this.#options.commits.add(change);
    } catch (error) {
      if (hasCode(error, "KERNEL_CLOSED")) return NOT_LED;
      throw error;
    }
  }

  /** The queue did not take it: because it had this very outcome already, or because the claim is over. */
  #answerEnded({ taskId, token }: TaskOutcome): OutcomeAnswer {
    if (this.#recent.has(taskId, BigInt(token))) return { taskId, outcome: "accepted" };
    this.stats.stale += 1;
    return { taskId, outcome: "stale" };
  }

  #answerForeign(outcome: TaskOutcome, job: ForeignJob): OutcomeAnswer {
    if (job.kind === "ended") return this.#answerEnded(outcome);
    this.stats.notLeader += 1;
    return {
      taskId: outcome.taskId,
      outcome: "not-leader",
      ...(job.leader === undefined ? {} : { leader: job.leader }),
    };
  }

  async #lookUp(jobId: string): Promise<ForeignJob> {
    const { store, directory } = this.#options;
    const [row] = await store.jobs.get([jobId]);
    if (row === undefined || isTerminal(row.status)) return { kind: "ended" };
    const leader = directory.leaderOf(row);
    return { kind: "led", leader: directory.isSelf(row.owner) ? undefined : leader };
  }

  #confirmStop(job: LedJob, taskId: string): void {
    if (job.stopping.delete(taskId) && job.stopping.size === 0) this.#options.onStopped(job);
  }
}

type ForeignJob =
  | { readonly kind: "ended" }
  /** The leader is undefined while nobody leads it. */
  | { readonly kind: "led"; readonly leader: Leader | undefined };

/** Says that this node does not lead a job, and who does. */
export const notLeaderOf = (jobId: string, leader: Leader | undefined): NotLeaderError =>
  new NotLeaderError(`job ${jobId}`, leader, { retryAfterMs: leader === undefined ? 500 : 0 });
