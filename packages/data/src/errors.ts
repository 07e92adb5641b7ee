import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** What PostgreSQL said about a refused statement. Never holds parameter values. */
export interface SqlFailure {
  /** The five-character SQLSTATE. */
  readonly sqlState: string;
  readonly schema?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly constraint?: string | undefined;
}

const withFailure = (failure: SqlFailure, init: HoldfastErrorInit): HoldfastErrorInit => ({
  ...init,
  details: {
    ...init.details,
    ...Object.fromEntries(Object.entries(failure).filter(([, value]) => value !== undefined)),
  },
});

/** The database refused the statement for a reason without a type of its own; see `sqlState`. Not retryable. */
export class StatementError extends HoldfastError {
  override readonly name = "StatementError";
  readonly code = "SQL_STATEMENT_FAILED";
  readonly sqlState: string;

  constructor(message: string, failure: SqlFailure, init: HoldfastErrorInit = {}) {
    super(`${message} (SQLSTATE ${failure.sqlState})`, withFailure(failure, init));
    this.sqlState = failure.sqlState;
  }
}

export type ConstraintKind = "unique" | "foreign-key" | "not-null" | "check" | "exclusion" | "other";

/** A row breaks a constraint of its table; nothing was written. Not retryable. */
export class ConstraintViolationError extends HoldfastError {
  override readonly name = "ConstraintViolationError";
  readonly code = "SQL_CONSTRAINT_VIOLATED";
  readonly kind: ConstraintKind;
  readonly sqlState: string;
  readonly constraint: string | undefined;
  readonly table: string | undefined;
  readonly column: string | undefined;

  constructor(kind: ConstraintKind, failure: SqlFailure, init: HoldfastErrorInit = {}) {
    const subject = failure.constraint ?? failure.column;
    super(
      `${kind} constraint${subject === undefined ? "" : ` ${subject}`}${
        failure.table === undefined ? "" : ` of table ${failure.table}`
      } is violated; nothing was written`,
      withFailure(failure, { ...init, details: { ...init.details, kind } }),
    );
    this.kind = kind;
    this.sqlState = failure.sqlState;
    this.constraint = failure.constraint;
    this.table = failure.table;
    this.column = failure.column;
  }
}

/** The transaction lost against a concurrent one (serialisation failure or deadlock) and was rolled back. Retryable: run the whole transaction again. */
export class SerializationFailureError extends HoldfastError {
  override readonly name = "SerializationFailureError";
  readonly code = "SQL_SERIALIZATION_FAILED";
  readonly sqlState: string;

  constructor(failure: SqlFailure, init: HoldfastErrorInit = {}) {
    super(
      "the transaction lost against a concurrent one and was rolled back: run it again as a whole",
      withFailure(failure, { retryable: true, ...init }),
    );
    this.sqlState = failure.sqlState;
  }
}

/** The server takes no writes: a standby, or a primary that is being replaced. Nothing was written. Retryable. */
export class ReadOnlyDatabaseError extends HoldfastError {
  override readonly name = "ReadOnlyDatabaseError";
  readonly code = "SQL_READ_ONLY";

  constructor(init: HoldfastErrorInit = {}) {
    super("the server takes no writes: it is a standby or the transaction is read-only", {
      retryable: true,
      ...init,
    });
  }
}

/** The connection broke and the work in it left no trace. Retryable. */
export class ConnectionLostError extends HoldfastError {
  override readonly name = "ConnectionLostError";
  readonly code = "SQL_CONNECTION_LOST";

  constructor(server: string, init: HoldfastErrorInit = {}) {
    super(`the connection to ${server} broke; nothing was committed`, {
      retryable: true,
      ...init,
      details: { ...init.details, server },
    });
  }
}

/** No connection could be opened. Retryable unless the server refused us for good (unknown database). */
export class ConnectError extends HoldfastError {
  override readonly name = "ConnectError";
  readonly code = "SQL_CONNECT_FAILED";

  constructor(server: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`cannot connect to ${server}: ${reason}`, {
      retryable: true,
      ...init,
      details: { ...init.details, server },
    });
  }
}

/** The server does not accept this user or password. Not retryable. The message never holds the password. */
export class AuthenticationError extends HoldfastError {
  override readonly name = "AuthenticationError";
  readonly code = "SQL_AUTHENTICATION_FAILED";

  constructor(server: string, user: string, init: HoldfastErrorInit = {}) {
    super(`${server} refuses user ${user}: check the user name, the password and pg_hba.conf`, {
      ...init,
      details: { ...init.details, server, user },
    });
  }
}

/** The server is older than we support. Not retryable. */
export class UnsupportedServerError extends HoldfastError {
  override readonly name = "UnsupportedServerError";
  readonly code = "SQL_SERVER_UNSUPPORTED";

  constructor(server: string, found: string, minimum: string, init: HoldfastErrorInit = {}) {
    super(`${server} runs PostgreSQL ${found}; at least ${minimum} is needed`, {
      ...init,
      details: { ...init.details, server, found, minimum },
    });
  }
}

/** No connection became free in time; nothing was sent. Retryable. */
export class PoolTimeoutError extends HoldfastError {
  override readonly name = "PoolTimeoutError";
  readonly code = "SQL_POOL_TIMEOUT";

  constructor(server: string, waitedMs: number, maxCount: number, init: HoldfastErrorInit = {}) {
    super(`none of the ${maxCount} connections to ${server} became free within ${waitedMs} ms`, {
      retryable: true,
      ...init,
      details: { ...init.details, server, waitedMs, maxCount },
    });
  }
}

