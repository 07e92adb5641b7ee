import type { Clock } from "@holdfast/kernel";
import { CircuitBreaker } from "@holdfast/resilience";
import type { CacheCounters } from "./cache-counters.ts";
import type { Outcome } from "./flight.ts";
import type { NearCache } from "./near-cache.ts";
import type {
  CachePosition,
  FeedEvent,
  Invalidation,
  Lookup,
  SharedStore,
  StoredEntry,
} from "./shared-store.ts";

/** A load, or the wait for somebody else's, that several readers share. */
export interface SharedFlight {
  readonly promise: Promise<Outcome>;
  /** Where the line of changes was when it began: once its key is touched it is not joined any more. */
  readonly mark: number;
  /** What the first reader's session has written. */
  readonly covers: bigint;
}

/** So many failures in a row, and Redis is left alone for a second: each call then goes to the source at once. */
const FAILURE_MAX_COUNT = 5;
const BREAKER_OPEN_MS = 1_000;

/** Reads of one call; more go into the next, behind it on the same connection. */
const READ_BATCH_MAX_COUNT = 256;

interface Reads {
  readonly byKey: Map<string, number>;
  readonly lookups: Lookup[];
  readonly entries: Promise<readonly (StoredEntry | undefined)[]>;
}

/** This process's half of one partition: copies, what is under way, and how up to date they are. */
export class Partition {
  readonly store: SharedStore;
  readonly near: NearCache;
  readonly breaker: CircuitBreaker;
  readonly flights = new Map<string, SharedFlight>();
  readonly refreshing = new Set<string>();
  readonly #counters: CacheCounters;
  readonly #tick: () => number;
  readonly #waiters = new Map<string, Set<() => void>>();
  /** Committed here, but not yet told to the store: this process does not trust the store with them. */
  readonly #untold = new Set<Invalidation>();
  #reads: Reads | undefined;
  /**
   * Every invalidation that was acknowledged before this instant has been applied to `near`. Minus infinity after a
   * loss of the connection.
   */
  syncedAt = Number.NEGATIVE_INFINITY;

  constructor(options: {
    readonly store: SharedStore;
    readonly near: NearCache;
    readonly counters: CacheCounters;
    readonly clock: Clock;
    readonly tick: () => number;
  }) {
    this.store = options.store;
    this.near = options.near;
    this.#counters = options.counters;
    this.#tick = options.tick;
    this.breaker = new CircuitBreaker({
      name: "shared cache",
      trip: { mode: "consecutive", failureMaxCount: FAILURE_MAX_COUNT },
      openMs: BREAKER_OPEN_MS,
      clock: options.clock,
    });
    this.store.listen((event) => this.#onEvent(event));
  }

  /** What the store has. Reads of one turn of the event loop go out as one call. */
  read(lookup: Lookup): Promise<StoredEntry | undefined> {
    this.#reads ??= this.#beginReads();
    const { byKey, lookups, entries } = this.#reads;
    let index = byKey.get(lookup.key);
    if (index === undefined) {
      index = lookups.push(lookup) - 1;
      byKey.set(lookup.key, index);
      if (lookups.length === READ_BATCH_MAX_COUNT) this.#reads = undefined;
    }
    return entries.then((found) => found[index]);
  }

  #beginReads(): Reads {
    const lookups: Lookup[] = [];
    const reads: Reads = {
      byKey: new Map(),
      lookups,
      entries: Promise.resolve().then(() => {
        if (this.#reads === reads) this.#reads = undefined;
        return this.ask(() => this.store.read(lookups));
      }),
    };
    return reads;
  }

  /** A call of the store, behind the breaker. */
  async ask<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await this.breaker.execute(call);
    } catch (error) {
      this.#counters.storeErrorCount += 1;
      throw error;
    }
  }

  async sync(position?: { readonly at: CachePosition; readonly want: string }): Promise<void> {
    const askedAt = this.#tick();
    await this.store.sync(position);
    this.syncedAt = Math.max(this.syncedAt, askedAt);
  }

  /** Resolves when the key was filled or given up elsewhere; whoever waits also looks by himself. */
  onFilled(key: string, wake: () => void): () => void {
    let wakes = this.#waiters.get(key);
    if (wakes === undefined) {
      wakes = new Set();
      this.#waiters.set(key, wakes);
    }
    wakes.add(wake);
    return () => {
      wakes.delete(wake);
      if (wakes.size === 0 && this.#waiters.get(key) === wakes) this.#waiters.delete(key);
    };
  }

  /** Applies a change of this process to its own copies, before the store knows. */
  invalidateNear({ keys, tags }: Invalidation): void {
    this.near.invalidate(keys, tags);
  }

  hold(invalidation: Invalidation): void {
    this.#untold.add(invalidation);
    this.invalidateNear(invalidation);
  }

  told(invalidation: Invalidation): void {
    this.#untold.delete(invalidation);
    // What was put between: it was read before the store knew.
    this.invalidateNear(invalidation);
  }

  isUntold({ key, tags }: Lookup): boolean {
    if (this.#untold.size === 0) return false;
    for (const untold of this.#untold) {
      if (untold.keys.includes(key) || tags.some((tag) => untold.tags.includes(tag))) return true;
    }
    return false;
  }

  #onEvent(event: FeedEvent): void {
    switch (event.kind) {
      case "invalidated":
        this.near.invalidate(event.keys, event.tags);
        return;
      case "filled":
        for (const wake of [...(this.#waiters.get(event.key) ?? [])]) wake();
        return;
      case "reset":
        this.syncedAt = Number.NEGATIVE_INFINITY;
        this.near.clear();
    }
  }
}
