import type { ClusterView, JobSummary } from "@holdfast/protocol/contract";

// What the console's own channels carry, beside the events of a job's log in `job:ID`.

/** Prefix of the channels of jobs: their events are those of the job's log, under the log's own positions. */
export const JOB_CHANNEL_PREFIX = "job:";

/** Each `state` of the `cluster` channel. */
export interface ClusterData extends ClusterView {
  /** The datacenters whose managers do not answer the gate: what is shown of them is what they said last. */
  readonly silent: readonly SilentDatacenter[];
}

export interface SilentDatacenter {
  readonly datacenter: string;
  /** When one of its managers answered the gate last, by the gate's wall clock; null when none did since it started. */
  readonly heardAt: number | null;
}

/** Each `state` of the `jobs` channel: the newest jobs. */
export interface JobsData {
  readonly jobs: readonly JobSummary[];
}

/** Event of the channels of states: instead of a newer state there is this, once until it changes or a state comes. */
export const STALE_EVENT = "stale";

/** What `stale` carries, so that a newcomer needs no other event. */
export interface StaleState {
  /** What was seen last; null when nothing was, and then `seenAt` is null too. */
  readonly state: unknown;
  /** When that was asked for, wall clock of the console. */
  readonly seenAt: number | null;
  /** Why there is nothing newer, as one sentence for people. */
  readonly message: string;
}
