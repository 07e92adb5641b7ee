import { Mutex, OutcomeUnknownError } from "@holdfast/kernel";
import {
  ConnectionLostError,
  EngineFailedError,
  NestedUseError,
  ReplicationUnconfirmedError,
  TransactionAbortedError,
  TransactionClosedError,
} from "../errors.ts";
import type { StatementOptions, StatementResult, Transaction, TransactionOptions } from "./database.ts";
import { encodeParameters } from "./parameter.ts";
import type { SqlSession } from "./session.ts";
import { checkTimeLimit } from "./time-limit.ts";
import { insideTransaction } from "./transaction-scope.ts";

export type TransactionEnd = "committed" | "rolled-back" | "unknown";

/**
 * Runs `body` in one transaction on `session`, which nobody else uses meanwhile, and tells `onEnd` once how it ended.
 * The rules are those of `Database.transaction`.
 */
export const runTransaction = async <T>(
  database: object,
  session: SqlSession,
  body: (tx: Transaction) => Promise<T>,
  options: TransactionOptions,
  onEnd: (end: TransactionEnd) => void,
): Promise<T> => {
  const { signal } = options;
  await session.run(beginText(options), undefined, { signal, repeatable: true });
  const tx = new OpenTransaction(session, signal, 0);
  let result: T;
  try {
    result = await insideTransaction(database, () => body(tx));
    await tx.end();
    signal?.throwIfAborted();
  } catch (error) {
    await tx.end();
    onEnd("rolled-back");
    await rollBack(session);
    throw error;
  }
  await commit(session, options, onEnd);
  return result;
};

const beginText = ({ isolation, readOnly }: TransactionOptions): string =>
  `BEGIN${isolation === undefined ? "" : ` ISOLATION LEVEL ${isolation}`}${readOnly === true ? " READ ONLY" : ""}`;

/** A server that does not answer for so long is given up: it rolls back when it finds the connection gone. */
const ROLLBACK_TIMEOUT_MS = 5_000;

const rollBack = async (session: SqlSession): Promise<void> => {
  try {
    await session.run("ROLLBACK", undefined, { timeoutMs: ROLLBACK_TIMEOUT_MS, repeatable: true });
  } catch {
    // A session that cannot even roll back is broken, and its owner discards it: the server rolls back then.
  }
};

const commit = async (
  session: SqlSession,
  { commitTimeoutMs }: TransactionOptions,
  onEnd: (end: TransactionEnd) => void,
): Promise<void> => {
  let command: string;
  try {
    // No signal: once COMMIT is on its way only the answer tells what happened.
    ({ command } = await session.run("COMMIT", undefined, {
      timeoutMs: commitTimeoutMs,
      repeatable: true,
    }));
  } catch (error) {
    // On a connection that was known to be lost it was not even sent.
    const wasSent = !(error instanceof ConnectionLostError) || error.details["wasSent"] !== false;
    if (wasSent && (error instanceof ConnectionLostError || error instanceof EngineFailedError)) {
      onEnd("unknown");
      throw new OutcomeUnknownError("COMMIT", { cause: error });
    }
    if (error instanceof ReplicationUnconfirmedError) {
      onEnd("unknown");
      throw error;
    }
    onEnd("rolled-back");
    throw error;
  }
  // PostgreSQL answers COMMIT of a failed transaction with a successful ROLLBACK.
  if (command === "ROLLBACK") {
    onEnd("rolled-back");
    throw new TransactionAbortedError();
  }
  onEnd("committed");
};

class OpenTransaction implements Transaction {
  readonly #session: SqlSession;
  readonly #signal: AbortSignal | undefined;
  readonly #depth: number;
  readonly #turn = new Mutex();
  #open = true;
  #savepointOpen = false;

  constructor(session: SqlSession, signal: AbortSignal | undefined, depth: number) {
    this.#session = session;
    this.#signal = signal;
    this.#depth = depth;
  }

  async query<Row extends object>(
    text: string,
    values?: readonly unknown[],
    options?: StatementOptions,
  ): Promise<readonly Row[]> {
    return (await this.execute<Row>(text, values, options)).rows;
  }

  async execute<Row extends object>(
    text: string,
    values?: readonly unknown[],
    options: StatementOptions = {},
  ): Promise<StatementResult<Row>> {
    this.#refuseUnlessUsable("tx.query on the outer transaction");
    checkTimeLimit("timeoutMs", options.timeoutMs);
    const encoded = values === undefined ? undefined : encodeParameters(values);
    const signal = eitherSignal(this.#signal, options.signal);
    return this.#turn.run(
      () => this.#session.run<Row>(text, encoded, { signal, timeoutMs: options.timeoutMs, repeatable: true }),
      { signal },
    );
  }

  async copyIn(text: string, data: Uint8Array, options: StatementOptions = {}): Promise<number> {
    this.#refuseUnlessUsable("tx.copyIn on the outer transaction");
    checkTimeLimit("timeoutMs", options.timeoutMs);
    const signal = eitherSignal(this.#signal, options.signal);
    const { rowCount } = await this.#turn.run(
      () =>
        this.#session.run(text, undefined, {
          signal,
          timeoutMs: options.timeoutMs,
          repeatable: true,
          copyData: data,
        }),
      { signal },
    );
    return rowCount;
  }

  async savepoint<T>(body: (tx: Transaction) => Promise<T>): Promise<T> {
    this.#refuseUnlessUsable("tx.savepoint on the outer transaction");
    this.#savepointOpen = true;
    try {
      return await this.#turn.run(() => this.#runSavepoint(body), { signal: this.#signal });
    } finally {
      this.#savepointOpen = false;
    }
  }

  /** Waits for statements under way and refuses later ones. */
  async end(): Promise<void> {
    this.#open = false;
    await this.#turn.run(async () => undefined);
  }

  async #runSavepoint<T>(body: (tx: Transaction) => Promise<T>): Promise<T> {
    const name = `holdfast_${this.#depth + 1}`;
    await this.#control(`SAVEPOINT ${name}`);
    const inner = new OpenTransaction(this.#session, this.#signal, this.#depth + 1);
    try {
      const result = await body(inner);
      await inner.end();
      await this.#control(`RELEASE SAVEPOINT ${name}`);
      return result;
    } catch (error) {
      await inner.end();
      await this.#undo(name);
      throw error;
    }
  }

  async #undo(name: string): Promise<void> {
    try {
      await this.#control(`ROLLBACK TO SAVEPOINT ${name}; RELEASE SAVEPOINT ${name}`, ROLLBACK_TIMEOUT_MS);
    } catch {
      // Only a broken session cannot do it; the caller is told why the savepoint failed, and COMMIT will fail.
    }
  }

  async #control(text: string, timeoutMs?: number): Promise<void> {
    await this.#session.run(text, undefined, { timeoutMs, repeatable: true });
  }

  #refuseUnlessUsable(operation: string): void {
    if (!this.#open) throw new TransactionClosedError();
    if (this.#savepointOpen) throw new NestedUseError(operation);
    this.#signal?.throwIfAborted();
  }
}

const eitherSignal = (
  first: AbortSignal | undefined,
  second: AbortSignal | undefined,
): AbortSignal | undefined => {
  if (first === undefined || second === undefined) return first ?? second;
  return AbortSignal.any([first, second]);
};
