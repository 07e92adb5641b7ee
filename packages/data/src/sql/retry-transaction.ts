import {
  type Clock,
  hasCode,
  isHoldfastError,
  OutcomeUnknownError,
  type Random,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { exponentialBackoff } from "@holdfast/resilience";
import type { Database, Transaction, TransactionOptions } from "./database.ts";
import { integerOption } from "./integer-option.ts";
import {
  markTransaction,
  resolveOutcome,
  resolveWaitMs,
  type TransactionMarker,
} from "./transaction-outcome.ts";

export interface RetryTransactionOptions extends TransactionOptions {
  /** Most runs of the body, 1 to 100. Default 5. */
  readonly attemptMaxCount?: number | undefined;
  /**
   * Whether a lost answer to COMMIT is followed up: the server is asked what became of the transaction. Costs one round
   * trip in each transaction. Default true; not possible on the embedded database, which loses answers only when it dies.
   */
  readonly resolveUnknown?: boolean | undefined;
  /** Milliseconds for following up, 0 to a day. Default 10_000. */
  readonly resolveWaitMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** After these nothing of the transaction was kept, and the next run may fare better. */
const RUN_AGAIN_CODES: readonly string[] = [
  "SQL_SERIALIZATION_FAILED",
  "SQL_CONNECTION_LOST",
  "SQL_CONNECT_FAILED",
  "SQL_READ_ONLY",
  "DATA_WRONG_SERVER",
  "DATA_NO_PRIMARY",
];

/** One of these that says of itself that it will come back, such as for want of the database, is believed. */
const mayRunAgain = (error: unknown): boolean =>
  RUN_AGAIN_CODES.some((code) => hasCode(error, code)) && !(isHoldfastError(error) && !error.retryable);

/** From 10 ms, so that two that collided part; up to 1 s, so that a failover is not waited for in five quick tries. */
const BACKOFF = exponentialBackoff({ baseMs: 10, capMs: 1_000 });

/**
 * Runs a transaction again as a whole when it lost against another one (serialisation failure, deadlock), when its
 * connection broke before COMMIT, or when there was no primary. The body may therefore run several times: what it does
 * outside the transaction must bear that.
 *
 * A COMMIT without an answer is never simply run again. What became of it is found out; only a transaction that is
 * known to be aborted runs again, and one that is known to be committed returns the result of its body.
 *
 * @throws InvalidInputError naming the number that cannot be; nothing ran.
 * @throws what `body` throws, or the last failure after `attemptMaxCount` runs.
 * @throws OutcomeUnknownError when nobody could tell what became of the COMMIT. Not retryable as such.
 */
export const retryTransaction = async <T>(
  database: Database,
  body: (tx: Transaction) => Promise<T>,
  options: RetryTransactionOptions = {},
): Promise<T> => {
  const { clock = systemClock, random = systemRandom, signal } = options;
  const attemptMaxCount = integerOption("attemptMaxCount", options.attemptMaxCount ?? 5, 1, 100);
  const waitMs = resolveWaitMs("resolveWaitMs", options.resolveWaitMs);
  const isMarked =
    (options.resolveUnknown ?? true) && database.kind !== "embedded" && options.readOnly !== true;
  for (let attempt = 1; ; attempt += 1) {
    let marker: TransactionMarker | undefined;
    let result: { readonly value: T } | undefined;
    try {
      return await database.transaction(async (tx) => {
        const value = await body(tx);
        if (isMarked) marker = await markTransaction(tx);
        result = { value };
        return value;
      }, options);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof OutcomeUnknownError && marker !== undefined && result !== undefined) {
        const outcome = await resolveOutcome(database, marker, { clock, signal, waitMs });
        if (outcome === "committed") return result.value;
        if (outcome === "unknown") throw error;
      } else if (!mayRunAgain(error)) throw error;
      if (attempt >= attemptMaxCount) throw error;
      const retryAfterMs = isHoldfastError(error) ? (error.retryAfterMs ?? 0) : 0;
      await clock.sleep(Math.max(retryAfterMs, BACKOFF.delayMs(attempt, undefined, random)), { signal });
    }
  }
};
