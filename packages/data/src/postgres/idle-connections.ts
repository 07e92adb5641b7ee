import type { Clock, Timer } from "@holdfast/kernel";
import type { SessionCloseReason } from "../sql/database.ts";
import type { Pooled, PooledConnection } from "./pooled-connection.ts";

/**
 * The connections that nobody has, the one used last first. Gives up those that broke, outlived their time or
 * were idle too long.
 */
export class IdleConnections<C extends PooledConnection> {
  readonly #clock: Clock;
  readonly #idleTimeoutMs: number;
  readonly #discard: (pooled: Pooled<C>, reason: SessionCloseReason) => void;
  readonly #connections: Pooled<C>[] = [];
  #reaper: Timer | undefined;
  #isStopped = false;

  constructor(options: {
    readonly clock: Clock;
    readonly idleTimeoutMs: number;
    /** Closes what was given up. */
    readonly discard: (pooled: Pooled<C>, reason: SessionCloseReason) => void;
  }) {
    this.#clock = options.clock;
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.#discard = options.discard;
  }

  get count(): number {
    return this.#connections.length;
  }

  add(pooled: Pooled<C>): void {
    pooled.idleSince = this.#clock.monotonicNow();
    this.#connections.push(pooled);
    this.#scheduleReaper();
  }

  /** One that may be lent. */
  take(): Pooled<C> | undefined {
    for (let pooled = this.#connections.pop(); pooled !== undefined; pooled = this.#connections.pop()) {
      const reason = reasonToClose(pooled, this.#clock);
      if (reason === undefined) return pooled;
      this.#discard(pooled, reason);
    }
    return undefined;
  }

  /** False when it was not idle. */
  remove(pooled: Pooled<C>): boolean {
    const index = this.#connections.indexOf(pooled);
    if (index >= 0) this.#connections.splice(index, 1);
    return index >= 0;
  }

  takeAll(): Pooled<C>[] {
    return this.#connections.splice(0);
  }

  /** Gives up nothing more by itself. */
  stop(): void {
    this.#isStopped = true;
    this.#reaper?.cancel();
  }

  /** One timer for what is due first; none while no connection is idle. */
  #scheduleReaper(): void {
    const [oldest] = this.#connections;
    if (this.#reaper !== undefined || oldest === undefined || this.#isStopped) return;
    const dueAt = Math.min(
      oldest.idleSince + this.#idleTimeoutMs,
      ...this.#connections.map(({ expiresAt }) => expiresAt),
    );
    this.#reaper = this.#clock.schedule(
      dueAt - this.#clock.monotonicNow(),
      () => {
        this.#reaper = undefined;
        this.#reap();
        this.#scheduleReaper();
      },
      { unref: true },
    );
  }

  #reap(): void {
    const now = this.#clock.monotonicNow();
    for (const pooled of [...this.#connections]) {
      const isTooLong = now - pooled.idleSince >= this.#idleTimeoutMs;
      const reason = reasonToClose(pooled, this.#clock) ?? (isTooLong ? "idle" : undefined);
      if (reason !== undefined && this.remove(pooled)) this.#discard(pooled, reason);
    }
  }
}

/** Why a connection must not be lent any more; undefined when it may. */
export const reasonToClose = (
  pooled: Pooled<PooledConnection>,
  clock: Clock,
): SessionCloseReason | undefined => {
  if (pooled.connection.closeReason !== undefined) return pooled.connection.closeReason;
  return clock.monotonicNow() >= pooled.expiresAt ? "lifetime" : undefined;
};
