import { z } from "zod";
import { definePush, defineRequest } from "./definition.ts";
import { outputsOmitted, progress } from "./job-event.ts";
import { workflowCatalogEntry } from "./jobs.ts";
import {
  datacenterId,
  decimal,
  histogram,
  jobId,
  json,
  leader,
  measurements,
  nodeId,
  saidToken,
  wireError,
  workflowId,
} from "./shapes.ts";

// What a worker asks of a manager of its datacenter. The worker opens every connection.
// Claims, renewals and refusals may go to any manager; progress and outcomes go to the job's leader.

export const registerWorker = defineRequest({
  name: "worker.register",
  scope: "operate",
  priority: "critical",
  idempotent: true,
  input: z.object({
    nodeId,
    datacenter: datacenterId,
    cores: z.number().int().min(1).max(4_096),
    workflows: z.array(workflowCatalogEntry).max(10_000),
    startedAt: z.number(),
    pid: z.number().int(),
    host: z.string().max(256),
    state: z.enum(["healthy", "degraded", "draining"]),
    /**
     * Cores that have been busy for a second or longer, whichever manager gave the shards out. Without it a manager
     * knows of the shards that it hears of.
     */
    busyCores: z.number().int().nonnegative().optional(),
  }),
  output: z.object({
    managerId: nodeId,
    /** Every manager of the datacenter, so that the worker can connect to all of them. */
    managers: z.array(z.object({ nodeId, address: z.string() })),
    /** How long a claim holds without renewal; renew at a third of it. */
    taskLeaseMs: z.number().positive(),
    /** How often progress is wanted. */
    progressEveryMs: z.number().positive(),
  }),
});

export const assignment = z.object({
  taskId: z.string().max(20_000),
  token: decimal,
  jobId,
  workflowId,
  /** Name within the job, and name in the registry. */
  name: z.string(),
  workflow: z.string(),
  shard: z.number().int().min(0),
  shardCount: z.number().int().min(1),
  attempt: z.number().int().min(1),
  maxAttempts: z.number().int().min(1),
  input: json,
  /** Virtual users for this shard (its part of the job's). Absent when the job names none. */
  vus: z.number().int().min(0).optional(),
  timeoutMs: z.number().positive(),
  durationMs: z.number().positive().optional(),
  datacenter: datacenterId,
  /** Where outcomes and progress go. */
  leader,
  /** Results of the workflows that this one depends on, by name; histograms left out. */
  dependencies: z.record(
    z.string(),
    z.object({
      outputs: z.array(json),
      outputsOmitted,
      counters: z.record(z.string(), z.number()),
    }),
  ),
});

/** Waits up to `waitMs` for work; answers at once when there is some. */
export const claimTasks = defineRequest({
  name: "worker.claim",
  scope: "operate",
  priority: "high",
  idempotent: false,
  input: z.object({
    nodeId,
    maxCount: z.number().int().min(1).max(1_000),
    waitMs: z.number().min(0).max(60_000),
  }),
  output: z.object({ assignments: z.array(assignment) }),
});

export const renewTasks = defineRequest({
  name: "worker.renew",
  scope: "operate",
  priority: "critical",
  idempotent: true,
  input: z.object({ nodeId, tasks: z.array(z.object({ taskId: z.string(), token: saidToken })).max(10_000) }),
  output: z.object({ outcomes: z.array(z.enum(["renewed", "lost", "cancelled"])) }),
});

export const taskProgress = z.object({
  taskId: z.string(),
  token: saidToken,
  jobId,
  workflowId,
  shard: z.number().int(),
  /** State now, not a difference. */
  progress,
  /** Wall clock of the worker at the start of the window, and its length. */
  windowStart: z.number(),
  windowMs: z.number(),
  /** Differences within the window. */
  counters: z.record(z.string(), z.number()),
  histograms: z.record(z.string(), histogram),
  logs: z
    .array(
      z.object({
        at: z.number(),
        level: z.enum(["debug", "info", "warn", "error"]),
        message: z.string().max(8_192),
      }),
    )
    .max(200),
});

