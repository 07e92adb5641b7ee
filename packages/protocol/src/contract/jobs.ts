import { z } from "zod";
import { definePush, defineRequest } from "./definition.ts";
import { jobResult, positionedEvent, progress } from "./job-event.ts";
import { jobSpec } from "./job-spec.ts";
import {
  datacenterId,
  decimal,
  jobId,
  jobStatus,
  leader,
  measurements,
  nodeId,
  position,
  wireError,
  workflowId,
  workflowStatus,
} from "./shapes.ts";

// What a client asks of a gate. A manager answers the same requests for its own datacenter, so a client
// needs no gate; the gate itself is a client of the managers.

export const submitJob = defineRequest({
  name: "jobs.submit",
  scope: "submit",
  priority: "high",
  idempotent: true,
  input: z.object({
    jobId,
    /** `client:sequence:nonce`. The same key gives the same answer; with another payload it is refused (JOBS_IDEMPOTENCY_CONFLICT). */
    idempotencyKey: z.string().min(1).max(512),
    spec: jobSpec,
    /** Set by a gate that forwards: its fence for this job. A manager refuses a smaller one than it has seen. */
    gate: leader.optional(),
    /** Names and inputs are checked but nothing is stored. */
    dryRun: z.boolean().default(false),
    /** Follow the new job for the asker at once, without a `jobs.follow`. A node that does not know this ignores it. */
    follow: z
      .object({
        /** As in `jobs.follow`. The asker takes `jobs.events-all` as well. */
        subscriptionId: z.string().min(1).max(128),
        /** `result`: the job's last event is enough, the others need not be sent. */
        want: z.enum(["events", "result"]),
      })
      .optional(),
  }),
  output: z.object({
    jobId,
    status: jobStatus,
    /** The position before the job's first event: following from here misses nothing. */
    position,
    leader,
    /** True when this key had been accepted before. */
    duplicate: z.boolean(),
    /** True when the subscription of `follow` is open, from `position` on. */
    followed: z.boolean().optional(),
  }),
});

/** Most submissions in one `jobs.submit-all`. */
export const SUBMISSIONS_MAX_COUNT = 500;

/** Many submissions in one message; each is checked, limited and answered on its own. */
export const submitJobs = defineRequest({
  name: "jobs.submit-all",
  scope: "submit",
  priority: "high",
  idempotent: true,
  input: z.object({ submissions: z.array(submitJob.input).min(1).max(SUBMISSIONS_MAX_COUNT) }),
  /** In the order of the submissions, each either accepted or refused. */
  output: z.object({
    answers: z.array(z.object({ accepted: submitJob.output.optional(), refused: wireError.optional() })),
  }),
});

export const cancelJob = defineRequest({
  name: "jobs.cancel",
  scope: "cancel",
  priority: "critical",
  idempotent: true,
  input: z.object({
    jobId,
    /** Only this workflow (and with `dependents` those that depend on it). */
    workflowId: workflowId.optional(),
    dependents: z.boolean().default(true),
    reason: z.string().max(2_000).default(""),
    /** Given and different from the job's current fence: refused. */
    fence: decimal.optional(),
  }),
  output: z.object({
    jobId,
    outcome: z.enum(["cancelling", "cancelled", "already-cancelled", "already-completed", "not-found"]),
    status: jobStatus,
    cancelledWorkflows: z.number().int(),
  }),
});

export const workflowView = z.object({
  workflowId,
  name: z.string(),
  workflow: z.string(),
  status: workflowStatus,
  dependsOn: z.array(z.string()),
  shards: z.object({ total: z.number(), completed: z.number(), failed: z.number(), running: z.number() }),
  progress,
  totals: measurements,
});

export const jobView = z.object({
  jobId,
  name: z.string(),
  status: jobStatus,
  submittedAt: z.number(),
  finishedAt: z.number().optional(),
  elapsedMs: z.number(),
  datacenters: z.record(z.string(), z.object({ status: jobStatus, progress, leader: leader.optional() })),
  progress,
  /** 0 to 1 when it can be told. */
  fraction: z.number().optional(),
  workflows: z.array(workflowView),
  leader,
  /** Newest position of the job's log. */
  head: position,
  errors: z.array(z.string()),
  labels: z.record(z.string(), z.string()),
  /** How the reports of a job that has ended stand, where its gates have reporters. */
  reports: z
    .array(
      z.object({
        reporter: z.string(),
        status: z.enum(["pending", "delivered", "failed"]),
        attempts: z.number(),
        error: z.string().optional(),
      }),
    )
    .optional(),
});

export const getJob = defineRequest({
  name: "jobs.get",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ jobId }),
  output: jobView,
});

export const jobSummary = z.object({
  jobId,
  name: z.string(),
  status: jobStatus,
  submittedAt: z.number(),
  finishedAt: z.number().optional(),
  elapsedMs: z.number(),
  datacenters: z.array(datacenterId),
  progress,
  labels: z.record(z.string(), z.string()),
});

export const listJobs = defineRequest({
  name: "jobs.list",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({
    statuses: z.array(jobStatus).max(16).optional(),
    /** Part of the name or id. */
    search: z.string().max(512).optional(),
    limit: z.number().int().min(1).max(1_000).default(50),
    cursor: z.string().max(2_000).optional(),
  }),
  /** Newest first. */
  output: z.object({ jobs: z.array(jobSummary), nextCursor: z.string().optional() }),
});

