import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** No job has this id here. Not retryable. */
export class JobNotFoundError extends HoldfastError {
  override readonly name = "JobNotFoundError";
  readonly code = "JOBS_NOT_FOUND";

  constructor(jobId: string, node: string, init: HoldfastErrorInit = {}) {
    super(`job ${jobId} is not known to ${node}; list the jobs with 'holdfast jobs'`, {
      ...init,
      details: { ...init.details, jobId, node },
    });
  }
}

/** The idempotency key was used before with another payload. Not retryable: use a new key. */
export class IdempotencyConflictError extends HoldfastError {
  override readonly name = "IdempotencyConflictError";
  readonly code = "JOBS_IDEMPOTENCY_CONFLICT";

  constructor(idempotencyKey: string, jobId: string, init: HoldfastErrorInit = {}) {
    super(`idempotency key ${idempotencyKey} belongs to job ${jobId} with another payload`, {
      ...init,
      details: { ...init.details, idempotencyKey, jobId },
    });
  }
}

/** No worker offers a workflow of this name. Not retryable until a worker registers it. */
export class UnknownWorkflowError extends HoldfastError {
  override readonly name = "UnknownWorkflowError";
  readonly code = "JOBS_UNKNOWN_WORKFLOW";

  constructor(workflow: string, known: readonly string[], init: HoldfastErrorInit = {}) {
    const list = known.length === 0 ? "none" : known.slice(0, 20).join(", ");
    super(`no worker offers a workflow named ${JSON.stringify(workflow)}; registered: ${list}`, {
      ...init,
      details: { ...init.details, workflow, known },
    });
  }
}

export interface InputIssue {
  /** Where in the input, for example `batch.size`. */
  readonly path: string;
  readonly message: string;
  readonly value?: unknown;
}

/** The input of a workflow fails its schema. Nothing was stored. Not retryable. */
export class InvalidWorkflowInputError extends HoldfastError {
  override readonly name = "InvalidWorkflowInputError";
  readonly code = "JOBS_INVALID_INPUT";

  constructor(workflow: string, issues: readonly InputIssue[], init: HoldfastErrorInit = {}) {
    const text = issues
      .slice(0, 5)
      .map(
        ({ path, message, value }) =>
          `${path === "" ? "input" : path}: ${message}${value === undefined ? "" : ` (got ${show(value)})`}`,
      )
      .join("; ");
    super(`the input of workflow ${workflow} is not acceptable: ${text}`, {
      ...init,
      details: { ...init.details, workflow, issues },
    });
  }
}

/** Never throws: what JSON has no text for is named by its kind. */
const show = (value: unknown): string => {
  if (typeof value === "bigint") return `${value}n`;
  try {
    return JSON.stringify(value) ?? `[${typeof value}]`;
  } catch {
    return `[${typeof value}]`;
  }
};

/** The encoded job exceeds 5 MiB. Nothing was sent. Not retryable. */
export class JobTooLargeError extends HoldfastError {
  override readonly name = "JobTooLargeError";
  readonly code = "JOBS_TOO_LARGE";

  constructor(sizeBytes: number, limitBytes: number, init: HoldfastErrorInit = {}) {
    super(
      `the job has ${sizeBytes} bytes, the limit is ${limitBytes}: pass large data by reference (a path, a URL, a table)`,
      { ...init, details: { ...init.details, sizeBytes, limitBytes } },
    );
  }
}

/** This node does not lead what was asked for; `details.leader` says who does when that is known. Retryable there. */
export class NotLeaderError extends HoldfastError {
  override readonly name = "NotLeaderError";
  readonly code = "JOBS_NOT_LEADER";

  constructor(
    what: string,
    leader: { readonly nodeId: string; readonly address: string } | undefined,
    init: HoldfastErrorInit = {},
  ) {
    super(
      `this node does not lead ${what}${leader === undefined ? " (no leader is known yet)" : `; ${leader.nodeId} at ${leader.address} does`}`,
      {
        retryable: true,
        ...init,
        details: { ...init.details, what, leader: leader ?? null },
      },
    );
  }
}

/** The fence of the request is older than what this node has seen. Not retryable with that fence. */
export class StaleFenceError extends HoldfastError {
  override readonly name = "StaleFenceError";
  readonly code = "JOBS_STALE_FENCE";

  constructor(what: string, given: bigint, current: bigint, init: HoldfastErrorInit = {}) {
    super(`Stale fence token for ${what}: ${given} is not newer than ${current}`, {
      ...init,
      details: { ...init.details, what, given: given.toString(), current: current.toString() },
    });
  }
}

/** The node cannot take the request now; wait `retryAfterMs`. Retryable. */
export class NodeNotReadyError extends HoldfastError {
  override readonly name = "NodeNotReadyError";
  readonly code = "JOBS_NOT_READY";

  constructor(node: string, why: string, init: HoldfastErrorInit = {}) {
    super(`${node} is not ready: ${why}`, {
      retryable: true,
      ...init,
      details: { ...init.details, node, why },
    });
  }
}

