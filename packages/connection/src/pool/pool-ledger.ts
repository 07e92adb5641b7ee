import type { PoolEntry } from "./pool-entry.ts";
import type { CloseReason, PoolStats } from "./pool-stats.ts";

/**
 * Which resources there are, where each of them stands, and what a pool has counted from its start on. Every change of
 * a resource's state goes through here, so the numbers add up at every moment.
 */
export class PoolLedger<T> {
  openedCount = 0;
  openFailedCount = 0;
  acquiredCount = 0;
  releasedCount = 0;
  exhaustedCount = 0;
  validatedCount = 0;
  invalidCount = 0;
  leakedCount = 0;
  /** Being opened now; each becomes an entry or fails. */
  openingCount = 0;
  readonly #entries = new Set<PoolEntry<T>>();
  #idleCount = 0;
  #leasedCount = 0;
  #resettingCount = 0;
  readonly #closedCounts: Partial<Record<CloseReason, number>> = {};
  #waitTotalMs = 0;
  #waitMaxMs = 0;

  /** Resources that exist or are being opened. */
  get size(): number {
    return this.#entries.size + this.openingCount;
  }

  get leasedCount(): number {
    return this.#leasedCount;
  }

  get all(): readonly PoolEntry<T>[] {
    return [...this.#entries];
  }

  /** What was being opened is there: it becomes an entry that nobody holds yet. */
  opened(
    resource: T,
    facts: Pick<PoolEntry<T>, "expiresAt" | "generation" | "idleSince" | "isBroken">,
  ): PoolEntry<T> {
    this.openingCount -= 1;
    this.openedCount += 1;
    const entry: PoolEntry<T> = {
      ...facts,
      id: this.openedCount,
      resource,
      state: "resetting",
      usesCount: 0,
      checkedAt: facts.idleSince,
    };
    this.#resettingCount += 1;
    this.#entries.add(entry);
    return entry;
  }

  move(entry: PoolEntry<T>, state: "idle" | "leased" | "resetting"): void {
    this.#count(entry.state, -1);
    this.#count(state, 1);
    entry.state = state;
  }

  remove(entry: PoolEntry<T>, reason: CloseReason): void {
    this.#count(entry.state, -1);
    entry.state = "gone";
    this.#entries.delete(entry);
    this.#closedCounts[reason] = (this.#closedCounts[reason] ?? 0) + 1;
  }

  waited(waitedMs: number): void {
    this.#waitTotalMs += waitedMs;
    this.#waitMaxMs = Math.max(this.#waitMaxMs, waitedMs);
  }

  stats(now: { readonly maxCount: number; readonly minCount: number; readonly waiting: number }): PoolStats {
    const [idle, leased, resetting] = [this.#idleCount, this.#leasedCount, this.#resettingCount];
    return {
      ...now,
      total: this.size,
      idle,
      leased,
      opening: this.openingCount,
      resetting,
      available: Math.max(0, now.maxCount - leased - resetting - now.waiting),
      openedCount: this.openedCount,
      openFailedCount: this.openFailedCount,
      acquiredCount: this.acquiredCount,
      releasedCount: this.releasedCount,
      exhaustedCount: this.exhaustedCount,
      validatedCount: this.validatedCount,
      invalidCount: this.invalidCount,
      leakedCount: this.leakedCount,
      waitTotalMs: this.#waitTotalMs,
      waitMaxMs: this.#waitMaxMs,
      closedCounts: { ...this.#closedCounts },
    };
  }

  #count(state: PoolEntry<T>["state"], change: 1 | -1): void {
    if (state === "leased") this.#leasedCount += change;
    else if (state === "idle") this.#idleCount += change;
    else if (state === "resetting") this.#resettingCount += change;
  }
}