export const getResult = defineRequest({
  name: "jobs.result",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ jobId }),
  /** No result yet: `result` is absent. Unknown job: JOBS_NOT_FOUND. */
  output: z.object({ jobId, status: jobStatus, result: jobResult.optional() }),
});

/** Starts pushes of `jobs.events` on this connection, from right after `after` (absent: from the beginning). */
export const followJob = defineRequest({
  name: "jobs.follow",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({
    jobId,
    /** Chosen by the asker, unique on its connection. Asking again with the same id replaces the subscription. */
    subscriptionId: z.string().min(1).max(128),
    after: position.optional(),
    /** The asker takes `jobs.events-all` as well. */
    together: z.boolean().optional(),
  }),
  output: z.object({ status: jobStatus, head: position, leader }),
});

export const unfollowJob = defineRequest({
  name: "jobs.unfollow",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ subscriptionId: z.string().min(1).max(128) }),
  output: z.object({}),
});

export const jobEvents = definePush({
  name: "jobs.events",
  scope: "read",
  priority: "normal",
  payload: z.object({
    subscriptionId: z.string(),
    jobId,
    /** In order. Up to 1000; empty is fine. */
    events: z.array(positionedEvent).max(1_000),
    /** Set when the position asked for cannot be continued from; the events then start at the oldest there is. */
    reset: z.object({ reason: z.enum(["trimmed", "epoch-changed", "ahead-of-head"]) }).optional(),
    /** True after the last event of a finished job: nothing more will come. */
    end: z.boolean(),
  }),
});

/** `jobs.events` of many subscriptions in one message, for askers that said that they take it. */
export const jobEventsAll = definePush({
  name: "jobs.events-all",
  scope: "read",
  priority: "normal",
  payload: z.object({ feeds: z.array(jobEvents.payload).max(1_000) }),
});

const nodeHealth = z.enum(["syncing", "active", "draining", "offline"]);

export const workflowCatalogEntry = z.object({
  name: z.string(),
  kind: z.enum(["workflow", "load-test"]),
  description: z.string(),
  shards: z.number().int(),
  timeoutMs: z.number(),
  maxAttempts: z.number().int(),
  /** Names in the registry that must complete first; a submission that lacks them gets them added with the same input. */
  dependsOn: z.array(z.string()).default([]),
  /** JSON Schema of the input, where the definition can give one. */
  inputSchema: z.unknown().optional(),
});

export const workerView = z.object({
  nodeId,
  datacenter: datacenterId,
  state: z.enum(["healthy", "degraded", "draining", "offline"]),
  cores: z.number().int(),
  busyCores: z.number().int(),
  workflows: z.array(z.string()),
  startedAt: z.number(),
  pid: z.number().int(),
  host: z.string(),
  completedShards: z.number().int(),
  failedShards: z.number().int(),
});

export const datacenterView = z.object({
  datacenter: datacenterId,
  health: z.enum(["initializing", "healthy", "busy", "degraded", "unhealthy"]),
  leader: leader.optional(),
  managers: z.array(z.object({ nodeId, address: z.string(), state: nodeHealth, isLeader: z.boolean() })),
  workers: z.array(workerView),
  totalCores: z.number().int(),
  availableCores: z.number().int(),
  activeJobs: z.number().int(),
  pendingTasks: z.number().int(),
  workflows: z.array(workflowCatalogEntry),
  /**
   * Told by a gate while no manager answers it (all of them are `offline`): when one did last, by the wall clock of that
   * gate; the rest is what was said then. Absent while one answers, and when none ever did.
   */
  heardAt: z.number().optional(),
});

/** Asked of a gate: the whole cluster as this gate sees it. Asked of a manager: its datacenter. */
export const getCluster = defineRequest({
  name: "cluster.get",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({}),
  output: z.object({
    node: z.object({
      nodeId,
      role: z.enum(["gate", "manager"]),
      address: z.string(),
      state: nodeHealth,
      version: z.string(),
    }),
    gates: z.array(
      z.object({
        nodeId,
        address: z.string(),
        state: nodeHealth,
        isLeader: z.boolean(),
        fence: decimal.optional(),
      }),
    ),
    datacenters: z.array(datacenterView),
    activeJobs: z.number().int(),
  }),
});

export const ping = defineRequest({
  name: "cluster.ping",
  scope: "read",
  priority: "critical",
  idempotent: true,
  input: z.object({}),
  output: z.object({
    nodeId,
    role: z.enum(["gate", "manager", "worker"]),
    state: nodeHealth,
    datacenter: z.string(),
    version: z.string(),
    isLeader: z.boolean(),
    wallNow: z.number(),
  }),
});

export type JobView = z.output<typeof jobView>;
export type JobSummary = z.output<typeof jobSummary>;
export type WorkflowView = z.output<typeof workflowView>;
export type DatacenterView = z.output<typeof datacenterView>;
export type WorkerView = z.output<typeof workerView>;
export type WorkflowCatalogEntry = z.output<typeof workflowCatalogEntry>;
export type ClusterView = z.output<typeof getCluster.output>;
export type JobEventsPush = z.output<typeof jobEvents.payload>;