/** No datacenter can take the job. Retryable: nodes may come back. */
export class NoDatacenterError extends HoldfastError {
  override readonly name = "NoDatacenterError";
  readonly code = "JOBS_NO_DATACENTER";

  constructor(why: string, init: HoldfastErrorInit = {}) {
    super(`no datacenter can take the job: ${why}`, { retryable: true, ...init });
  }
}

/** The client used up its rate for this operation; wait `retryAfterMs`. Retryable. */
export class RateLimitedError extends HoldfastError {
  override readonly name = "RateLimitedError";
  readonly code = "JOBS_RATE_LIMITED";

  constructor(operation: string, retryAfterMs: number, init: HoldfastErrorInit = {}) {
    super(`rate limit reached for ${operation}: try again in ${Math.ceil(retryAfterMs)} ms`, {
      retryable: true,
      ...init,
      retryAfterMs,
      details: { ...init.details, operation, retryAfterMs },
    });
  }
}

/** Thrown by a workflow to fail its shard without further attempts. */
export class PermanentError extends HoldfastError {
  override readonly name = "PermanentError";
  readonly code = "JOBS_PERMANENT";
}

/** The workflow used `effect` or `sql`, but its worker was started without a database (`--database`). Not retryable. */
export class WorkerHasNoDatabaseError extends HoldfastError {
  override readonly name = "WorkerHasNoDatabaseError";
  readonly code = "JOBS_WORKER_HAS_NO_DATABASE";

  constructor(node: string, init: HoldfastErrorInit = {}) {
    super(`worker ${node} has no database: start it with --database URL`, {
      ...init,
      details: { ...init.details, node },
    });
  }
}

/** Two workflows share one name; neither is registered. Not retryable: rename one. */
export class DuplicateWorkflowError extends HoldfastError {
  override readonly name = "DuplicateWorkflowError";
  readonly code = "JOBS_DUPLICATE_WORKFLOW";

  /** @param sources Where the two definitions come from, for example their export names. */
  constructor(workflow: string, sources: readonly [string, string], init: HoldfastErrorInit = {}) {
    super(
      `workflow ${JSON.stringify(workflow)} is registered twice, as ${sources[0]} and as ${sources[1]}: rename one of them`,
      { ...init, details: { ...init.details, workflow, sources } },
    );
  }
}

/** A module of workflows does not load or holds none. Not retryable until the file changes. */
export class WorkflowModuleError extends HoldfastError {
  override readonly name = "WorkflowModuleError";
  readonly code = "JOBS_WORKFLOW_MODULE";

  /** @param problem What is wrong, and what to do. */
  constructor(path: string, problem: string, init: HoldfastErrorInit = {}) {
    super(`workflow module ${path}: ${problem}`, { ...init, details: { ...init.details, path } });
  }
}

/**
 * What `run` returned is not plain JSON (`details.field` says where), exceeds 1 MiB or is nested more than 100 levels
 * deep. Not retryable: the shard fails without further attempts.
 */
export class InvalidOutputError extends HoldfastError {
  override readonly name = "InvalidOutputError";
  readonly code = "JOBS_INVALID_OUTPUT";

  constructor(workflow: string, problem: string, init: HoldfastErrorInit = {}) {
    super(`the output of workflow ${workflow} ${problem}`, {
      ...init,
      details: { ...init.details, workflow },
    });
  }
}

/** A workflow threw; the message is that of its error. Retryable: another attempt may go better. */
export class WorkflowFailedError extends HoldfastError {
  override readonly name = "WorkflowFailedError";
  readonly code = "JOBS_WORKFLOW_FAILED";

  constructor(message: string, init: HoldfastErrorInit = {}) {
    super(message, { retryable: true, ...init });
  }
}

/** An attempt ran longer than its limit and was stopped. Retryable: another attempt may be faster. */
export class ShardTimeoutError extends HoldfastError {
  override readonly name = "ShardTimeoutError";
  readonly code = "JOBS_SHARD_TIMEOUT";

  /** @param stuckMs Set when the attempt ignored its signal this long and was ended by force. */
  constructor(what: string, timeoutMs: number, stuckMs?: number, init: HoldfastErrorInit = {}) {
    super(
      `${what} ran longer than its limit of ${timeoutMs} ms${stuckMs === undefined ? "" : `, did not stop within ${stuckMs} ms after that (an endless loop?) and was ended by force`}; raise timeoutMs or split the work into more shards`,
      { retryable: true, ...init, details: { ...init.details, timeoutMs, stuck: stuckMs !== undefined } },
    );
  }
}

/** The thread that ran the attempt died: out of memory, an uncaught exception or process.exit. Retryable. */
export class ShardCrashedError extends HoldfastError {
  override readonly name = "ShardCrashedError";
  readonly code = "JOBS_SHARD_CRASHED";

