import type { Json } from "@holdfast/coordination";
import type { WireError } from "@holdfast/kernel";
import type {
  JobSpec,
  JobStatus,
  Leader,
  WorkflowCatalogEntry,
  WorkflowSpec,
  WorkflowStatus,
} from "@holdfast/protocol/contract";
import { boundedSum } from "../model/bounded-sum.ts";
import { type DependencyGraph, dependencyGraph } from "../model/dependency-graph.ts";
import { TERMINAL_STATUSES } from "../model/job-table.ts";
import { ShardResults } from "./shard-results.ts";

/** How a workflow runs: the definition's values with the job's overrides, fixed at submission. */
export interface WorkflowPlan {
  readonly kind: WorkflowCatalogEntry["kind"];
  readonly shards: number;
  readonly maxAttempts: number;
  readonly timeoutMs: number;
  readonly backoff: { readonly baseMs: number; readonly factor: number; readonly capMs: number };
}

/** One workflow of a job in this datacenter. */
export interface WorkflowState {
  readonly index: number;
  readonly spec: WorkflowSpec;
  readonly plan: WorkflowPlan;
  status: WorkflowStatus;
  /** Cancelled on its own without its dependents: these run as if it had completed without output. */
  isBypassed: boolean;
  /** When its shards were enqueued, wall clock. */
  startedAt: number | undefined;
  finishedAt: number | undefined;
  error: WireError | undefined;
  /** Retries that count against a budget; 0 where there is none. */
  retryCount: number;
  /** What the shards came to. Not part of the stored state: the queue's tasks are the truth. */
  readonly results: ShardResults;
}

/** Why a job ends otherwise than by the completion of its workflows. */
export interface JobEnding {
  readonly kind: "cancelled" | "timeout" | "failed";
  readonly reason: string;
}

/**
 * A job inside one datacenter, as its leader knows it. The functions in `decide/` are the only ones that
 * change it, in place: when the commit of a change fails the whole state is dropped and read again.
 */
export interface JobState {
  readonly jobId: string;
  readonly datacenter: string;
  readonly spec: JobSpec;
  readonly graph: DependencyGraph;
  readonly workflows: readonly WorkflowState[];
  readonly indexById: ReadonlyMap<string, number>;
  /** By the store's clock, milliseconds since the epoch. */
  submittedAt: number;
  status: JobStatus;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  ending: JobEnding | undefined;
  /** The gate that forwarded the job, under the largest fence seen. */
  gate: Leader | undefined;
  /** One line per failure, at most {@link ERRORS_MAX_COUNT}. */
  readonly errors: string[];
}

export const ERRORS_MAX_COUNT = 100;

export const isTerminal = (status: JobStatus): boolean =>
  (TERMINAL_STATUSES as readonly JobStatus[]).includes(status);

export const isWorkflowTerminal = (status: WorkflowStatus): boolean =>
  status === "completed" || status === "failed" || status === "cancelled";

/** True from the moment its shards are in the queue until it has ended. */
export const isActive = ({ status }: WorkflowState): boolean => status === "assigned" || status === "running";

/** A job as it is before anything happened. @throws InvalidInputError as {@link dependencyGraph}. */
export const newJobState = (options: {
  readonly jobId: string;
  readonly datacenter: string;
  readonly spec: JobSpec;
  readonly plans: readonly WorkflowPlan[];
  readonly submittedAt: number;
  readonly gate?: Leader | undefined;
}): JobState => {
  const { spec, plans } = options;
  return {
    jobId: options.jobId,
    datacenter: options.datacenter,
    spec,
    graph: dependencyGraph(spec.workflows),
    workflows: spec.workflows.map((workflow, index) => {
      const plan = plans[index] as WorkflowPlan;
      return {
        index,
        spec: workflow,
        plan,
        status: "pending",
        isBypassed: false,
        startedAt: undefined,
        finishedAt: undefined,
        error: undefined,
        retryCount: 0,
        results: new ShardResults(plan.shards),
      };
    }),
    indexById: new Map(spec.workflows.map(({ id }, index) => [id, index])),
    submittedAt: options.submittedAt,
    status: "submitted",
    startedAt: undefined,
    finishedAt: undefined,
    ending: undefined,
    gate: options.gate,
    errors: [],
  };
};

