import type { JobStatus, WorkflowStatus } from "@holdfast/protocol/contract";

export type MergePolicy = "require-all" | "allow-partial";

/** From worst to best: one datacenter that ended so gives its status to the whole job. */
const PRECEDENCE = [
  "failed",
  "cancelled",
  "timeout",
  "partial",
  "completed",
] as const satisfies readonly JobStatus[];

/**
 * The terminal status of a job that ended as `statuses` in its datacenters: failed before cancelled before
 * timeout before completed. With `allow-partial`, some success beside some failure makes it partial.
 * A status that is not terminal counts as timeout: that datacenter never said how it ended.
 */
export const mergeJobStatus = (statuses: readonly JobStatus[], policy: MergePolicy): JobStatus => {
  const ended = statuses.map((status) =>
    (PRECEDENCE as readonly JobStatus[]).includes(status) ? status : "timeout",
  );
  const isGood = (status: JobStatus): boolean => status === "completed" || status === "partial";
  if (policy === "allow-partial" && ended.some(isGood) && !ended.every((status) => status === "completed")) {
    return "partial";
  }
  return PRECEDENCE.find((status) => ended.includes(status)) ?? "timeout";
};

/** The same for one workflow: failed before cancelled before completed. Missing datacenters count as failed. */
export const mergeWorkflowStatus = (
  statuses: readonly (WorkflowStatus | undefined)[],
  policy: MergePolicy,
): WorkflowStatus => {
  const hasCompleted = statuses.includes("completed");
  if (policy === "allow-partial" && hasCompleted) return "completed";
  if (statuses.some((status) => status !== "completed" && status !== "cancelled")) return "failed";
  return statuses.includes("cancelled") ? "cancelled" : hasCompleted ? "completed" : "failed";
};
