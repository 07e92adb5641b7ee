import type { ClusterView, JobSummary } from "@holdfast/protocol/contract";

// What the console's own channels carry, beside the events of a job's log in `job:ID`.

/** Prefix of the channels of jobs: their events are those of the job's log, under the log's own positions. */
export const JOB_CHANNEL_PREFIX = "job:";

/** Each event of the `cluster` channel: the whole state. */
export type ClusterData = ClusterView;

/** Each event of the `jobs` channel: the newest jobs. */
export interface JobsData {
  readonly jobs: readonly JobSummary[];
}