export const reportProgress = defineRequest({
  name: "worker.progress",
  scope: "operate",
  priority: "normal",
  idempotent: true,
  input: z.object({
    nodeId,
    /** Grows by one per report of this worker to this manager; a repeat or a late one is ignored. */
    sequence: z.number().int().nonnegative(),
    updates: z.array(taskProgress).max(1_000),
  }),
  output: z.object({
    /** 0 none; else wait this long before the next report. */
    delayMs: z.number().nonnegative(),
    /** Tasks that must stop: their job or workflow was cancelled or timed out. */
    cancelled: z.array(z.string()),
  }),
});

export const taskOutcome = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("completed"),
    taskId: z.string(),
    token: saidToken,
    jobId,
    workflowId,
    shard: z.number().int(),
    /** What `run` returned, JSON. */
    output: json,
    /** Everything this attempt measured, exact: the result is made of these, not of windows. */
    totals: measurements,
    progress,
    startedAt: z.number(),
    finishedAt: z.number(),
  }),
  z.object({
    kind: z.literal("failed"),
    taskId: z.string(),
    token: saidToken,
    jobId,
    workflowId,
    shard: z.number().int(),
    error: wireError,
    /** False: no further attempt can help. */
    retry: z.boolean(),
    /** True: the attempt was not the workflow's fault (drain, lost worker thread); it does not count. */
    uncounted: z.boolean(),
  }),
]);

export const reportOutcomes = defineRequest({
  name: "worker.outcomes",
  scope: "operate",
  priority: "critical",
  idempotent: true,
  input: z.object({ nodeId, outcomes: z.array(taskOutcome).max(1_000) }),
  output: z.object({
    results: z.array(
      z.object({
        taskId: z.string(),
        /** `stale`: another claim is newer, drop it. `not-leader`: send it to `leader` (or ask again later). */
        outcome: z.enum(["accepted", "stale", "not-leader"]),
        leader: leader.optional(),
      }),
    ),
  }),
});

/** Asked of a worker by a manager: is this input acceptable to this workflow? Runs the user's own schema. */
export const validateInput = defineRequest({
  name: "worker.validate",
  scope: "operate",
  priority: "high",
  idempotent: true,
  input: z.object({ workflow: z.string(), input: json }),
  output: z.object({
    outcome: z.enum(["valid", "invalid", "unknown-workflow"]),
    issues: z.array(z.object({ path: z.string(), message: z.string(), value: json.optional() })),
    /** Shards that the definition wants for this input. */
    shards: z.number().int().min(1),
    timeoutMs: z.number().positive(),
    maxAttempts: z.number().int().min(1),
    backoff: z.object({ baseMs: z.number(), factor: z.number(), capMs: z.number() }),
    kind: z.enum(["workflow", "load-test"]),
    dependsOn: z.array(z.string()),
    known: z.array(z.string()),
  }),
});

/** Most questions in one `worker.validate-all`. */
export const VALIDATIONS_MAX_COUNT = 500;

/** Many `worker.validate` in one message, each answered on its own, in their order. */
export const validateInputs = defineRequest({
  name: "worker.validate-all",
  scope: "operate",
  priority: "high",
  idempotent: true,
  input: z.object({ questions: z.array(validateInput.input).min(1).max(VALIDATIONS_MAX_COUNT) }),
  output: z.object({
    answers: z.array(z.object({ answer: validateInput.output.optional(), refused: wireError.optional() })),
  }),
});

export const cancelTasks = definePush({
  name: "worker.cancel",
  scope: "operate",
  priority: "critical",
  payload: z.object({ tasks: z.array(z.object({ taskId: z.string(), token: decimal })), reason: z.string() }),
});

/** A manager tells its workers that it leads these jobs now. */
export const leaderChanged = definePush({
  name: "worker.leader-changed",
  scope: "operate",
  priority: "critical",
  payload: z.object({ jobs: z.array(z.object({ jobId, leader })) }),
});

export type Assignment = z.output<typeof assignment>;
export type TaskProgress = z.output<typeof taskProgress>;
export type TaskOutcome = z.output<typeof taskOutcome>;
export type WorkerRegistration = z.output<typeof registerWorker.input>;
export type ValidateInputAnswer = z.output<typeof validateInput.output>;
