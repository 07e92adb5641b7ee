import { checkCount, checkDurationMs } from "../option-checks.ts";

interface Entry<V> {
  readonly key: string;
  readonly value: V;
  usedAt: number;
  newer: Entry<V> | undefined;
  older: Entry<V> | undefined;
}

/**
 * One value per key, for a bounded number of keys: at the bound the key used longest ago is evicted, and keys
 * not used for `idleMs` are forgotten. There is no timer: each use also looks at the oldest keys.
 */
export class RecentKeys<V> {
  readonly #keyMaxCount: number;
  readonly #idleMs: number;
  readonly #create: (now: number) => V;
  readonly #entries = new Map<string, Entry<V>>();
  #newest: Entry<V> | undefined;
  #oldest: Entry<V> | undefined;
  #createdCount = 0;
  #evictedCount = 0;
  #forgottenCount = 0;

  constructor(options: {
    readonly keyMaxCount: number;
    readonly idleMs: number;
    readonly create: (now: number) => V;
  }) {
    this.#keyMaxCount = checkCount("keyMaxCount", options.keyMaxCount, { min: 1 });
    this.#idleMs = checkDurationMs("idleMs", options.idleMs);
    this.#create = options.create;
  }

  /** `createdCount = size + evictedCount + forgottenCount`. */
  get stats(): {
    readonly size: number;
    readonly createdCount: number;
    readonly evictedCount: number;
    readonly forgottenCount: number;
  } {
    return {
      size: this.#entries.size,
      createdCount: this.#createdCount,
      evictedCount: this.#evictedCount,
      forgottenCount: this.#forgottenCount,
    };
  }

  /** The value of `key`, made if the key is new, and marks it as used at `now`. */
  use(key: string, now: number): V {
    const found = this.#entries.get(key);
    if (found !== undefined && now - found.usedAt < this.#idleMs) {
      found.usedAt = now;
      if (this.#newest !== found) {
        this.#unlink(found);
        this.#linkNewest(found);
      }
      this.#forgetIdle(now);
      return found.value;
    }
    this.#forgetIdle(now);
    if (this.#entries.size >= this.#keyMaxCount && this.#oldest !== undefined) {
      this.#remove(this.#oldest);
      this.#evictedCount += 1;
    }
    const entry: Entry<V> = {
      key,
      value: this.#create(now),
      usedAt: now,
      newer: undefined,
      older: undefined,
    };
    this.#entries.set(key, entry);
    this.#linkNewest(entry);
    this.#createdCount += 1;
    return entry.value;
  }

  /** The value of `key` if it is still remembered, without marking it as used. */
  peek(key: string, now: number): V | undefined {
    this.#forgetIdle(now);
    return this.#entries.get(key)?.value;
  }

  #forgetIdle(now: number): void {
    for (let entry = this.#oldest; entry !== undefined; entry = this.#oldest) {
      if (now - entry.usedAt < this.#idleMs) return;
      this.#remove(entry);
      this.#forgottenCount += 1;
    }
  }

  #remove(entry: Entry<V>): void {
    this.#entries.delete(entry.key);
    this.#unlink(entry);
  }

  #linkNewest(entry: Entry<V>): void {
    entry.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.newer = entry;
    this.#newest = entry;
  }

  #unlink(entry: Entry<V>): void {
    if (entry.newer === undefined) this.#newest = entry.older;
    else entry.newer.older = entry.older;
    if (entry.older === undefined) this.#oldest = entry.newer;
    else entry.older.newer = entry.newer;
    entry.newer = undefined;
    entry.older = undefined;
  }
}
