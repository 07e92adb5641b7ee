import type { Encoded } from "./codec.ts";

/** A copy in this process. */
export interface NearEntry {
  readonly key: string;
  readonly tags: readonly string[];
  readonly encoded: Encoded;
  /** Already settled, so a hit makes no promise of its own. Undefined when each reader gets its own copy. */
  readonly promise: Promise<unknown> | undefined;
  readonly bytes: number;
  /** On this process's monotonic clock. */
  readonly freshUntil: number;
  /** When the shared store was asked; it was current then. */
  readonly confirmedAt: number;
  /** SIEVE's mark: hit since the hand last came by. */
  isVisited: boolean;
}

/** Something under way that an invalidation must reach, as it reaches a copy. */
export interface Pending {
  readonly key: string;
  readonly tags: readonly string[];
  isVoid: boolean;
}

/**
 * Copies in this process, bounded by count and bytes: what was not hit goes first (SIEVE, Zhang et al., NSDI 2024).
 * Reads under way stand in the same index, so that an invalidation which comes before their answer voids them.
 */
export class NearCache {
  readonly #entryMaxCount: number;
  readonly #bytesMax: number;
  readonly #entries = new Map<string, NearEntry>();
  readonly #pending = new Map<string, Set<Pending>>();
  readonly #keysOfTag = new Map<string, Map<string, number>>();
  #hand: IterableIterator<NearEntry> | undefined;
  #bytes = 0;
  evictedCount = 0;

  constructor(options: { readonly entryMaxCount: number; readonly bytesMax: number }) {
    this.#entryMaxCount = options.entryMaxCount;
    this.#bytesMax = options.bytesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): NearEntry | undefined {
    return this.#entries.get(key);
  }

  put(entry: NearEntry): void {
    this.remove(entry.key);
    if (this.#entryMaxCount === 0 || entry.bytes > this.#bytesMax) return;
    while (this.#entries.size >= this.#entryMaxCount || this.#bytes + entry.bytes > this.#bytesMax) {
      this.#evictOne();
    }
    this.#entries.set(entry.key, entry);
    this.#bytes += entry.bytes;
    this.#tagUp(entry);
  }

  remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
    this.#tagDown(entry);
  }

  /** `pending` is voided by what comes until `leave`. */
  enter(pending: Pending): void {
    const others = this.#pending.get(pending.key);
    if (others === undefined) this.#pending.set(pending.key, new Set([pending]));
    else others.add(pending);
    this.#tagUp(pending);
  }

  leave(pending: Pending): void {
    const others = this.#pending.get(pending.key);
    if (others?.delete(pending) !== true) return;
    if (others.size === 0) this.#pending.delete(pending.key);
    this.#tagDown(pending);
  }

  invalidate(keys: readonly string[], tags: readonly string[]): void {
    for (const key of keys) this.#invalidateKey(key);
    for (const tag of tags) {
      for (const key of [...(this.#keysOfTag.get(tag)?.keys() ?? [])]) this.#invalidateKey(key, tag);
    }
  }

  clear(): void {
    for (const entry of this.#entries.values()) this.#tagDown(entry);
    this.#entries.clear();
    this.#bytes = 0;
    for (const others of this.#pending.values()) for (const pending of others) pending.isVoid = true;
  }

  #invalidateKey(key: string, tag?: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined && (tag === undefined || entry.tags.includes(tag))) this.remove(key);
    for (const pending of this.#pending.get(key) ?? []) {
      if (tag === undefined || pending.tags.includes(tag)) pending.isVoid = true;
    }
  }

  /** The hand goes on from where it stopped, over what is oldest first, and takes the first that was not hit. */
  #evictOne(): void {
    for (;;) {
      this.#hand ??= this.#entries.values();
      const next = this.#hand.next();
      if (next.done === true) {
        this.#hand = undefined;
        continue;
      }
      if (next.value.isVisited) {
        next.value.isVisited = false;
        continue;
      }
      this.remove(next.value.key);
      this.evictedCount += 1;
      return;
    }
  }

  #tagUp({ key, tags }: { readonly key: string; readonly tags: readonly string[] }): void {
    for (const tag of tags) {
      let keys = this.#keysOfTag.get(tag);
      if (keys === undefined) {
        keys = new Map();
        this.#keysOfTag.set(tag, keys);
      }
      keys.set(key, (keys.get(key) ?? 0) + 1);
    }
  }

  #tagDown({ key, tags }: { readonly key: string; readonly tags: readonly string[] }): void {
    for (const tag of tags) {
      const keys = this.#keysOfTag.get(tag);
      const count = (keys?.get(key) ?? 0) - 1;
      if (count > 0) keys?.set(key, count);
      else keys?.delete(key);
      if (keys?.size === 0) this.#keysOfTag.delete(tag);
    }
  }
}
