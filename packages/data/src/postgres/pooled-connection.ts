import type { SessionCloseReason } from "../sql/database.ts";

/** What the pool needs to know about what it lends. */
export interface PooledConnection {
  readonly closeReason: SessionCloseReason | undefined;
  readonly isInTransaction: boolean;
  readonly isUnsettled: boolean;
  /** Whether a statement may be sent behind those that run. */
  readonly acceptsMore: boolean;
  /** Resolves when the other side, or anybody, ended it. */
  readonly gone: Promise<void>;
  settle(): Promise<void>;
  rollBack(): Promise<void>;
  close(reason: SessionCloseReason): Promise<void>;
}

/** A connection and what the pool remembers about it. */
export interface Pooled<C> {
  readonly connection: C;
  /** Monotonic milliseconds after which it is not lent any more. */
  readonly expiresAt: number;
  idleSince: number;
  /** How many callers have it. */
  userCount: number;
  /** Whether those callers share it. */
  isShared: boolean;
}
