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
          `${path === "" ? "input" : path}: ${message}${value === undefined ? "" : ` (got ${JSON.stringify(value)})`}`,
      )
      .join("; ");
    super(`the input of workflow ${workflow} is not acceptable: ${text}`, {
      ...init,
      details: { ...init.details, workflow, issues },
    });
  }
}

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
