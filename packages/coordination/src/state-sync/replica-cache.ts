import type { Json } from "../json.ts";
import type { Position } from "../position.ts";
import type { CorruptEntry, StateChange, StateEntry } from "./states.ts";

export interface CachedEntry {
  readonly key: string;
  readonly value: Json;
  readonly metadata: Json;
  readonly revision: bigint;
  /** By the monotonic clock; counted from when the value was asked for, so never later than the store's own end. */
  readonly endsAt: number | undefined;
}

/** What the snapshot changed, compared with what was cached before. */
export type Difference =
  | { readonly kind: "set"; readonly entry: CachedEntry }
  | { readonly kind: "deleted"; readonly key: string };

/**
 * The entries of one namespace as far as they are known here, at one position. Whatever is older than what is there
 * is ignored, deletes included, so writes of one's own and the changes that come back may arrive in any order.
 */
export class ReplicaCache {
  readonly #maxCount: number;
  /** In the order of use, the least recently used first. */
  #entries = new Map<string, CachedEntry>();
  /** Deleted by ourselves, and not yet come back as a change. */
  readonly #gone = new Map<string, bigint>();
  readonly #corrupt = new Set<string>();
  #position: Position | undefined;
  #isComplete = false;

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  /** Up to where the changes were applied; undefined before the first snapshot. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Whether what is not here is nowhere. */
  get isComplete(): boolean {
    return this.#isComplete && this.#corrupt.size === 0;
  }

  get size(): number {
    return this.#entries.size;
  }

  entries(): Iterable<CachedEntry> {
    return this.#entries.values();
  }

  get(key: string, now: number): CachedEntry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || (entry.endsAt !== undefined && entry.endsAt <= now)) return undefined;
    if (!this.#isComplete) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    }
    return entry;
  }

  /** Replaces everything by a snapshot, and says what is different, and what of our own writes nobody was told of yet. */
  reset(
    head: Position,
    entries: readonly (StateEntry | CorruptEntry)[] | undefined,
    askedAt: number,
  ): readonly Difference[] {
    const before = this.#entries;
    const isSameEpoch = this.#position?.epoch === head.epoch;
    const toldUpTo = this.#position?.offset ?? 0n;
    const untoldDeletes = [...this.#gone].filter(([, revision]) => revision > toldUpTo).map(([key]) => key);
    this.#entries = new Map();
    this.#gone.clear();
    this.#corrupt.clear();
    this.#position = head;
    this.#isComplete = entries !== undefined;
    const differences: Difference[] = [];
    for (const entry of entries ?? []) {
      if ("isCorrupt" in entry) {
        this.#corrupt.add(entry.key);
        continue;
      }
      const cached = toCached(entry, askedAt);
      this.#entries.set(entry.key, cached);
      const former = before.get(entry.key);
      const isSame =
        former !== undefined &&
        former.revision <= toldUpTo &&
        (isSameEpoch
          ? former.revision === cached.revision
          : JSON.stringify(former.value) === JSON.stringify(cached.value));
      if (!isSame) differences.push({ kind: "set", entry: cached });
    }
    for (const key of new Set([...before.keys(), ...untoldDeletes])) {
      if (!this.#entries.has(key)) differences.push({ kind: "deleted", key });
    }
    return differences;
  }

  /** Applies the next change of the stream. */
  apply(change: StateChange, askedAt: number): void {
    const epoch = this.#position?.epoch ?? 0n;
    this.#position = { epoch, offset: change.revision };
    if (change.kind === "corrupt") {
      if (change.key === undefined) return;
      this.#entries.delete(change.key);
      this.#corrupt.add(change.key);
      return;
    }
    const { key, revision } = change;
    const goneAt = this.#gone.get(key);
    if (goneAt !== undefined && goneAt <= revision) this.#gone.delete(key);
    if (revision <= this.#revisionOf(key)) return;
    this.#corrupt.delete(key);
    if (change.kind === "set") {
      // What is not cached stays so: caching it all would push out what is used.
      if (!this.#isComplete && !this.#entries.has(key)) return;
      this.#put({
        key,
        value: change.value,
        metadata: change.metadata,
        revision,
        endsAt: change.ttlMs === undefined ? undefined : askedAt + change.ttlMs,
      });
    } else {
      this.#entries.delete(key);
    }
  }

  /**
   * Takes in the result of a write of our own, before it comes back as a change. False when it belongs to another
   * epoch, so that the cache cannot be right any more.
   */
  write(position: Position, key: string, entry: StateEntry | undefined, askedAt: number): boolean {
    if (this.#position?.epoch !== position.epoch) return false;
    if (position.offset <= this.#position.offset || position.offset <= this.#revisionOf(key)) return true;
    this.#corrupt.delete(key);
    if (entry === undefined) {
      this.#entries.delete(key);
      this.#gone.set(key, position.offset);
    } else {
      this.#gone.delete(key);
      this.#put(toCached(entry, askedAt));
    }
    return true;
  }

  /** Caches what was read, unless a change of it may have overtaken the answer. */
  fill(head: Position, entry: StateEntry, askedAt: number): boolean {
    const position = this.#position;
    if (position === undefined || head.epoch !== position.epoch || head.offset < position.offset)
      return false;
    if (entry.revision < this.#revisionOf(entry.key)) return false;
    this.#put(toCached(entry, askedAt));
    return true;
  }

  /** The earliest end of what is cached. */
  nextEnd(): number | undefined {
    let next: number | undefined;
    for (const { endsAt } of this.#entries.values()) {
      if (endsAt !== undefined && (next === undefined || endsAt < next)) next = endsAt;
    }
    return next;
  }

  #revisionOf(key: string): bigint {
    return this.#entries.get(key)?.revision ?? this.#gone.get(key) ?? 0n;
  }

  #put(entry: CachedEntry): void {
    this.#entries.delete(entry.key);
    this.#entries.set(entry.key, entry);
    if (this.#entries.size <= this.#maxCount) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
    this.#isComplete = false;
  }
}

const toCached = (entry: StateEntry, askedAt: number): CachedEntry => ({
  key: entry.key,
  value: entry.value,
  metadata: entry.metadata,
  revision: entry.revision,
  endsAt: entry.remainingMs === undefined ? undefined : askedAt + entry.remainingMs,
});
