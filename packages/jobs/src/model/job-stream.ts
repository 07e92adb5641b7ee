import { createHash } from "node:crypto";

/** Longer job ids are hashed: a stream name must stay well below what every backend can index. */
const PLAIN_ID_MAX_LENGTH = 200;

/** The log stream of a job, the same in a gate's store and in a manager's. */
export const jobStream = (jobId: string): string =>
  jobId.length <= PLAIN_ID_MAX_LENGTH
    ? `job:${jobId}`
    : `job#${createHash("sha256").update(jobId).digest("hex")}`;
