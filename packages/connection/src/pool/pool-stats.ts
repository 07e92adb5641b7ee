/** Why a resource was let go. */
export type CloseReason =
  | "idle"
  | "lifetime"
  | "uses"
  | "invalid"
  | "broken"
  | "cleared"
  | "reset-failed"
  | "destroyed"
  | "closed";

/** A moment of a pool. Always `idle + leased + opening + resetting === total <= maxCount`. */
export interface PoolStats {
  readonly total: number;
  readonly maxCount: number;
  readonly minCount: number;
  readonly idle: number;
  /** Lent, or being validated for the one who asked. */
  readonly leased: number;
  readonly opening: number;
  /** Between two users: being reset, or validated while idle. */
  readonly resetting: number;
  /** How many could be acquired now without waiting for a release. */
  readonly available: number;
  readonly waiting: number;
  readonly openedCount: number;
  readonly openFailedCount: number;
  readonly acquiredCount: number;
  readonly releasedCount: number;
  readonly exhaustedCount: number;
  readonly validatedCount: number;
  readonly invalidCount: number;
  readonly leakedCount: number;
  /** Time that served acquires spent in the line, milliseconds. */
  readonly waitTotalMs: number;
  readonly waitMaxMs: number;
  readonly closedCounts: Readonly<Partial<Record<CloseReason, number>>>;
}

export interface PoolEvents {
  opened: { readonly id: number; readonly openMs: number };
  openFailed: { readonly error: unknown };
  closed: { readonly id: number; readonly reason: CloseReason; readonly error?: unknown };
  exhausted: { readonly waitedMs: number };
  /** A lease is held for longer than `leakAfterMs`; `acquiredAt` is the stack of its acquire. */
  leaked: { readonly id: number; readonly heldMs: number; readonly acquiredAt: string };
}
