import type { JobResult, ReporterConfig } from "@holdfast/protocol/contract";

/** What a reporter on a gate is given of a job that has ended. */
export interface JobReport {
  /** The same in every attempt, and another for every job and reporter: a receiver knows a repeat by it. */
  readonly deliveryId: string;
  readonly result: JobResult;
  readonly labels: Readonly<Record<string, string>>;
  /** The job's own wish for this reporter; undefined when the reporter reports every job. */
  readonly config: ReporterConfig | undefined;
  /** Starts at 1. */
  readonly attempt: number;
}

/**
 * Sends the final results of jobs somewhere, from the gates.
 *
 * A report is delivered at least once after the job's end is committed, whatever becomes of the gate that
 * committed it: an attempt that fails or dies is followed by another. So `deliver` must bear repeats: the same
 * `deliveryId` may come twice, and its effect should be there once.
 */
export interface JobReporter {
  /** What jobs name in `reporting[].type`: 1 to 64 characters, not `json`, `csv` or `xml`. */
  readonly name: string;
  /** `always` reports every job, `asked` those that name the reporter. */
  readonly when: "always" | "asked";
  /**
   * @throws PermanentError when trying again is useless; anything else is tried again after a growing wait.
   */
  deliver(report: JobReport, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Called once, when the gate stops or could not start; it is waited for at most 5 s. Must not throw. */
  close(): Promise<void>;
}