/** The statement exceeded its time and was cancelled; nothing of it was kept. Retryable. */
export class StatementTimeoutError extends HoldfastError {
  override readonly name = "StatementTimeoutError";
  readonly code = "SQL_STATEMENT_TIMEOUT";

  constructor(timeoutMs: number, init: HoldfastErrorInit = {}) {
    super(`the statement took longer than ${timeoutMs} ms and was cancelled`, {
      retryable: true,
      ...init,
      details: { ...init.details, timeoutMs },
    });
  }
}

/** Somebody else (an administrator, a server setting) cancelled the statement; nothing of it was kept. Retryable. */
export class StatementCancelledError extends HoldfastError {
  override readonly name = "StatementCancelledError";
  readonly code = "SQL_STATEMENT_CANCELLED";

  constructor(init: HoldfastErrorInit = {}) {
    super("the statement was cancelled on the server", { retryable: true, ...init });
  }
}

/** A lock asked for with NOWAIT or a lock timeout is held by another transaction. Retryable. */
export class LockUnavailableError extends HoldfastError {
  override readonly name = "LockUnavailableError";
  readonly code = "SQL_LOCK_UNAVAILABLE";

  constructor(failure: SqlFailure, init: HoldfastErrorInit = {}) {
    super("a lock that the statement needs is held by another transaction", {
      ...withFailure(failure, { retryable: true, ...init }),
    });
  }
}

/** The database has no room to write; nothing was written. Retryable once there is room again. */
export class DiskFullError extends HoldfastError {
  override readonly name = "DiskFullError";
  readonly code = "SQL_DISK_FULL";

  constructor(init: HoldfastErrorInit = {}) {
    super("the database's disk is full; nothing was written: free some space, then try again", {
      retryable: true,
      ...init,
    });
  }
}

/** The server ran out of memory, connections or another resource; nothing was written. Retryable. */
export class ResourcesExhaustedError extends HoldfastError {
  override readonly name = "ResourcesExhaustedError";
  readonly code = "SQL_RESOURCES_EXHAUSTED";

  constructor(message: string, failure: SqlFailure, init: HoldfastErrorInit = {}) {
    super(`the server lacks a resource: ${message}`, withFailure(failure, { retryable: true, ...init }));
  }
}

/** A statement of the transaction failed before, so it cannot go on and was rolled back. Not retryable by itself: see the first error. */
export class TransactionAbortedError extends HoldfastError {
  override readonly name = "TransactionAbortedError";
  readonly code = "SQL_TRANSACTION_ABORTED";

  constructor(init: HoldfastErrorInit = {}) {
    super(
      "a statement of this transaction failed before, so the transaction was rolled back: let that error pass, or run the statement inside savepoint()",
      init,
    );
  }
}

/** The transaction ended before this statement was made. Not retryable. */
export class TransactionClosedError extends HoldfastError {
  override readonly name = "TransactionClosedError";
  readonly code = "SQL_TRANSACTION_CLOSED";

  constructor(init: HoldfastErrorInit = {}) {
    super("the transaction has ended: await every statement inside the body of transaction()", init);
  }
}

/**
 * The database, or an outer transaction, was used inside the body of a transaction or savepoint. On the
 * embedded database that would wait for itself for ever, elsewhere it would silently run outside. Not retryable.
 */
export class NestedUseError extends HoldfastError {
  override readonly name = "NestedUseError";
  readonly code = "SQL_NESTED_USE";

  constructor(operation: string, init: HoldfastErrorInit = {}) {
    super(
      `${operation} was called inside the body of a transaction or savepoint that does not own it: use the tx that the body receives (tx.query, tx.savepoint), or call it afterwards`,
      { ...init, details: { ...init.details, operation } },
    );
  }
}

/** The embedded engine crashed; what was committed is in its directory. Not retryable here: open the directory again. */
export class EngineFailedError extends HoldfastError {
  override readonly name = "EngineFailedError";
  readonly code = "SQL_ENGINE_FAILED";

  constructor(where: string, init: HoldfastErrorInit = {}) {
    super(
      `the embedded database in ${where} crashed and takes no more statements: close it and open it again`,
      {
        ...init,
        details: { ...init.details, where },
      },
    );
  }
}

/** A write came from an owner that has been replaced: its fence token is smaller than one already seen. Nothing was written. Not retryable. */
export class StaleFenceError extends HoldfastError {
  override readonly name = "StaleFenceError";
  readonly code = "DATA_STALE_FENCE";
  readonly token: bigint;
  readonly seenToken: bigint;

  constructor(what: string, token: bigint, seenToken: bigint, init: HoldfastErrorInit = {}) {
    super(
      `${what}: token ${token} is stale, ${seenToken} has been seen: another owner took over, stop this one`,
      {
        ...init,
        details: { ...init.details, token: token.toString(), seenToken: seenToken.toString() },
      },
    );
    this.token = token;
    this.seenToken = seenToken;
  }
}

/**
 * The primary has committed, but no synchronous replica confirmed it in time: the write is visible, and a failover may
 * still lose it. Not retryable as such: the same write again would be a second one. Resolve it, or wait until a replica is back.
 */
export class ReplicationUnconfirmedError extends HoldfastError {
  override readonly name = "ReplicationUnconfirmedError";
  readonly code = "SQL_REPLICATION_UNCONFIRMED";

  constructor(server: string, init: HoldfastErrorInit = {}) {
    super(
      `${server} has committed, but no synchronous replica has confirmed it: a failover may still lose this write`,
      { ...init, details: { ...init.details, server } },
    );
  }
}
