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
  freshUntil: number;
  /** When the shared store was asked; it was current then. */
  confirmedAt: number;
  /** SIEVE's mark: hit since the hand last came by. */
  isVisited: boolean;
}

/** Changes that are remembered for what is under way; what is under way longer is not kept as a copy. */
const CHANGES_KEPT = 256;

interface Change {
  readonly keys: readonly string[];
  readonly tags: readonly string[];
}

/**
 * Copies in this process, bounded by count and bytes: what was not hit goes first (SIEVE, Zhang et al., NSDI 2024).
 * What reads bring is kept only if no invalidation came between their question and their answer: `mark` tells where
 * the line of changes was, `isTouched` whether one of those since concerns a key.
 */
export class NearCache {
  readonly #entryMaxCount: number;
  readonly #bytesMax: number;
  readonly #entries = new Map<string, NearEntry>();
  readonly #keysOfTag = new Map<string, Set<string>>();
  readonly #changes: Change[] = [];
  #changeCount = 0;
  #clearedAt = 0;
  #hand: IterableIterator<NearEntry> | undefined;
  #bytes = 0;
  evictedCount = 0;

  constructor(options: { readonly entryMaxCount: number; readonly bytesMax: number }) {
    this.#entryMaxCount = options.entryMaxCount;
    this.#bytesMax = options.bytesMax;
  }

  /** Nothing is kept here. */
  get isOff(): boolean {
    return this.#entryMaxCount === 0;
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

  /** Where the line of changes is now. */
  get mark(): number {
    return this.#changeCount;
  }

  /** Whether an invalidation since `mark` concerns this key or one of these tags, or may do so. */
  isTouched(mark: number, key: string, tags: readonly string[]): boolean {
    if (this.#changeCount === mark) return false;
    if (this.#clearedAt > mark || this.#changeCount - mark > CHANGES_KEPT) return true;
    for (let index = mark; index < this.#changeCount; index += 1) {
      const change = this.#changes[index % CHANGES_KEPT];
      if (change === undefined || change.keys.includes(key)) return true;
      for (const tag of tags) if (change.tags.includes(tag)) return true;
    }
    return false;
  }

  invalidate(keys: readonly string[], tags: readonly string[]): void {
    this.#changes[this.#changeCount % CHANGES_KEPT] = { keys, tags };
    this.#changeCount += 1;
    for (const key of keys) this.remove(key);
    for (const tag of tags) {
      for (const key of [...(this.#keysOfTag.get(tag) ?? [])]) this.remove(key);
    }
  }

  clear(): void {
    this.#changeCount += 1;
    this.#clearedAt = this.#changeCount;
    this.#entries.clear();
    this.#keysOfTag.clear();
    this.#bytes = 0;
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

  #tagUp({ key, tags }: NearEntry): void {
    for (const tag of tags) {
      const keys = this.#keysOfTag.get(tag);
      if (keys === undefined) this.#keysOfTag.set(tag, new Set([key]));
      else keys.add(key);
    }
  }

  #tagDown({ key, tags }: NearEntry): void {
    for (const tag of tags) {
      const keys = this.#keysOfTag.get(tag);
      keys?.delete(key);
      if (keys?.size === 0) this.#keysOfTag.delete(tag);
    }
  }
}