  constructor(what: string, why: string, init: HoldfastErrorInit = {}) {
    super(`${what} ended its thread: ${why}`, {
      retryable: true,
      ...init,
      details: { ...init.details, why },
    });
  }
}

/** The attempt was stopped because its job or workflow was cancelled or ended. Not retryable. */
export class ShardCancelledError extends HoldfastError {
  override readonly name = "ShardCancelledError";
  readonly code = "JOBS_SHARD_CANCELLED";

  constructor(what: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`${what} was cancelled${reason === "" ? "" : `: ${reason}`}`, init);
  }
}

/** The lease of the claim ended: another worker may run the shard by now. Stop; later writes are refused. Not retryable here. */
export class ClaimLostError extends HoldfastError {
  override readonly name = "ClaimLostError";
  readonly code = "JOBS_CLAIM_LOST";

  constructor(what: string, why: string, init: HoldfastErrorInit = {}) {
    super(`the claim of ${what} is lost: ${why}`, init);
  }
}

/** The worker stops and gives the shard back; the attempt does not count. Retryable on another worker. */
export class WorkerDrainingError extends HoldfastError {
  override readonly name = "WorkerDrainingError";
  readonly code = "JOBS_WORKER_DRAINING";

  constructor(node: string, init: HoldfastErrorInit = {}) {
    super(`worker ${node} is draining and gave the shard back`, {
      retryable: true,
      ...init,
      details: { ...init.details, node },
    });
  }
}

/** A shard was claimed ahead, and the shards before it took longer than expected: it goes to a worker with a free core. The attempt does not count. */
export class ShardGivenBackError extends HoldfastError {
  override readonly name = "ShardGivenBackError";
  readonly code = "JOBS_SHARD_GIVEN_BACK";

  constructor(what: string, node: string, waitedMs: number, init: HoldfastErrorInit = {}) {
    super(`${what} waited ${Math.round(waitedMs)} ms for a core of worker ${node} and was given back`, {
      retryable: true,
      ...init,
      details: { ...init.details, node, waitedMs },
    });
  }
}

/** The job was cancelled by a user. Not retryable: submit it again. */
export class JobCancelledError extends HoldfastError {
  override readonly name = "JobCancelledError";
  readonly code = "JOBS_CANCELLED";

  constructor(what: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`${what} was cancelled${reason === "" ? "" : `: ${reason}`}`, {
      ...init,
      details: { ...init.details, reason },
    });
  }
}

/** The job did not end within its time. Not retryable as it is: raise `timeoutMs`. */
export class JobTimeoutError extends HoldfastError {
  override readonly name = "JobTimeoutError";
  readonly code = "JOBS_TIMEOUT";

  constructor(jobId: string, timeoutMs: number, init: HoldfastErrorInit = {}) {
    super(`job ${jobId} did not end within ${timeoutMs} ms; raise its timeoutMs or add workers`, {
      ...init,
      details: { ...init.details, jobId, timeoutMs },
    });
  }
}

/** The workflow did not run (or was stopped) because another one failed. Not retryable: mend that one. */
export class DependencyFailedError extends HoldfastError {
  override readonly name = "DependencyFailedError";
  readonly code = "JOBS_DEPENDENCY_FAILED";

  constructor(workflow: string, failed: string, init: HoldfastErrorInit = {}) {
    super(`workflow ${workflow} did not complete because ${failed} failed`, {
      ...init,
      details: { ...init.details, workflow, failed },
    });
  }
}

/**
 * The outputs and counters of what the workflow depends on make, with its own input, more than one assignment
 * carries: it was not started. Not retryable: keep large outputs elsewhere and return a reference.
 */
export class DependenciesTooLargeError extends HoldfastError {
  override readonly name = "DependenciesTooLargeError";
  readonly code = "JOBS_DEPENDENCIES_TOO_LARGE";

  constructor(workflow: string, sizeBytes: number, limitBytes: number, init: HoldfastErrorInit = {}) {
    super(
      `what workflow ${workflow} gets of its dependencies has ${sizeBytes} bytes with its input, the limit is ${limitBytes}: keep large outputs in SQL or an object store and return a reference`,
      { ...init, details: { ...init.details, workflow, sizeBytes, limitBytes } },
    );
  }
}

/** What a worker reported about a shard cannot be used: it is too large, not JSON or not a measurement. Not retryable. */
export class InvalidOutcomeError extends HoldfastError {
  override readonly name = "InvalidOutcomeError";
  readonly code = "JOBS_INVALID_OUTCOME";

  constructor(what: string, why: string, init: HoldfastErrorInit = {}) {
    super(`the outcome of ${what} cannot be used: ${why}`, { ...init, details: { ...init.details, why } });
  }
}

/** No node is configured. Not retryable: give gates or managers. */
export class NoTargetError extends HoldfastError {
  override readonly name = "NoTargetError";
  readonly code = "JOBS_NO_TARGET";

  constructor() {
    super(
      "no managers or gates are configured: give at least one address (--gate host:port or HOLDFAST_GATE)",
    );
  }
}
