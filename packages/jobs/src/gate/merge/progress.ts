import type { JobEvent, WorkflowStatus } from "@holdfast/protocol/contract";
import { boundedSum } from "../../model/bounded-sum.ts";

export interface ShardCounts {
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly running: number;
}

/** How far one workflow is in one datacenter. */
export interface LiveProgress {
  readonly status: WorkflowStatus;
  readonly done: number;
  readonly total: number;
  readonly shards: ShardCounts;
  /** Sums of what the windows carried; the result has the exact figures. */
  readonly counters: Readonly<Record<string, number>>;
}

export const NO_PROGRESS: LiveProgress = {
  status: "pending",
  done: 0,
  total: 0,
  shards: { total: 0, completed: 0, failed: 0, running: 0 },
  counters: {},
};

type ProgressEvent = Extract<JobEvent, { type: "window" | "workflow.status" | "workflow.result" }>;

/** The progress after one more event of that datacenter's log; state is replaced, differences are added. */
export const foldProgress = (before: LiveProgress, event: ProgressEvent): LiveProgress => {
  switch (event.type) {
    case "window":
      return {
        status: before.status === "pending" || before.status === "assigned" ? "running" : before.status,
        done: event.progress.done,
        total: event.progress.total,
        shards: event.shards,
        counters: addCounters(before.counters, event.counters),
      };
    case "workflow.status":
      return { ...before, status: event.status, shards: { ...before.shards, ...event.shards } };
    case "workflow.result":
      return {
        ...before,
        status: event.result.status,
        total: Math.max(before.total, before.done),
        shards: { ...event.result.shards, running: 0 },
        counters: event.result.totals.counters,
      };
  }
};

/** The sum over datacenters, or over workflows. */
export const sumProgress = (parts: readonly LiveProgress[]): Omit<LiveProgress, "status"> => {
  let { done, total } = NO_PROGRESS;
  const shards = { total: 0, completed: 0, failed: 0, running: 0 };
  let counters: Readonly<Record<string, number>> = {};
  for (const part of parts) {
    done = boundedSum(done, part.done);
    total = boundedSum(total, part.total);
    shards.total += part.shards.total;
    shards.completed += part.shards.completed;
    shards.failed += part.shards.failed;
    shards.running += part.shards.running;
    counters = addCounters(counters, part.counters);
  }
  return { done, total, shards, counters };
};

/** A workflow over its datacenters: failed if any failed, running while any runs, completed when all are. */
export const combineStatuses = (statuses: readonly WorkflowStatus[]): WorkflowStatus =>
  (["failed", "running", "assigned", "pending", "cancelled"] as const).find((status) =>
    statuses.includes(status),
  ) ?? (statuses.length === 0 ? "pending" : "completed");

/**
 * How far a job is, 0 to 1: the mean over its datacenters, where one that ended counts fully, one that tells
 * how much there is to do by that, and one that has started a half.
 */
export const jobFraction = (
  parts: readonly {
    readonly isEnded: boolean;
    readonly isStarted: boolean;
    readonly progress: { readonly done: number; readonly total: number };
  }[],
): number => {
  if (parts.length === 0) return 0;
  let sum = 0;
  for (const { isEnded, isStarted, progress } of parts) {
    if (isEnded) sum += 1;
    else if (progress.total > 0) sum += Math.min(1, progress.done / progress.total);
    else if (isStarted) sum += 0.5;
  }
  return sum / parts.length;
};

const addCounters = (
  a: Readonly<Record<string, number>>,
  b: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> => {
  const sums: Record<string, number> = { ...a };
  for (const [name, amount] of Object.entries(b)) sums[name] = boundedSum(sums[name] ?? 0, amount);
  return sums;
};
