import { z } from "zod";
import { datacenterId, json, workflowId } from "./shapes.ts";

/** Most workflows in one job. */
export const WORKFLOWS_MAX_COUNT = 1_000;
export const SHARDS_MAX_COUNT = 10_000;
/** The whole encoded job must fit; strictly more is refused before any network use. */
export const JOB_MAX_BYTES = 5 * 1024 * 1024;

export const reporterConfig = z.object({
  type: z.string().max(64),
  path: z.string().max(4_096).optional(),
  options: z.record(z.string(), z.unknown()).optional(),
});

export const workflowSpec = z.object({
  /** Made by the client, the same in every datacenter. */
  id: workflowId,
  /** The name that people see and that `dependsOn` refers to; unique within the job. */
  name: z.string().min(1).max(512),
  /** Which registered workflow runs. */
  workflow: z.string().min(1).max(512),
  input: json,
  /** Names of workflows of this job that must complete first. */
  dependsOn: z.array(z.string().min(1).max(512)).max(WORKFLOWS_MAX_COUNT).default([]),
  /** Overrides the definition's shard count. */
  shards: z.number().int().min(1).max(SHARDS_MAX_COUNT).optional(),
  /** Overrides the definition: attempts per shard in all. */
  maxAttempts: z.number().int().min(1).max(1_000).optional(),
  /** Retries of all its shards together, beside the attempts of each. Default: only the attempts bound them. */
  retryBudget: z.number().int().min(0).max(5).optional(),
  /** Overrides the definition: longest run of one shard attempt. */
  timeoutMs: z.number().positive().optional(),
  priority: z.enum(["low", "normal", "high", "exclusive", "auto"]).default("auto"),
  reporting: z.array(reporterConfig).max(32).optional(),
});

export const jobSpec = z.object({
  /** Shown in lists. Default: the name of the first workflow. */
  name: z.string().max(512),
  workflows: z.array(workflowSpec).min(1).max(WORKFLOWS_MAX_COUNT),
  /** Virtual users per datacenter, split over the shards of load-test workflows. Absent: each load test's own number. */
  vus: z.number().int().min(1).max(1_000_000).optional(),
  /** From submission to the final result; then the job ends as `timeout`. */
  timeoutMs: z
    .number()
    .positive()
    .max(30 * 86_400_000)
    .default(300_000),
  /** Wished datacenters, best first; empty lets placement choose. */
  datacenters: z.array(datacenterId).max(256).default([]),
  datacenterCount: z.number().int().min(1).max(256).default(1),
  /** Overrides the load test's own duration, where the workflow has one. */
  durationMs: z.number().positive().optional(),
  /** `require-all`: one failed datacenter or workflow fails the job. `allow-partial`: it ends `partial` if something succeeded. */
  policy: z.enum(["require-all", "allow-partial"]).default("require-all"),
  /** Retries of the shards of all workflows together in one datacenter. Default: only the attempts bound them. */
  retryBudget: z.number().int().min(0).max(50).optional(),
  reporting: z.array(reporterConfig).max(32).default([]),
  labels: z.record(z.string().max(128), z.string().max(512)).default({}),
});

export type JobSpec = z.output<typeof jobSpec>;
export type JobSpecInput = z.input<typeof jobSpec>;
export type WorkflowSpec = z.output<typeof workflowSpec>;
export type ReporterConfig = z.output<typeof reporterConfig>;
