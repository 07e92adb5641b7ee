import { InvalidInputError } from "@holdfast/kernel";
import { JOB_STATUSES } from "@holdfast/protocol/contract";
import type { JobFilter } from "../job-table.ts";

/** Results of shards and of jobs are larger than what a queue or a log usually carries. */
export const STORE_PAYLOAD_MAX_BYTES = 4 * 1024 * 1024;

/** Most rows of one call: one statement should not hold locks for seconds. */
const BATCH_MAX_COUNT = 10_000;

/** @throws InvalidInputError */
export const checkLimit = (limit: number): void => {
  if (!Number.isInteger(limit) || limit < 1 || limit > BATCH_MAX_COUNT) {
    throw new InvalidInputError("limit", limit, `a whole number from 1 to ${BATCH_MAX_COUNT}`);
  }
};

/** @throws InvalidInputError */
export const checkFilter = (filter: JobFilter): void => {
  checkLimit(filter.limit);
  for (const status of filter.statuses ?? []) {
    if (!JOB_STATUSES.includes(status)) {
      throw new InvalidInputError("statuses", status, `one of ${JOB_STATUSES.join(", ")}`);
    }
  }
};
