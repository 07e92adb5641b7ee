import { type Clock, type Random, randomHex } from "@holdfast/kernel";
import type {
  CachePosition,
  Claim,
  FeedEvent,
  Invalidation,
  Lookup,
  NewEntry,
  SharedStore,
  StoredEntry,
  StoreOutcome,
  Ticket,
} from "./shared-store.ts";

interface MemoryEntry {
  readonly tagStamps: string;
  readonly stamp: string;
  readonly freshUntil: number;
  readonly keepUntil: number;
  readonly payload: string;
}

interface Lease {
  readonly token: string;
  readonly endsAt: number;
  isAwaited: boolean;
}

/** What one process, or several simulated ones, share. */
export class MemoryState {
  readonly entries = new Map<string, MemoryEntry>();
  readonly leases = new Map<string, Lease>();
  readonly tags = new Map<string, number>();
  readonly stamps = new Map<string, number>();
  readonly floors = new Map<string, bigint>();
  readonly listeners = new Set<(event: FeedEvent) => void>();
  readonly entryMaxCount: number;
  generation = "";
  seq = 0;
  want = 1;
  epoch: bigint | undefined;
  base: bigint | undefined;

  constructor(options: { readonly random: Random; readonly entryMaxCount?: number }) {
    this.entryMaxCount = options.entryMaxCount ?? 100_000;
    this.begin(randomHex(options.random, 16));
  }

  /** A new generation: everything from before is gone. */
  begin(generation: string): void {
    this.generation = generation;
    this.entries.clear();
    this.leases.clear();
    this.tags.clear();
    this.floors.clear();
    this.stamps.clear();
    this.unjudge();
  }

  unjudge(): void {
    this.base = undefined;
    this.want += 1;
  }
}

/**
 * The shared part of a cache in this process's memory, by the same rules as in Redis: for a single process, and for
 * simulations of several. Bounded: the entry that was stored first goes first.
 */
export class MemoryStore implements SharedStore {
  readonly #state: MemoryState;
  readonly #clock: Clock;
  readonly #random: Random;
  #listener: (event: FeedEvent) => void = () => undefined;
  #want = "";

  constructor(options: { readonly state: MemoryState; readonly clock: Clock; readonly random: Random }) {
    this.#state = options.state;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  get positionWanted(): string {
    return this.#want;
  }

  listen(listener: (event: FeedEvent) => void): void {
    this.#state.listeners.delete(this.#listener);
    this.#listener = listener;
    this.#state.listeners.add(listener);
  }

