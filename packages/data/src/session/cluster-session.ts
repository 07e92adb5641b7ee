import { InvalidInputError, OutcomeUnknownError } from "@holdfast/kernel";
import type { ClusterRouter, Limits, ReadOptions } from "../cluster/cluster-database.ts";
import { NoReplicaError, PositionLostError } from "../cluster/cluster-errors.ts";
import { formatLsn, formatPosition, parseLsn } from "../cluster/log-position.ts";
import type { NodePool } from "../cluster/node-pools.ts";
import type { PositionRow } from "../cluster/node-probe.ts";
import { refuseWrite } from "../cluster/refuse-write.ts";
import { continuityOf } from "../cluster/timeline-history.ts";
import {
  ConnectError,
  ReadOnlyDatabaseError,
  ReplicationUnconfirmedError,
  SerializationFailureError,
} from "../errors.ts";
import type { Lease } from "../postgres/postgres-database.ts";
import type {
  StatementOptions,
  StatementResult,
  StatementRunner,
  Transaction,
  TransactionOptions,
} from "../sql/database.ts";
import { encodeParameters, type WireValue } from "../sql/parameter.ts";
import type { SqlSession } from "../sql/session.ts";
import { timeLeft } from "../sql/time-left.ts";
import { checkTransactionLimits } from "../sql/time-limit.ts";
import { refuseInsideTransaction } from "../sql/transaction-scope.ts";
import { askPosition } from "./ask-position.ts";
import { formatToken, parseToken, type SessionPosition } from "./session-token.ts";

/** How often a replica that is behind is asked again. */
const CATCH_UP_POLL_MS = 5;
/** How many replicas one read tries before it goes to the primary. */
const REPLICA_TRY_MAX_COUNT = 3;

/**
 * Reads and writes of one user, request chain or task that must not see time run backwards: what it wrote, and what
 * it has read, is in everything that it reads afterwards, whichever server answers. Its place can be carried to
 * another process as a token.
 *
 * One session is used by one caller at a time or by several; statements that run at the same time are not ordered
 * with respect to each other.
 */
export interface ClusterSession extends StatementRunner {
  /** Everything up to here is in what the session reads next; undefined before its first statement. */
  readonly position: { readonly timeline: number; readonly lsn: bigint } | undefined;
  /** The position as text, to be given to `session({ token })` anywhere; undefined before the first statement. */
  token(): string | undefined;
  /**
   * Reads from a replica that has everything the session has seen. One that is behind is waited for at most
   * `catchUpMs`, then the primary answers, where the fallback allows it.
   * @throws PositionLostError when a failover lost what the session has seen. Not retryable.
   * @throws NoReplicaError when nobody may answer: retryable.
   */
  read<Row extends object = Record<string, unknown>>(
    text: string,
    values: readonly unknown[],
    options?: ReadOptions,
  ): Promise<readonly Row[]>;
  /** As that of the database; the session's reads see it from then on. */
  transaction<T>(body: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
}

export const createSession = (
  router: ClusterRouter,
  options: { readonly token?: string | undefined },
): ClusterSession => new Session(router, options.token === undefined ? undefined : parseToken(options.token));

interface Answer<Row> {
  readonly rows: readonly Row[];
  readonly isBehind: boolean;
}

class Session implements ClusterSession {
  readonly #router: ClusterRouter;
  #at: SessionPosition | undefined;
  /** A write whose place in the log is not known: only the primary has it for sure. */
  #isUnsure = false;

  constructor(router: ClusterRouter, at: SessionPosition | undefined) {
    const { systemId } = router.status;
    if (at !== undefined && systemId !== undefined && at.systemId !== systemId) {
      throw new InvalidInputError("token", at.systemId, `a token of database system ${systemId}`);
    }
    this.#router = router;
    this.#at = at;
  }

  get position(): { readonly timeline: number; readonly lsn: bigint } | undefined {
    return this.#at === undefined ? undefined : { timeline: this.#at.timeline, lsn: this.#at.lsn };
  }

  token(): string | undefined {
    return this.#at === undefined ? undefined : formatToken(this.#at);
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
    refuseInsideTransaction(this.#router.owner, "query");
    const encoded = values === undefined ? undefined : encodeParameters(values);
    return this.#onPrimary(this.#limitsOf(options), (session, limits) =>
      session.run<Row>(text, encoded, {
        ...limits,
        repeatable: options.repeatable ?? /^\s*(select|values|table|show)\b/i.test(text),
      }),
    );
  }

