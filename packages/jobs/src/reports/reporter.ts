import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";

/** One workflow's result, with the job that it belongs to. */
export interface WorkflowReport {
  readonly job: JobResult;
  readonly workflow: WorkflowResult;
}

/**
 * Writes the results of workflows somewhere. `close` is called after every `open`, also one that failed, and
 * after whatever failed in between.
 */
export interface Reporter {
  readonly type: string;
  open(): Promise<void>;
  /** How the workflow went: status, shards, time, parts per datacenter. Returns what it wrote, for people. */
  writeWorkflowResults(report: WorkflowReport): Promise<string>;
  /** What the workflow measured, one entry per counter and histogram. */
  writeStepResults(report: WorkflowReport): Promise<string>;
  close(): Promise<void>;
}
