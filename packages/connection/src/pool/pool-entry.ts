/** One resource of a pool and where it stands. */
export interface PoolEntry<T> {
  readonly id: number;
  readonly resource: T;
  /** Monotonic milliseconds; from here on it is not lent. */
  readonly expiresAt: number;
  /** Of the pool when it was opened; an older one is stale. */
  readonly generation: number;
  state: "idle" | "leased" | "resetting" | "gone";
  usesCount: number;
  idleSince: number;
  /** When it was last known to work. */
  checkedAt: number;
  isBroken: boolean;
}