  async read<Row extends object>(
    text: string,
    values: readonly unknown[],
    options: ReadOptions = {},
  ): Promise<readonly Row[]> {
    refuseInsideTransaction(this.#router.owner, "read");
    refuseWrite(text);
    const encoded = encodeParameters(values);
    const limits = this.#limitsOf(options);
    await this.#refuseLost();
    if (options.from !== "primary" && !this.#isUnsure) {
      const rows = await this.#readFromReplicas<Row>(text, encoded, limits);
      if (rows !== undefined) return rows;
      if (this.#router.parts.settings.readFallback === "error") {
        throw new NoReplicaError(
          "no replica has what the session has seen, and the primary is not to be asked",
        );
      }
    }
    const { rows } = await this.#onPrimary(limits, (session, now) =>
      session.run<Row>(text, encoded, { ...now, repeatable: true }),
    );
    return rows;
  }

  async transaction<T>(body: (tx: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    refuseInsideTransaction(this.#router.owner, "transaction");
    checkTransactionLimits(options);
    const limitMs = options.commitTimeoutMs ?? this.#router.parts.settings.commitTimeoutMs;
    await this.#refuseLost();
    return this.#router.onPrimaryPool(
      { signal: options.signal, isRepeatable: false },
      async (pool, started) => {
        const lease = await pool.database.lease({
          signal: options.signal,
          timeoutMs: options.acquireTimeoutMs,
        });
        let position: Promise<PositionRow | undefined> | undefined;
        // The question where we are goes right behind COMMIT, so it costs no round trip of its own.
        const session: SqlSession = {
          run: (text, ...rest) => {
            const result = lease.session.run(text, ...rest);
            if (text === "COMMIT") position = askPosition(lease, { timeoutMs: limitMs });
            return result as never;
          },
        };
        const held = holdUntil(lease, () => position);
        return this.#noting(
          pool,
          () => position,
          () =>
            pool.database.transactionOn(
              held,
              session,
              (tx) => {
                started();
                return body(tx);
              },
              { ...options, commitTimeoutMs: limitMs },
            ),
          options,
        );
      },
    );
  }

