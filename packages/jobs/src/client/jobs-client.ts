import type { WirePosition } from "@holdfast/coordination";
import type { Abortable } from "@holdfast/kernel";
import type {
  ClusterView,
  JobEvent,
  JobResult,
  JobSpecInput,
  JobStatus,
  JobSummary,
  JobView,
} from "@holdfast/protocol/contract";
import type { CallerCounts } from "../caller/caller-counters.ts";

/** One item of a watch. */
export type WatchItem =
  | { readonly kind: "event"; readonly position: WirePosition; readonly event: JobEvent }
  /** History before this point is gone: drop what you have and go on from the events that follow. */
  | { readonly kind: "reset"; readonly reason: "trimmed" | "epoch-changed" | "ahead-of-head" }
  /** The connection was lost or came back. No event is missed or repeated by it. */
  | { readonly kind: "connection"; readonly state: "lost" | "restored" };

/** A workflow as the caller names it; ids are made by the client. */
export type SubmitWorkflow = Omit<JobSpecInput["workflows"][number], "id" | "name"> & {
  readonly name?: string;
};

export interface SubmitOptions extends Abortable {
  readonly workflows: readonly SubmitWorkflow[];
  readonly name?: string;
  readonly vus?: number;
  readonly timeoutMs?: number;
  readonly durationMs?: number;
  readonly datacenters?: readonly string[];
  readonly datacenterCount?: number;
  readonly policy?: "require-all" | "allow-partial";
  /** Retries of all shards of the job together in one datacenter, 0 to 50. Default: only the attempts of each bound them. */
  readonly retryBudget?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly reporting?: JobSpecInput["reporting"];
  /** Default: made by the client, the same on every attempt of this call. Give your own to make a re-run of your program safe. */
  readonly idempotencyKey?: string;
  readonly dryRun?: boolean;
  /** From the first attempt to the last, milliseconds. Default 60_000. */
  readonly deadlineMs?: number;
}

export interface SubmittedJob {
  readonly jobId: string;
  readonly status: JobStatus;
  /** Watching from here misses nothing. */
  readonly position: WirePosition;
  readonly duplicate: boolean;
}

/**
 * What a program uses to run jobs: submits, follows, cancels and asks, over one connection that it opened
 * (so it works from behind a NAT) and that comes back by itself.
 */
export interface JobsClient extends AsyncDisposable {
  /**
   * Resolves once the job is durably accepted. Safe to repeat with the same `idempotencyKey`.
   * @throws JobTooLargeError before any network use, and InvalidInputError, by path, for an input that JSON would lose
   * (bytes, maps, errors, functions, big integers); UnknownWorkflowError, InvalidWorkflowInputError,
   * IdempotencyConflictError at once; the last transient error when the deadline passes.
   */
  submit(options: SubmitOptions): Promise<SubmittedJob>;
  /**
   * Submits a job and waits for its final result: cheaper than `submit` and `result` one after the other, because
   * the node that takes the job also sends its result by itself. An abort ends the waiting; the job goes on.
   * @throws what `submit` and `result` throw; TimeoutError `timeoutMs` after the job was accepted.
   */
  run(
    options: Omit<SubmitOptions, "dryRun"> & { readonly timeoutMs?: number | undefined },
  ): Promise<JobResult>;
  get(jobId: string, options?: Abortable): Promise<JobView>;
  list(
    options?: Abortable & {
      readonly statuses?: readonly JobStatus[];
      readonly search?: string;
      readonly limit?: number;
      readonly cursor?: string;
    },
  ): Promise<{
    readonly jobs: readonly JobSummary[];
    readonly nextCursor?: string | undefined;
  }>;
  cancel(
    jobId: string,
    options?: Abortable & {
      readonly workflowId?: string;
      readonly reason?: string;
      readonly dependents?: boolean;
    },
  ): Promise<{
    readonly outcome: "cancelling" | "cancelled" | "already-cancelled" | "already-completed" | "not-found";
    readonly status: JobStatus;
  }>;
  /** The events of a job from `after` (default: the beginning) to its result, through reconnects. Ends after the result. */
  watch(jobId: string, options?: Abortable & { readonly after?: WirePosition }): AsyncIterable<WatchItem>;
  /** Waits for the final result. @throws TimeoutError after `timeoutMs`; the job goes on. */
  result(jobId: string, options?: Abortable & { readonly timeoutMs?: number }): Promise<JobResult>;
  cluster(options?: Abortable): Promise<ClusterView>;
  /** Asks every configured node; a node that does not answer is reported with its error. */
  ping(options?: Abortable): Promise<readonly PingAnswer[]>;
  /** What this client has done and what it holds now, for metrics. */
  stats(): ClientStats;
  close(): Promise<void>;
}

export interface ClientStats extends CallerCounts {
  /** Jobs whose own node is remembered now, at most 10,000. */
  readonly trackedJobs: number;
}

export interface PingAnswer {
  readonly address: string;
  readonly roundTripMs?: number;
  readonly nodeId?: string;
  readonly role?: "gate" | "manager" | "worker";
  readonly state?: string;
  readonly version?: string;
  readonly isLeader?: boolean;
  readonly error?: { readonly code: string; readonly message: string };
}
