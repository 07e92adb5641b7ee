import type { HoldfastError, HoldfastErrorInit } from "@holdfast/kernel";
import {
  type ConstraintKind,
  ConstraintViolationError,
  DiskFullError,
  LockUnavailableError,
  ReadOnlyDatabaseError,
  ResourcesExhaustedError,
  SerializationFailureError,
  type SqlFailure,
  StatementCancelledError,
  StatementError,
  TransactionAbortedError,
} from "../errors.ts";

/** The fields of a PostgreSQL error message that both drivers give. */
export interface ServerError {
  readonly message: string;
  readonly code?: string | undefined;
  readonly severity?: string | undefined;
  readonly schema?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly constraint?: string | undefined;
  detail?: string | undefined;
  /** The function of PostgreSQL's source that raised it. */
  readonly routine?: string | undefined;
}

const CONSTRAINT_KINDS: Readonly<Record<string, ConstraintKind>> = {
  "23502": "not-null",
  "23503": "foreign-key",
  "23505": "unique",
  "23514": "check",
  "23P01": "exclusion",
};

/**
 * Errors with which the server ends the session: idle in transaction or transaction for too long, an
 * administrator's stop, a crash, a start-up or shutdown under way, the database dropped, idle for too long.
 */
const SESSION_ENDS: readonly string[] = ["25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"];

/** True when the server closes the connection after this error. (The severity may be in the server's language.) */
export const isFatal = (error: ServerError): boolean =>
  error.severity === "FATAL" || error.severity === "PANIC" || SESSION_ENDS.includes(error.code ?? "");

/**
 * True when a prepared statement cannot be used any more, because a table behind it changed its columns or the
 * session forgot it (a connection pooler in between). It was not run.
 */
export const isStaleStatement = (error: ServerError): boolean =>
  error.code === "26000" || (error.code === "0A000" && error.routine === "RevalidateCachedQuery");

/** The typed error for a refused statement (Appendix A of the PostgreSQL manual). The connection lives on. */
export const fromServerError = (error: ServerError): HoldfastError => {
  const sqlState = error.code ?? "XX000";
  const failure: SqlFailure = {
    sqlState,
    schema: error.schema,
    table: error.table,
    column: error.column,
    constraint: error.constraint,
  };
  const init: HoldfastErrorInit = { cause: error };
  if (sqlState.startsWith("23")) {
    // The detail quotes the row, and a logger would print it with the cause.
    error.detail = undefined;
    return new ConstraintViolationError(CONSTRAINT_KINDS[sqlState] ?? "other", failure, init);
  }
  switch (sqlState) {
    case "40001":
    case "40P01":
      return new SerializationFailureError(failure, init);
    case "25006":
      return new ReadOnlyDatabaseError(init);
    case "25P02":
      return new TransactionAbortedError(init);
    case "55P03":
      return new LockUnavailableError(failure, init);
    case "57014":
      // Without data for COPY FROM STDIN the drivers give up, which PostgreSQL calls a cancellation.
      if (error.routine === "CopyGetData") return new StatementError(error.message, failure, init);
      return new StatementCancelledError(init);
    case "53100":
      return new DiskFullError(init);
  }
  // Inside a transaction nothing can be repaired, but the transaction run again will see the changed table.
  if (isStaleStatement(error)) return new SerializationFailureError(failure, init);
  if (sqlState.startsWith("53")) return new ResourcesExhaustedError(error.message, failure, init);
  return new StatementError(error.message, failure, init);
};