  #limitsOf({ signal, timeoutMs }: StatementOptions): Limits {
    return { signal, left: timeLeft(this.#router.parts.pool.clock, timeoutMs) };
  }

  /** One statement on the primary, with the question where we are right behind it. */
  #onPrimary<T>(
    limits: Limits,
    run: (session: SqlSession, limits: StatementOptions) => Promise<T>,
  ): Promise<T> {
    return this.#refuseLost().then(() =>
      this.#router.onPrimaryPool({ ...limits, isRepeatable: true }, async (pool) => {
        const lease = await pool.database.lease(present(limits));
        let position: Promise<PositionRow | undefined> | undefined;
        try {
          return await this.#noting(
            pool,
            () => position,
            () => {
              const now = present(limits);
              const result = run(lease.session, now);
              position = askPosition(lease, now);
              return result;
            },
            limits,
          );
        } finally {
          await position;
          lease.release();
        }
      }),
    );
  }

  /** Runs `work` and takes over where it has brought the session. */
  async #noting<T>(
    pool: NodePool,
    position: () => Promise<PositionRow | undefined> | undefined,
    work: () => Promise<T>,
    { signal }: Pick<StatementOptions, "signal">,
  ): Promise<T> {
    try {
      const result = await work();
      const row = await position();
      if (row === undefined || !this.#advance(pool, row)) this.#isUnsure = true;
      else this.#isUnsure = false;
      return result;
    } catch (error) {
      await position();
      // What was aborted may have been done all the same.
      const isUnknown = error instanceof OutcomeUnknownError || signal?.aborted === true;
      if (isUnknown || error instanceof ReplicationUnconfirmedError) this.#isUnsure = true;
      throw error;
    }
  }

  async #readFromReplicas<Row>(
    text: string,
    values: readonly WireValue[],
    limits: Limits,
  ): Promise<readonly Row[] | undefined> {
    const { clock } = this.#router.parts.pool;
    const waitUntil = clock.monotonicNow() + this.#router.parts.settings.catchUpMs;
    const failed = new Set<NodePool>();
    for (let count = 0; count < REPLICA_TRY_MAX_COUNT; count += 1) {
      const pool = this.#router.pickReader((each) => !failed.has(each));
      if (pool === undefined) return undefined;
      try {
        const rows = await this.#readFrom<Row>(pool, text, values, { ...limits, waitUntil });
        if (rows !== undefined) return rows;
      } catch (error) {
        // A replica cancels a read that stands in the way of what it has to replay; another server need not.
        const passes = error instanceof SerializationFailureError || this.#router.noteFailure(error);
        if (!passes || error instanceof ReadOnlyDatabaseError) throw error;
      }
      failed.add(pool);
    }
    return undefined;
  }

  async #readFrom<Row>(
    pool: NodePool,
    text: string,
    values: readonly WireValue[],
    options: Limits & { readonly waitUntil: number },
  ): Promise<readonly Row[] | undefined> {
    const { clock } = this.#router.parts.pool;
    const { signal } = options;
    const lease = await pool.database.lease(present(options));
    try {
      for (;;) {
        const { rows, isBehind } = await this.#readOnce<Row>(pool, lease, text, values, present(options));
        if (!isBehind) return rows;
        // Asking again costs less than reading again.
        do {
          const leftMs = options.waitUntil - clock.monotonicNow();
          if (leftMs <= 0) return undefined;
          await clock.sleep(Math.min(CATCH_UP_POLL_MS, leftMs), { signal });
        } while (!this.#isReached(pool, await askPosition(lease, present(options))));
      }
    } finally {
      lease.release();
    }
  }

  /**
   * Three statements in one round trip: where the replica is, the read, and where it is then. The first tells whether
   * the read saw enough, the last what the session has seen at most.
   */
  async #readOnce<Row>(
    pool: NodePool,
    lease: Lease,
    text: string,
    values: readonly WireValue[],
    options: StatementOptions,
  ): Promise<Answer<Row>> {
    const before = this.#at === undefined ? undefined : askPosition(lease, options);
    const answer = lease.session.run<Row>(text, values, { ...options, repeatable: true });
    const after = askPosition(lease, options);
    // Whatever the answer is, all three are awaited: the connection is lent again afterwards.
    const [start, result, end] = await Promise.allSettled([before, answer, after]);
    if (start.status === "fulfilled" && before !== undefined && !this.#isReached(pool, start.value)) {
      return { rows: [], isBehind: true };
    }
    if (result.status === "rejected") throw result.reason;
    if (end.status === "rejected" || end.value === undefined || !this.#advance(pool, end.value)) {
      throw new ConnectError(
        pool.identity.name,
        "it was promoted or joined another timeline during the read",
      );
    }
    return { rows: result.value.rows, isBehind: false };
  }

  /** Whether a replica that answered `row` has everything that the session has seen. */
  #isReached(pool: NodePool, row: PositionRow | undefined): boolean {
    if (row === undefined || row.lsn === null || row.timeline !== pool.identity.timeline) return false;
    const at = this.#at;
    if (at === undefined) return true;
    return at.timeline === row.timeline && parseLsn(row.lsn) >= at.lsn;
  }

  /** False when the server is not the one that the pool was opened for any more. */
  #advance(pool: NodePool, row: PositionRow): boolean {
    const isReplica = pool.identity.role === "replica";
    if (row.lsn === null || row.timeline !== pool.identity.timeline || row.in_recovery !== isReplica)
      return false;
    const lsn = parseLsn(row.lsn);
    const durable = row.confirmed === null ? lsn : min(lsn, parseLsn(row.confirmed));
    const at = this.#at;
    if (at !== undefined && at.timeline > row.timeline) return false;
    const isSame = at !== undefined && at.timeline === row.timeline;
    this.#at = {
      systemId: pool.identity.systemId,
      timeline: row.timeline,
      lsn: isSame ? max(at.lsn, lsn) : lsn,
      durable: isSame ? max(at.durable, durable) : durable,
    };
    return true;
  }

  /** Follows a failover: the same place on the new timeline, where the new one has it. @throws PositionLostError */
  async #refuseLost(): Promise<void> {
    const at = this.#at;
    const { timeline } = this.#router.status;
    if (at === undefined || timeline === undefined || at.timeline >= timeline) return;
    const seen = { timeline: at.timeline, lsn: at.durable };
    let history = this.#router.parts.monitor.history;
    if (continuityOf(history, seen, timeline) === "unknown") {
      history = await this.#router.history();
      // Another call of the session was quicker and stands further on: that must not be undone.
      if (this.#at !== at) return this.#refuseLost();
    }
    const fork = history.find((each) => each.timeline === at.timeline)?.forkLsn;
    switch (continuityOf(history, seen, timeline)) {
      case "lost":
        throw new PositionLostError(formatPosition(seen), formatLsn(fork ?? 0n));
      case "kept":
        // Later promotions have left the log further on, so the first fork is the place that all of them share.
        this.#at = { ...at, timeline, lsn: min(at.lsn, fork ?? at.lsn), durable: at.durable };
        return;
      case "unknown":
        // Nobody can tell us where the old timeline ended; only the primary is asked until we stand somewhere again.
        this.#at = undefined;
        this.#isUnsure = true;
    }
  }
}

/** What is left now of what a call may take. */
const present = ({ signal, left }: Limits): StatementOptions => ({ signal, timeoutMs: left?.() });

/** The lease is given back once the position has been answered too. */
const holdUntil = (lease: Lease, position: () => Promise<unknown> | undefined): Lease => ({
  ...lease,
  release: () => {
    const pending = position();
    if (pending === undefined) lease.release();
    else void pending.then(() => lease.release());
  },
});

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
