import { setMaxListeners } from "node:events";
import { type Clock, ClosedError, deferred, type Logger, type Random, TaskGroup } from "@holdfast/kernel";
import { PoolTimeoutError } from "../errors.ts";
import type { SessionCloseReason } from "../sql/database.ts";
import { outsideTransactions } from "../sql/transaction-scope.ts";
import { type WaitKind, WaitQueue } from "../sql/wait-queue.ts";
import { IdleConnections, reasonToClose } from "./idle-connections.ts";
import type { Pooled, PooledConnection } from "./pooled-connection.ts";

export interface PoolOptions<C extends PooledConnection> {
  /** Names the server in errors. */
  readonly server: string;
  readonly open: (signal: AbortSignal) => Promise<C>;
  readonly maxCount: number;
  readonly waitingMaxCount: number;
  readonly acquireTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly lifetimeMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

interface AcquireOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds to wait. Default: the pool's `acquireTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Most callers of a shared connection. With 4 most of the gain is there: 23 µs of processor time for a select instead
 * of 32, 16 at best; more would only make the unlucky wait longer behind a slow one.
 */
const SHARERS_MAX_COUNT = 8;

/** Lifetimes are spread over this part of the nominal one, so that connections opened together do not end together. */
const LIFETIME_SPREAD = 0.2;

/**
 * Lends connections, opening at most `maxCount`.
 *
 * The connection used last is lent first, so that a pool that was busy shrinks again. Callers that find none
 * wait in order of arrival, at most `waitingMaxCount` of them, each at most `acquireTimeoutMs`. A connection that
 * could not be opened fails the caller that waits longest at once: waiting on would hide that the server is gone.
 */
export class ConnectionPool<C extends PooledConnection> {
  readonly #options: PoolOptions<C>;
  readonly #waiting: WaitQueue<Pooled<C>>;
  readonly #tasks: TaskGroup;
  readonly #idle: IdleConnections<C>;
  readonly #lent = new Map<C, Pooled<C>>();
  readonly #closedCounts = new Map<SessionCloseReason, number>();
  readonly #drained = deferred<void>();
  /** Those that came back in need of cleaning up. */
  readonly #returning = new Set<Pooled<C>>();
  #openingCount = 0;
  #openedCount = 0;
  #acquireTimeoutCount = 0;
  #acquireWaitTotalMs = 0;
  #closing: Promise<void> | undefined;
  /** Closing has taken all connections there were: it knows of none that is opened later. */
  #isEmptied = false;

