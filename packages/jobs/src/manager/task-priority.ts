import type { TaskPriority } from "@holdfast/coordination";
import type { WorkflowSpec } from "@holdfast/protocol/contract";

/** An exclusive workflow waits for nothing once it has its job for itself; automatic ones share what is left. */
export const taskPriority = (priority: WorkflowSpec["priority"]): TaskPriority => {
  switch (priority) {
    case "exclusive":
      return "critical";
    case "high":
    case "low":
      return priority;
    case "normal":
    case "auto":
      return "normal";
  }
};

/** The share of `total` that part `index` of `count` gets: whole numbers that differ by at most one and add up. */
export const evenShare = (total: number, count: number, index: number): number =>
  Math.floor(total / count) + (index < total % count ? 1 : 0);