  async read(lookups: readonly Lookup[]): Promise<readonly (StoredEntry | undefined)[]> {
    return lookups.map((lookup) => this.#read(lookup));
  }

  #read(lookup: Lookup): StoredEntry | undefined {
    const found = this.#state.entries.get(lookup.key);
    if (found === undefined || found.tagStamps !== this.#tagStamps(lookup.tags)) return undefined;
    const now = this.#clock.monotonicNow();
    if (now >= found.keepUntil) {
      this.#state.entries.delete(lookup.key);
      return undefined;
    }
    return { stamp: found.stamp, freshForMs: found.freshUntil - now, payload: found.payload };
  }

  async claim(
    lookup: Lookup,
    options: { readonly leaseMs: number; readonly knownStamp?: string },
  ): Promise<Claim> {
    const state = this.#state;
    const tagStamps = this.#makeTagStamps(lookup.tags);
    const entry = this.#read(lookup);
    if (entry !== undefined && entry.stamp !== options.knownStamp) return { kind: "present", entry };
    const now = this.#clock.monotonicNow();
    const lease = state.leases.get(lookup.key);
    if (lease !== undefined && lease.endsAt > now) {
      lease.isAwaited = true;
      return { kind: "held" };
    }
    state.seq += 1;
    const token = String(state.seq);
    state.leases.set(lookup.key, { token, endsAt: now + options.leaseMs, isAwaited: false });
    const floor = state.floors.get(lookup.key) ?? 0n;
    const { base, epoch } = state;
    return {
      kind: "granted",
      ticket: {
        generation: state.generation,
        token,
        tagStamps,
        floor:
          base === undefined || epoch === undefined
            ? undefined
            : { epoch, position: base > floor ? base : floor },
      },
    };
  }

  async ticket(lookup: Lookup): Promise<Ticket> {
    const tagStamps = this.#makeTagStamps(lookup.tags);
    this.#state.seq += 1;
    return {
      generation: this.#state.generation,
      token: String(this.#state.seq),
      tagStamps,
      floor: undefined,
    };
  }

  async fill(lookup: Lookup, ticket: Ticket, entry: NewEntry): Promise<StoreOutcome> {
    const state = this.#state;
    if (ticket.generation !== state.generation) return "generation";
    const lease = state.leases.get(lookup.key);
    const isOwn = lease?.token === ticket.token;
    const outcome = this.#judge(lookup, ticket, entry, isOwn);
    if (outcome === "stored") this.#put(lookup.key, ticket.tagStamps, entry);
    if (isOwn) state.leases.delete(lookup.key);
    if (lease?.isAwaited === true) this.#emit({ kind: "filled", key: lookup.key });
    return outcome;
  }

  async write(
    lookup: Lookup,
    ticket: Ticket,
    entry: NewEntry,
    position: CachePosition | undefined,
  ): Promise<"stored" | "overtaken"> {
    const state = this.#state;
    const isLast =
      ticket.generation === state.generation &&
      (state.stamps.get(lookup.key) ?? 0) < Number(ticket.token) &&
      this.#tagStamps(lookup.tags) === ticket.tagStamps;
    this.#apply({ keys: [lookup.key], tags: [], position });
    if (isLast) this.#put(lookup.key, ticket.tagStamps, entry);
    return isLast ? "stored" : "overtaken";
  }

  async release({ key }: Lookup, ticket: Ticket): Promise<void> {
    const lease = this.#state.leases.get(key);
    if (lease?.token !== ticket.token) return;
    this.#state.leases.delete(key);
    if (lease.isAwaited) this.#emit({ kind: "filled", key });
  }

  async invalidate(invalidation: Invalidation): Promise<void> {
    this.#apply(invalidation);
  }

  async clear(): Promise<void> {
    this.#begin();
  }

  async sync(position?: { readonly at: CachePosition; readonly want: string }): Promise<void> {
    const state = this.#state;
    if (position !== undefined) {
      const { at, want } = position;
      if (state.epoch === undefined || at.epoch > state.epoch) {
        const isLater = state.epoch !== undefined;
        state.epoch = at.epoch;
        state.unjudge();
        if (isLater) this.#begin();
      } else if (state.base === undefined && at.epoch === state.epoch && want === String(state.want)) {
        state.base = at.position;
      }
    }
    this.#want = state.base === undefined ? String(state.want) : "";
  }

  async close(): Promise<void> {
    this.#state.listeners.delete(this.#listener);
  }

  #judge(lookup: Lookup, ticket: Ticket, { observed }: NewEntry, isOwn: boolean): StoreOutcome {
    const state = this.#state;
    if (!isOwn && (state.stamps.get(lookup.key) ?? 0) > Number(ticket.token)) return "overtaken";
    if (this.#tagStamps(lookup.tags) !== ticket.tagStamps) return "overtaken";
    if (observed !== undefined) {
      if (state.base === undefined || state.epoch !== observed.epoch) return "behind";
      if (observed.position < state.base) return "behind";
      if (observed.position < (state.floors.get(lookup.key) ?? 0n)) return "behind";
    }
    return "stored";
  }

  #put(key: string, tagStamps: string, { payload, freshMs, keepMs }: NewEntry): void {
    const { entries, entryMaxCount } = this.#state;
    const now = this.#clock.monotonicNow();
    this.#state.seq += 1;
    entries.delete(key);
    entries.set(key, {
      tagStamps,
      stamp: String(this.#state.seq),
      freshUntil: now + freshMs,
      keepUntil: now + keepMs,
      payload,
    });
    if (entries.size <= entryMaxCount) return;
    const [first] = entries.keys();
    if (first !== undefined) entries.delete(first);
  }

  #apply({ keys, tags, position }: Invalidation): void {
    const state = this.#state;
    if (position !== undefined && (state.epoch === undefined || position.epoch > state.epoch)) {
      const isLater = state.epoch !== undefined;
      state.epoch = position.epoch;
      state.unjudge();
      if (isLater) this.#begin();
    } else if (position === undefined || position.epoch !== state.epoch) {
      state.unjudge();
    } else if (tags.length > 0 && state.base !== undefined && position.position > state.base) {
      state.base = position.position;
    }
    state.seq += 1;
    for (const key of keys) {
      state.entries.delete(key);
      state.leases.delete(key);
      state.stamps.set(key, state.seq);
      if (position !== undefined && position.position > (state.floors.get(key) ?? 0n)) {
        state.floors.set(key, position.position);
      }
    }
    for (const tag of tags) state.tags.delete(tag);
    this.#forgetOldStamps();
    this.#emit({ kind: "invalidated", keys, tags });
  }

  /** Stamps and floors of single keys are bounded by starting over. */
  #forgetOldStamps(): void {
    const { stamps, floors, tags, entryMaxCount } = this.#state;
    if (Math.max(stamps.size, floors.size, tags.size) > 4 * entryMaxCount) this.#begin();
  }

  #begin(): void {
    this.#state.begin(randomHex(this.#random, 16));
    this.#emit({ kind: "reset" });
  }

  #tagStamps(tags: readonly string[]): string {
    return tags.length === 0 ? "-" : tags.map((tag) => this.#state.tags.get(tag) ?? "").join(",");
  }

  #makeTagStamps(tags: readonly string[]): string {
    for (const tag of tags) {
      if (this.#state.tags.has(tag)) continue;
      this.#state.seq += 1;
      this.#state.tags.set(tag, this.#state.seq);
    }
    return this.#tagStamps(tags);
  }

  #emit(event: FeedEvent): void {
    for (const listener of [...this.#state.listeners]) listener(event);
  }
}
