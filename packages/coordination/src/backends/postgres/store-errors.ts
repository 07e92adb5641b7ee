import { isHoldfastError, OutcomeUnknownError } from "@holdfast/kernel";
import { StoreConflictError, StoreUnavailableError } from "../../errors.ts";

/** Serialisation failure, deadlock, lock not available, and a unique key that another took at the same moment. */
const CONFLICT_STATES = new Set(["40001", "40P01", "55P03", "23505"]);
/** Serialisation failure and deadlock: another got through at the same moment, so trying again at once is sensible. */
const ROLLED_BACK_STATES = new Set(["40001", "40P01"]);
/** Codes of sockets that were refused: nothing was sent. */
const NOT_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/**
 * What a failed call means to our caller. `isWrite` says that it may have taken effect without our knowing.
 * Errors of our own kernel (outcome unknown, closed, wrong input) and the caller's abort pass as they are.
 */
export const toStoreError = (
  operation: string,
  error: unknown,
  context: { readonly isWrite: boolean; readonly signal?: AbortSignal | undefined },
): unknown => {
  if (context.signal?.aborted && error === context.signal.reason) return error;
  const sqlState = sqlStateOf(error);
  if (sqlState !== undefined && CONFLICT_STATES.has(sqlState)) {
    return new StoreConflictError(operation, { cause: error });
  }
  if (isHoldfastError(error)) {
    const isOurs = error.code.startsWith("KERNEL_") || error.code.startsWith("COORDINATION_");
    const isLasting = !error.retryable;
    if (isOurs || isLasting) return error;
    return new StoreUnavailableError(operation, {
      cause: error,
      ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    });
  }
  if (sqlState !== undefined) {
    // 08 connection, 53 resources, 57P operator intervention, 25006 read-only: the server says it did not do it.
    const isOutage = /^(08|53|57P)/.test(sqlState) || sqlState === "25006";
    return isOutage ? new StoreUnavailableError(operation, { cause: error }) : error;
  }
  if (!isConnectionFailure(error)) return error;
  if (context.isWrite && !NOT_SENT.has(codeOf(error) ?? "")) {
    return new OutcomeUnknownError(operation, { cause: error });
  }
  return new StoreUnavailableError(operation, { cause: error });
};

/**
 * What the failure of a later statement of a call means, when an earlier one is done and stays so: whoever makes the
 * call again must not take it that nothing happened. In a transaction of the caller's all of it is undone.
 */
export const toPartlyDoneError = (
  operation: string,
  error: unknown,
  { tx, signal }: { readonly tx?: unknown; readonly signal?: AbortSignal | undefined },
): unknown =>
  tx !== undefined || signal?.aborted ? error : new OutcomeUnknownError(operation, { cause: error });

/** Whether PostgreSQL ended the statement in favour of a concurrent one, with nothing changed. */
export const isRolledBackConflict = (error: unknown): boolean =>
  ROLLED_BACK_STATES.has(sqlStateOf(error) ?? "");

const codeOf = (error: unknown): string | undefined => {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
};

/** Plain drivers put it in `code`; wrapped errors in `sqlState`. */
const sqlStateOf = (error: unknown): string | undefined => {
  if (typeof error === "object" && error !== null && "sqlState" in error) {
    return typeof error.sqlState === "string" ? error.sqlState : undefined;
  }
  const code = codeOf(error);
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && !isSocketCode(code) ? code : undefined;
};

const isSocketCode = (code: string): boolean => code === "EPIPE";

const isConnectionFailure = (error: unknown): boolean => {
  const code = codeOf(error);
  if (code !== undefined) return NOT_SENT.has(code) || /^(ECONN|EPIPE|ETIMEDOUT)/.test(code);
  // node-postgres gives a dropped connection no code.
  return (
    error instanceof Error &&
    /^Connection terminated|^Client has encountered a connection error/.test(error.message)
  );
};
