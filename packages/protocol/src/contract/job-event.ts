import { z } from "zod";
import {
  datacenterId,
  type decimal,
  histogram,
  jobStatus,
  json,
  leader,
  measurements,
  nodeId,
  position,
  wireError,
  workflowId,
  workflowStatus,
} from "./shapes.ts";

// The entries of a job's log. A manager writes those of its datacenter; the gate merges them into the
// global log, naming the datacenter they came from. Readers must ignore types they do not know.

const base = {
  /** Wall clock of the writer, milliseconds since the epoch. For people; order comes from the position. */
  at: z.number(),
  /** Set in the global log for what happened in one datacenter. */
  datacenter: datacenterId.optional(),
};

export const progress = z.object({
  /** Units of work done and expected, as the workflow reported them. `total` 0: not known. */
  done: z.number(),
  total: z.number(),
});

export const statusEvent = z.object({
  type: z.literal("job.status"),
  ...base,
  status: jobStatus,
  message: z.string().optional(),
  error: wireError.optional(),
});

export const leaderEvent = z.object({
  type: z.literal("job.leader"),
  ...base,
  role: z.enum(["gate", "manager"]),
  leader,
  /** Who led before, when this was a take-over. */
  previous: nodeId.optional(),
});

export const placementEvent = z.object({
  type: z.literal("job.placement"),
  ...base,
  datacenters: z.array(datacenterId),
});

export const workflowEvent = z.object({
  type: z.literal("workflow.status"),
  ...base,
  workflowId,
  name: z.string(),
  status: workflowStatus,
  shards: z.object({ total: z.number(), completed: z.number(), failed: z.number() }),
  error: wireError.optional(),
});

/** A shard attempt that did not succeed, or a shard that was given to another worker. */
export const shardEvent = z.object({
  type: z.literal("shard.retry"),
  ...base,
  workflowId,
  shard: z.number().int(),
  attempt: z.number().int(),
  worker: nodeId,
  error: wireError,
  retryInMs: z.number().optional(),
});

/** What happened in one time bucket, summed over the shards of a workflow. Losing one loses no result. */
export const windowEvent = z.object({
  type: z.literal("window"),
  ...base,
  workflowId,
  windowStart: z.number(),
  windowMs: z.number(),
  /** State at the end of the window (not a difference): the newest wins. */
  progress,
  shards: z.object({ total: z.number(), completed: z.number(), failed: z.number(), running: z.number() }),
  workerCount: z.number().int(),
  /** Differences within this window. */
  counters: z.record(z.string(), z.number()),
  histograms: z.record(z.string(), histogram),
});

export const logEvent = z.object({
  type: z.literal("log"),
  ...base,
  workflowId,
  shard: z.number().int(),
  worker: nodeId,
  level: z.enum(["debug", "info", "warn", "error"]),
  message: z.string().max(8_192),
});

/** How many shards returned something that is not among the outputs, which have limits. Absent when none did. */
export const outputsOmitted = z.number().int().min(1).optional();

export const workflowResult = z.object({
  workflowId,
  name: z.string(),
  workflow: z.string(),
  status: workflowStatus,
  shards: z.object({ total: z.number(), completed: z.number(), failed: z.number() }),
  /** What the shards returned, by shard number: of the first 1000 shards, and of these the first 512 KiB. */
  outputs: z.array(json),
  outputsOmitted,
  totals: measurements,
  startedAt: z.number().optional(),
  finishedAt: z.number().optional(),
  elapsedMs: z.number(),
  error: wireError.optional(),
  /** Parts per datacenter, in a merged result. */
  datacenters: z
    .record(
      z.string(),
      z.object({
        status: workflowStatus,
        shards: z.object({ total: z.number(), completed: z.number(), failed: z.number() }),
        totals: measurements,
        elapsedMs: z.number(),
        error: wireError.optional(),
      }),
    )
    .optional(),
});

export const workflowResultEvent = z.object({
  type: z.literal("workflow.result"),
  ...base,
  result: workflowResult,
});

export const jobResult = z.object({
  jobId: z.string(),
  name: z.string(),
  status: jobStatus,
  workflows: z.array(workflowResult),
  datacenters: z.record(
    z.string(),
    z.object({ status: jobStatus, error: wireError.optional(), elapsedMs: z.number() }),
  ),
  errors: z.array(z.string()),
  submittedAt: z.number(),
  finishedAt: z.number(),
  elapsedMs: z.number(),
});

/** The last entry of a job's log, exactly once. */
export const resultEvent = z.object({ type: z.literal("job.result"), ...base, result: jobResult });

export const jobEvent = z.discriminatedUnion("type", [
  statusEvent,
  leaderEvent,
  placementEvent,
  workflowEvent,
  shardEvent,
  windowEvent,
  logEvent,
  workflowResultEvent,
  resultEvent,
]);

const KNOWN_TYPES = new Set(jobEvent.options.map(({ shape }) => shape.type.value as string));

/** An event whose type a later minor version added: it keeps its place in the log, and says nothing here. */
const laterEvent = z
  .object({
    type: z.string().refine((type) => !KNOWN_TYPES.has(type), "an event that is not as its type says"),
  })
  .transform(() => ({ type: "later" as const }));

export const positionedEvent = z.object({ position, event: z.union([jobEvent, laterEvent]) });

export type JobEvent = z.output<typeof jobEvent>;
export type JobResult = z.output<typeof jobResult>;
export type WorkflowResult = z.output<typeof workflowResult>;
export type PositionedEvent = z.output<typeof positionedEvent>;
export type Measurements = z.output<typeof measurements>;
export type EncodedHistogram = z.output<typeof histogram>;
export type JobStatus = z.output<typeof jobStatus>;
export type WorkflowStatus = z.output<typeof workflowStatus>;
export type Leader = z.output<typeof leader>;
export type FenceText = z.output<typeof decimal>;