// Short keys: a job may have a thousand workflows, and the state is written with each change of one.
interface StoredWorkflow {
  readonly p: WorkflowPlan;
  readonly s: WorkflowStatus;
  readonly b?: true;
  readonly at?: number;
  readonly end?: number;
  readonly e?: WireError;
  readonly r?: number;
}

interface StoredState {
  readonly version: 1;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly ending?: JobEnding;
  readonly gate?: Leader;
  readonly errors: readonly string[];
  /** Of completed shards when this was written: for lists. */
  readonly progress: { readonly done: number; readonly total: number };
  readonly workflows: readonly StoredWorkflow[];
}

/** The JSON of the `state` column. What the shards came to is left out: it lies in their tasks. */
export const encodeJobState = (job: JobState): Json => {
  const stored: StoredState = {
    version: 1,
    ...(job.startedAt === undefined ? {} : { startedAt: job.startedAt }),
    ...(job.finishedAt === undefined ? {} : { finishedAt: job.finishedAt }),
    ...(job.ending === undefined ? {} : { ending: job.ending }),
    ...(job.gate === undefined ? {} : { gate: job.gate }),
    errors: job.errors,
    progress: completedProgress(job),
    workflows: job.workflows.map((workflow) => ({
      p: workflow.plan,
      s: workflow.status,
      ...(workflow.isBypassed ? { b: true as const } : {}),
      ...(workflow.startedAt === undefined ? {} : { at: workflow.startedAt }),
      ...(workflow.finishedAt === undefined ? {} : { end: workflow.finishedAt }),
      ...(workflow.error === undefined ? {} : { e: workflow.error }),
      ...(workflow.retryCount === 0 ? {} : { r: workflow.retryCount }),
    })),
  };
  return stored as unknown as Json;
};

/** The plans alone, for a manager that hands out shards of a job which another one leads. */
export const decodePlans = (state: Json): readonly WorkflowPlan[] =>
  (state as unknown as StoredState).workflows.map(({ p }) => p);

const completedProgress = (job: JobState): StoredState["progress"] => {
  let [done, total] = [0, 0];
  for (const { results } of job.workflows) {
    done = boundedSum(done, results.progress.done);
    total = boundedSum(total, results.progress.total);
  }
  return { done, total };
};

/** How far the completed shards were when the row was written. */
export const decodeProgress = (state: Json): StoredState["progress"] =>
  (state as unknown as StoredState).progress;

/** The gate that forwarded the job, as a row keeps it. */
export const decodeGate = (state: Json): Leader | undefined => (state as unknown as StoredState).gate;

/** The state that `encodeJobState` wrote, with empty results: add those of the tasks to it. */
export const decodeJobState = (row: {
  readonly jobId: string;
  readonly datacenter: string;
  readonly spec: JobSpec;
  readonly status: JobStatus;
  readonly state: Json;
  readonly submittedAt: number;
}): JobState => {
  const stored = row.state as unknown as StoredState;
  const job = newJobState({
    jobId: row.jobId,
    datacenter: row.datacenter,
    spec: row.spec,
    plans: stored.workflows.map(({ p }) => p),
    submittedAt: row.submittedAt,
    gate: stored.gate,
  });
  job.status = row.status;
  job.startedAt = stored.startedAt;
  job.finishedAt = stored.finishedAt;
  job.ending = stored.ending;
  job.errors.push(...stored.errors);
  stored.workflows.forEach((workflow, index) => {
    const target = job.workflows[index] as WorkflowState;
    target.status = workflow.s;
    target.isBypassed = workflow.b === true;
    target.startedAt = workflow.at;
    target.finishedAt = workflow.end;
    target.error = workflow.e;
    target.retryCount = workflow.r ?? 0;
  });
  return job;
};
