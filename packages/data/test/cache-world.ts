import { type Random, randomInt, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { Cache } from "../src/cache/cache.ts";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";
import type { FeedEvent, SharedStore } from "../src/cache/shared-store.ts";
import type { CacheHistory } from "./cache-history.ts";
import { cacheOver } from "./cache-over-store.ts";

/** Chooses who goes on next. Everything that crosses a network waits here, so one seed is one interleaving. */
export class Scheduler {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly #waiting: (() => void)[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  step(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Lets one after the other go on, a virtual millisecond apart, until `actors` are done. */
  async run(actors: readonly Promise<unknown>[], stepMaxCount = 20_000): Promise<void> {
    let isDone = false;
    const all = Promise.all(actors).finally(() => {
      isDone = true;
    });
    all.catch(() => undefined);
    for (let count = 0; !isDone; count += 1) {
      if (count > stepMaxCount) throw new Error("the actors do not come to an end");
      const index = randomInt(this.random, Math.max(1, this.#waiting.length));
      const [next] = this.#waiting.splice(index, 1);
      next?.();
      await this.clock.advance(next === undefined ? 20 : 1);
    }
    await all;
  }
}

/** The path from one process to the shared store: late, out of order between calls, and messages may be lost. */
class SlowStore implements SharedStore {
  readonly #inner: SharedStore;
  readonly #scheduler: Scheduler;
  #listener: (event: FeedEvent) => void = () => undefined;
  /** Published, in order, not yet here. */
  #undelivered: { readonly event: FeedEvent; isLost: boolean }[] = [];

  constructor(inner: SharedStore, scheduler: Scheduler, lossRatio: number) {
    this.#inner = inner;
    this.#scheduler = scheduler;
    inner.listen((event) => {
      if (event.kind === "reset") {
        this.#undelivered = [];
        this.#listener(event);
        return;
      }
      const message = { event, isLost: scheduler.random.next() < lossRatio };
      this.#undelivered.push(message);
      if (!message.isLost) void this.#deliverLater(message);
    });
  }

  get positionWanted(): string {
    return this.#inner.positionWanted;
  }

  listen(listener: (event: FeedEvent) => void): void {
    this.#listener = listener;
  }

  read: SharedStore["read"] = (lookups) => this.#call(() => this.#inner.read(lookups));
  claim: SharedStore["claim"] = (lookup, options) => this.#call(() => this.#inner.claim(lookup, options));
  ticket: SharedStore["ticket"] = (lookup) => this.#call(() => this.#inner.ticket(lookup));
  fill: SharedStore["fill"] = (lookup, ticket, entry) =>
    this.#call(() => this.#inner.fill(lookup, ticket, entry));
  write: SharedStore["write"] = (lookup, ticket, entry, position) =>
    this.#call(() => this.#inner.write(lookup, ticket, entry, position));
  release: SharedStore["release"] = (lookup, ticket) => this.#call(() => this.#inner.release(lookup, ticket));
  invalidate: SharedStore["invalidate"] = (invalidation) =>
    this.#call(() => this.#inner.invalidate(invalidation));
  clear: SharedStore["clear"] = () => this.#call(() => this.#inner.clear());
  sync: SharedStore["sync"] = async (position) => {
    await this.#scheduler.step();
    await this.#inner.sync(position);
    // The answer holds everything up to now, in order, also what was lost on the way.
    const missed = this.#undelivered;
    this.#undelivered = [];
    await this.#scheduler.step();
    for (const { event } of missed) this.#listener(event);
  };
  close: SharedStore["close"] = () => this.#inner.close();

  async #call<T>(body: () => Promise<T>): Promise<T> {
    await this.#scheduler.step();
    const result = await body();
    await this.#scheduler.step();
    return result;
  }

  /** Messages come in order: one that follows a lost one is held back for the next sync, as a gap is. */
  async #deliverLater(message: { readonly event: FeedEvent; isLost: boolean }): Promise<void> {
    await this.#scheduler.step();
    while (this.#undelivered[0] !== undefined && !this.#undelivered[0].isLost) {
      const first = this.#undelivered.shift();
      if (first !== undefined) this.#listener(first.event);
      if (first === message) return;
    }
  }
}

/** Rows with versions: a write makes the next one. A row read inside of a slow query is of one instant. */
export class VersionedRows {
  readonly #versions = new Map<string, number>();
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  async read(key: string): Promise<number> {
    await this.#scheduler.step();
    const version = this.#versions.get(key) ?? 0;
    await this.#scheduler.step();
    return version;
  }

  /** The sum of several rows: what a list or a count depends on. */
  async readAll(keys: readonly string[]): Promise<number> {
    await this.#scheduler.step();
    const sum = keys.reduce((total, key) => total + (this.#versions.get(key) ?? 0), 0);
    await this.#scheduler.step();
    return sum;
  }

  async write(key: string): Promise<number> {
    await this.#scheduler.step();
    const version = (this.#versions.get(key) ?? 0) + 1;
    this.#versions.set(key, version);
    await this.#scheduler.step();
    return version;
  }
}

export interface WorldOptions {
  readonly seed: number;
  readonly processCount: number;
  readonly maxStalenessMs: number;
  readonly lossRatio: number;
}

/** Several processes with caches over one store, on one virtual clock. */
export class CacheWorld {
  readonly scheduler: Scheduler;
  readonly rows: VersionedRows;
  readonly caches: readonly Cache[];

  constructor({ seed, processCount, maxStalenessMs, lossRatio }: WorldOptions) {
    const scheduler = new Scheduler(seed);
    const { clock, random } = scheduler;
    const state = new MemoryState({ random });
    const options = { name: "world", maxStalenessMs, leaseMs: 40, ttlMs: 200 };
    this.scheduler = scheduler;
    this.rows = new VersionedRows(scheduler);
    this.caches = Array.from({ length: processCount }, () => {
      const store = new SlowStore(new MemoryStore({ state, clock, random }), scheduler, lossRatio);
      return cacheOver(store, options, { clock, random });
    });
  }

  get now(): number {
    return this.scheduler.clock.monotonicNow();
  }

  async close(): Promise<void> {
    await this.scheduler.run(this.caches.map((cache) => cache.close()));
  }
}

/** A reader that notes what it got, and when it asked. */
export const noteRead = async (
  history: CacheHistory,
  now: () => number,
  read: { readonly key: string; readonly maxStalenessMs: number; readonly ownVersion?: number },
  get: () => Promise<number>,
): Promise<void> => {
  const askedAt = now();
  const version = await get();
  history.reads.push({ ...read, askedAt, answeredAt: now(), version });
};
