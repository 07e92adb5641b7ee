import { z } from "zod";

// Shapes that several messages share. Numbers beyond 2^53 travel as decimal strings.

const INT8_MAX_TEXT = "9223372036854775807";
const digits = z.string().regex(/^\d{1,19}$/, "a decimal number");

/** A fence, or a part of a position: from 0 to 2^63 - 1, as stores count. */
export const decimal = digits.refine(
  // Of the same length, texts compare as their numbers do.
  (text) => text.length < INT8_MAX_TEXT.length || text <= INT8_MAX_TEXT,
  "a decimal number up to 2^63 - 1",
);
/**
 * The token of a claim as a worker says it. One that no store can have granted is answered by itself, as lost or stale:
 * refused here, it would cost all that is said of other claims in the same message.
 */
export const saidToken = digits;
export const position = z.object({ epoch: decimal, offset: decimal });
export const nodeId = z.string().min(1).max(256);
/** Empty and very long ids are legal (up to 10,000 characters). */
export const jobId = z.string().max(10_000);
export const workflowId = z.string().max(10_000);
export const datacenterId = z.string().min(1).max(256);
/** `host:port`, or empty for a node that can only be reached over connections that it opened. */
export const address = z.string().max(300);
export const json: z.ZodType<unknown> = z.unknown();

export const wireError = z.object({
  code: z.string().max(128),
  message: z.string().max(20_000),
  retryable: z.boolean(),
  retryAfterMs: z.number().nonnegative().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});

/** Ends a stream: how many items it had. */
export const streamEnd = z.object({ count: z.number().int().nonnegative() });

/** Who leads, where, and under which fence. */
export const leader = z.object({ nodeId, address, fence: decimal });

export const JOB_STATUSES = [
  "submitted",
  "queued",
  "dispatching",
  "running",
  "completing",
  "cancelling",
  "completed",
  "partial",
  "failed",
  "cancelled",
  "timeout",
] as const;
export const jobStatus = z.enum(JOB_STATUSES);

export const WORKFLOW_STATUSES = [
  "pending",
  "assigned",
  "running",
  "completed",
  "failed",
  "cancelled",
] as const;
export const workflowStatus = z.enum(WORKFLOW_STATUSES);

/** A mergeable histogram (HDR, V2 compressed encoding, base64) and its figures at the moment of encoding. */
export const histogram = z.object({
  encoded: z.string().max(1_000_000),
  count: z.number().nonnegative(),
  min: z.number(),
  mean: z.number(),
  max: z.number(),
  p50: z.number(),
  p90: z.number(),
  p95: z.number(),
  p99: z.number(),
  p999: z.number(),
});

/** What a shard, a workflow or a window measured: sums and mergeable histograms by name. */
export const measurements = z.object({
  counters: z.record(z.string(), z.number()),
  histograms: z.record(z.string(), histogram),
});
