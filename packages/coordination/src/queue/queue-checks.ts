import { InvalidInputError } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkText, encodeJson } from "../input-checks.ts";
import type { Json } from "../json.ts";
import { checkTtl } from "../lease/grant-checks.ts";
import { WORKER_MAX_LENGTH } from "./task-draft.ts";
import { TASK_PRIORITIES, type TaskPriority } from "./task-queue.ts";

export const PURGE_LIMIT_DEFAULT = 10_000;

/** @throws InvalidInputError */
export const checkClaim = (options: {
  readonly worker: string;
  readonly maxCount: number;
  readonly leaseMs: number;
  readonly types?: readonly string[];
  readonly priorities?: readonly TaskPriority[];
}): void => {
  checkText("claim.worker", options.worker, WORKER_MAX_LENGTH);
  checkInteger("claim.maxCount", options.maxCount, 1, 10_000);
  checkLeaseMs(options.leaseMs);
  if (options.types !== undefined) checkBatch("claim.types", options.types);
  for (const priority of options.priorities ?? []) {
    if (TASK_PRIORITIES.includes(priority)) continue;
    throw new InvalidInputError("claim.priorities", priority, `each one of ${TASK_PRIORITIES.join(", ")}`);
  }
};

/** From highest to lowest, each once. */
export const priorityRanks = (priorities: readonly TaskPriority[] = TASK_PRIORITIES): readonly number[] =>
  [3, 2, 1, 0].filter((rank) => priorities.includes(TASK_PRIORITIES[rank] as TaskPriority));

/** A claim is a lease, with the same range. */
export const checkLeaseMs = (leaseMs: number): void => checkTtl("leaseMs", leaseMs);

/** JSON text of a result; undefined stays undefined, which is not the same as null. */
export const encodeResult = (result: Json | undefined, limitBytes: number): string | undefined =>
  result === undefined ? undefined : encodeJson("the task's result", result, limitBytes);

const PROGRESS_MAX_BYTES = 4096;

/** @throws InvalidInputError, PayloadTooLargeError */
export const encodeProgress = (progress: Json): string =>
  encodeJson("the task's progress", progress, PROGRESS_MAX_BYTES);
