import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** The declaration of a sharded schema cannot be; nothing was changed. Not retryable. */
export class ShardSchemaError extends HoldfastError {
  override readonly name = "ShardSchemaError";
  readonly code = "SHARD_SCHEMA_INVALID";
  readonly problems: readonly string[];

  constructor(problems: readonly string[], init: HoldfastErrorInit = {}) {
    super(problems.join("; "), { ...init, details: { ...init.details, problems } });
    this.problems = problems;
  }
}

/** What is in the database is not what is declared, and is not changed by itself. Not retryable. */
export class ShardSchemaDriftError extends HoldfastError {
  override readonly name = "ShardSchemaDriftError";
  readonly code = "SHARD_SCHEMA_DRIFT";
  readonly differences: readonly string[];

  constructor(differences: readonly string[], init: HoldfastErrorInit = {}) {
    super(`the database differs from the declaration: ${differences.join("; ")}`, {
      ...init,
      details: { ...init.details, differences },
    });
    this.differences = differences;
  }
}

/** A statement of one tenant would leave its shard group, its tables or its rows; nothing was sent. Not retryable. */
export class ShardTenantCrossedError extends HoldfastError {
  override readonly name = "ShardTenantCrossedError";
  readonly code = "SHARD_TENANT_CROSSED";

  constructor(reason: string, init: HoldfastErrorInit = {}) {
    super(`${reason}: use crossTenant for what concerns several tenants or groups`, init);
  }
}

/** Citus is missing where it is needed, does not support this PostgreSQL, or knows no node in this database. Not retryable. */
export class ShardServerUnsupportedError extends HoldfastError {
  override readonly name = "ShardServerUnsupportedError";
  readonly code = "SHARD_SERVER_UNSUPPORTED";
}

/** Moving shards ended with an error; what was moved stays moved, and reads and writes stayed right. Retryable. */
export class ShardRebalanceError extends HoldfastError {
  override readonly name = "ShardRebalanceError";
  readonly code = "SHARD_REBALANCE_FAILED";

  constructor(job: string, state: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`rebalance ${job} ended as ${state}${reason === "" ? "" : `: ${reason}`}`, {
      retryable: true,
      ...init,
      details: { ...init.details, job, state },
    });
  }
}