  constructor(options: PoolOptions<C>) {
    this.#options = options;
    this.#waiting = new WaitQueue({
      name: `the queue for connections to ${options.server}`,
      maxCount: options.waitingMaxCount,
      clock: options.clock,
    });
    this.#idle = new IdleConnections({
      clock: options.clock,
      idleTimeoutMs: options.idleTimeoutMs,
      discard: (pooled, reason) => this.#discardLater(pooled, reason),
    });
    this.#tasks = new TaskGroup({ logger: options.logger });
    // Each connection that is being opened listens to it, which is no leak.
    setMaxListeners(0, this.#tasks.signal);
  }

  get idleCount(): number {
    return this.#idle.count;
  }
  get busyCount(): number {
    return this.#lent.size + this.#returning.size;
  }
  get waitingCount(): number {
    return this.#waiting.size;
  }
  get openedCount(): number {
    return this.#openedCount;
  }
  get acquireTimeoutCount(): number {
    return this.#acquireTimeoutCount;
  }
  get acquireWaitTotalMs(): number {
    return this.#acquireWaitTotalMs;
  }
  closedCount(reason: SessionCloseReason): number {
    return this.#closedCounts.get(reason) ?? 0;
  }

  /**
   * A connection for one owner ("alone"), or for one statement that neither needs nor changes anything of the
   * session and does not wait for locks ("shared"): when all connections are lent, such a statement may be sent
   * behind others of its kind. Callers that wait for a connection of their own are not overtaken.
   *
   * @throws PoolTimeoutError, OverloadedError, ConnectError: retryable. AuthenticationError, ClosedError: not.
   * @throws signal.reason when aborted. Nothing is held in every case.
   */
  async acquire(options: AcquireOptions & { readonly kind?: WaitKind } = {}): Promise<C> {
    const { signal, kind = "alone" } = options;
    signal?.throwIfAborted();
    return this.acquireNow(kind) ?? (await this.#waitForOne(options, kind)).connection;
  }

  /**
   * As `acquire`, where nothing has to be waited for; undefined otherwise.
   * @throws ClosedError
   */
  acquireNow(kind: WaitKind): C | undefined {
    if (this.#closing !== undefined) throw this.#closedError();
    const mayShare = kind === "shared" && this.#waiting.size === 0;
    const free = this.#idle.take() ?? (mayShare ? this.#leastShared() : undefined);
    return free === undefined ? undefined : this.#lend(free, kind).connection;
  }

  /** Takes a connection back. Rolls back what its owner left open. */
  release(connection: C): void {
    const pooled = this.#lent.get(connection);
    if (pooled === undefined) return;
    pooled.userCount -= 1;
    if (pooled.userCount > 0) {
      this.#serveSharers();
      return;
    }
    this.#lent.delete(connection);
    if (!connection.isUnsettled && !connection.isInTransaction) {
      this.#takeBack(pooled);
      return;
    }
    this.#returning.add(pooled);
    this.#spawn("return a connection", async () => {
      try {
        await this.#cleanUp(connection);
      } finally {
        // Unless `close` has taken it away meanwhile.
        if (this.#returning.delete(pooled)) this.#takeBack(pooled);
      }
    });
  }

  /**
   * Takes no more callers, waits at most `graceMs` for those it has, then cuts what is left. Idempotent; a call with 0
   * ends the wait of one before.
   */
  close(graceMs: number): Promise<void> {
    if (this.#closing !== undefined && graceMs <= 0) this.#drained.resolve();
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const { clock } = this.#options;
    this.#idle.stop();
    this.#noteIfDrained();
    if (graceMs > 0) {
      const timer = clock.schedule(graceMs, () => this.#drained.resolve());
      await this.#drained.promise;
      timer.cancel();
    }
    this.#waiting.refuseAll(this.#closedError());
    this.#isEmptied = true;
    const connections = [...this.#idle.takeAll(), ...this.#lent.values(), ...this.#returning];
    this.#lent.clear();
    this.#returning.clear();
    await Promise.all(connections.map((pooled) => this.#discard(pooled, "closed")));
    await this.#tasks.stop(this.#closedError());
  }

  #noteIfDrained(): void {
    if (this.#lent.size + this.#returning.size + this.#waiting.size === 0) this.#drained.resolve();
  }

  #lend(pooled: Pooled<C>, kind: WaitKind): Pooled<C> {
    pooled.isShared = kind === "shared";
    pooled.userCount += 1;
    this.#lent.set(pooled.connection, pooled);
    return pooled;
  }

  /** The shared connection with the fewest callers that takes one more, once no more can be opened. */
  #leastShared(): Pooled<C> | undefined {
    if (this.#lent.size + this.#returning.size + this.#openingCount < this.#options.maxCount)
      return undefined;
    let least: Pooled<C> | undefined;
    for (const pooled of this.#lent.values()) {
      if (!pooled.isShared || pooled.userCount >= SHARERS_MAX_COUNT || !pooled.connection.acceptsMore)
        continue;
      // Its callers leave it one by one, and the last one's leaving ends it.
      if (reasonToClose(pooled, this.#options.clock) !== undefined) continue;
      if (least === undefined || pooled.userCount < least.userCount) least = pooled;
    }
    return least;
  }

  /** Lets those at the head of the queue in who would share a connection with room. */
  #serveSharers(): void {
    while (this.#waiting.firstKind === "shared") {
      const pooled = this.#leastShared();
      if (pooled === undefined) return;
      this.#waiting.hand(this.#lend(pooled, "shared"));
    }
  }

  async #waitForOne(options: AcquireOptions, kind: WaitKind): Promise<Pooled<C>> {
    const { clock, server, maxCount, acquireTimeoutMs } = this.#options;
    const timeoutMs = options.timeoutMs ?? acquireTimeoutMs;
    const startedAt = clock.monotonicNow();
    const turn = this.#waiting.wait({
      signal: options.signal,
      timeoutMs,
      kind,
      onTimeout: () => {
        this.#acquireTimeoutCount += 1;
        return new PoolTimeoutError(server, timeoutMs, maxCount);
      },
    });
    this.#openForWaiting();
    try {
      return await turn;
    } finally {
      this.#acquireWaitTotalMs += clock.monotonicNow() - startedAt;
      if (this.#closing !== undefined) this.#noteIfDrained();
    }
  }

  /** Opens one more connection if somebody waits for it and there may be one more. */
  #openForWaiting(): void {
    const count = this.#idle.count + this.#lent.size + this.#returning.size + this.#openingCount;
    if (this.#waiting.size <= this.#openingCount || count >= this.#options.maxCount) return;
    this.#openingCount += 1;
    this.#spawn("open a connection", async (signal) => {
      let connection: C;
      try {
        connection = await this.#options.open(signal);
      } catch (error) {
        this.#openingCount -= 1;
        this.#waiting.refuse(error);
        this.#openForWaiting();
        return;
      }
      this.#openingCount -= 1;
      const pooled = this.#admit(connection);
      if (signal.aborted || this.#isEmptied) await this.#discard(pooled, "closed");
      else this.#takeBack(pooled);
    });
  }

  #admit(connection: C): Pooled<C> {
    const { clock, lifetimeMs, random } = this.#options;
    this.#openedCount += 1;
    const now = clock.monotonicNow();
    const pooled: Pooled<C> = {
      connection,
      expiresAt: now + lifetimeMs * (1 - LIFETIME_SPREAD * random.next()),
      idleSince: now,
      userCount: 0,
      isShared: false,
    };
    this.#spawn("watch a connection", async () => {
      await connection.gone;
      if (this.#idle.remove(pooled)) await this.#discard(pooled, connection.closeReason ?? "broken");
    });
    return pooled;
  }

  async #cleanUp(connection: C): Promise<void> {
    await connection.settle();
    if (connection.closeReason !== undefined || !connection.isInTransaction) return;
    this.#options.logger.warn(
      { server: this.#options.server },
      "a connection came back with an open transaction; it was rolled back: use transaction() instead of BEGIN",
    );
    await connection.rollBack();
  }

  /** Hands a connection to whoever waits, or keeps it. */
  #takeBack(pooled: Pooled<C>): void {
    const reason = reasonToClose(pooled, this.#options.clock);
    if (reason !== undefined) {
      this.#discardLater(pooled, reason);
      this.#openForWaiting();
    } else if (this.#waiting.firstKind !== undefined) {
      this.#waiting.hand(this.#lend(pooled, this.#waiting.firstKind));
      this.#serveSharers();
    } else {
      this.#idle.add(pooled);
    }
    if (this.#closing !== undefined) this.#noteIfDrained();
  }

  #discardLater(pooled: Pooled<C>, reason: SessionCloseReason): void {
    this.#count(reason);
    this.#spawn("close a connection", () => pooled.connection.close(reason));
  }

  async #discard(pooled: Pooled<C>, reason: SessionCloseReason): Promise<void> {
    this.#count(reason);
    await pooled.connection.close(reason);
  }

  #count(reason: SessionCloseReason): void {
    this.#closedCounts.set(reason, this.closedCount(reason) + 1);
  }

  #spawn(name: string, body: (signal: AbortSignal) => Promise<void>): void {
    // The work of the pool belongs to no caller's transaction.
    outsideTransactions(() => this.#tasks.spawn(name, body));
  }

  #closedError(): ClosedError {
    return new ClosedError(`the pool of connections to ${this.#options.server}`);
  }
}
