import type { Position } from "@holdfast/coordination";
import type { WireError } from "@holdfast/kernel";
import type { JobEvent, JobStatus, Leader } from "@holdfast/protocol/contract";
import type { JobRow, NewJobRow } from "../model/job-table.ts";
import type { CancelDecision } from "./decide/end-early.ts";
import type { JobState } from "./job-state.ts";
import type { ShardResult } from "./shard-results.ts";

/** What a worker reports of one attempt, checked: the ids belong together and the result can be stored. */
interface OutcomeBase {
  readonly jobId: string;
  readonly taskId: string;
  readonly token: bigint;
  readonly workflowIndex: number;
  readonly shard: number;
  readonly worker: string;
}

export interface CompletedOutcome extends OutcomeBase {
  readonly kind: "completed";
  readonly result: ShardResult;
}

export interface FailedOutcome extends OutcomeBase {
  readonly kind: "failed";
  readonly error: WireError;
  readonly retry: boolean;
  readonly uncounted: boolean;
}

/** Something that happened to a job and has to be decided and committed. */
export type Change =
  | {
      readonly kind: "submit";
      readonly jobId: string;
      /** Makes the state as it is before anything happened, anew for each try of the commit. */
      readonly newState: () => JobState;
      readonly row: Omit<NewJobRow, "status" | "state" | "owner">;
    }
  | CompletedOutcome
  | FailedOutcome
  | {
      /** A claim lapsed; the queue has given the shard back or buried it already. */
      readonly kind: "lapsed";
      readonly jobId: string;
      readonly taskId: string;
      readonly workflowIndex: number;
      readonly shard: number;
      readonly attempt: number;
      readonly worker: string;
      readonly error: WireError;
      readonly outcome: "retrying" | "dead";
    }
  /** Shards of workflows in `LedJob.begun` are with workers. */
  | { readonly kind: "begun"; readonly jobId: string }
  /** Live figures and log lines. */
  | { readonly kind: "events"; readonly jobId: string; readonly events: readonly JobEvent[] }
  | {
      readonly kind: "cancel";
      readonly jobId: string;
      readonly workflowId: string | undefined;
      readonly dependents: boolean;
      readonly reason: string;
    }
  | { readonly kind: "timeout"; readonly jobId: string }
  /** No worker runs a part of the cancelled job any more. */
  | { readonly kind: "stopped"; readonly jobId: string }
  /** Another gate forwards the job now. */
  | { readonly kind: "gate"; readonly jobId: string; readonly gate: Leader };

/** What became of a change. */
export type ChangeOutcome =
  | {
      readonly kind: "submitted";
      readonly row: JobRow;
      readonly duplicate: boolean;
      /** Before the job's first event. */
      readonly position: Position;
    }
  | { readonly kind: "cancel"; readonly decision: CancelDecision; readonly status: JobStatus }
  /** `stale`: the queue did not take it, or the job has ended. */
  | { readonly kind: "outcome"; readonly outcome: "accepted" | "stale" }
  | { readonly kind: "done" }
  /** The job is not led here (any more): nothing was done. */
  | { readonly kind: "not-led" };

export const DONE: ChangeOutcome = { kind: "done" };
export const NOT_LED: ChangeOutcome = { kind: "not-led" };
