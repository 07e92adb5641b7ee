import { createHash } from "node:crypto";

/** The queue of a datacenter's store that holds the shards of all jobs. */
export const SHARD_QUEUE = "shards";

/** What a task carries: the rest of the assignment comes from the job's row when the task is claimed. */
export interface ShardPayload {
  readonly jobId: string;
  readonly workflowId: string;
  readonly shard: number;
}

/** Above this the two ids are hashed: every backend takes task ids and groups of 256 characters. */
const PLAIN_GROUP_MAX_LENGTH = 200;

/** The task group of one workflow of one job: the unit that is cancelled, listed and deleted. */
export const shardGroup = (jobId: string, workflowId: string): string => {
  const plain = `${jobId}/${workflowId}`;
  if (plain.length <= PLAIN_GROUP_MAX_LENGTH && isPlain(jobId) && isPlain(workflowId)) return plain;
  // JSON keeps ("a/b", "c") and ("a", "b/c") apart.
  return `#${createHash("sha256")
    .update(JSON.stringify([jobId, workflowId]))
    .digest("hex")}`;
};

export const shardTaskId = (group: string, shard: number): string => `${group}/${shard}`;

const isPlain = (id: string): boolean => /^[A-Za-z0-9_.:-]+$/.test(id);

/** The ids in a group's name, or undefined where they were hashed. */
export const parseShardGroup = (group: string): Omit<ShardPayload, "shard"> | undefined => {
  const [jobId, workflowId, ...rest] = group.split("/");
  if (group.startsWith("#") || jobId === undefined || workflowId === undefined || rest.length > 0) {
    return undefined;
  }
  return { jobId, workflowId };
};
