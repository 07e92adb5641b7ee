import { deferred } from "@holdfast/kernel";

/** Stops whoever waits for it until it is opened, and tells when somebody came. */
export class Gate {
  readonly #arrived = deferred<void>();
  readonly #opened = deferred<void>();

  get arrived(): Promise<void> {
    return this.#arrived.promise;
  }

  async pass(): Promise<void> {
    this.#arrived.resolve();
    await this.#opened.promise;
  }

  open(): void {
    this.#opened.resolve();
  }
}

interface NaiveEntry {
  readonly value: unknown;
  readonly storedAt: number;
  readonly tags: readonly string[];
}

/** What the processes of a naive cache share: values, when a tag was last invalidated, and messages. */
export class NaiveShared {
  readonly entries = new Map<string, NaiveEntry>();
  readonly taggedAt = new Map<string, number>();
  readonly floors = new Map<string, bigint>();
  readonly listeners = new Set<(key: string) => void>();
}

/**
 * A cache as it is usually written: look, load, store; delete after a write; messages for copies; tags by clocks. It
 * is here so that each race can be seen to break it.
 */
export class NaiveCache {
  readonly #shared: NaiveShared;
  readonly #copies = new Map<string, unknown>();
  readonly #now: () => number;
  /** Messages to this process get lost. */
  isDeaf = false;

  constructor(shared: NaiveShared, now: () => number = () => 0) {
    this.#shared = shared;
    this.#now = now;
    shared.listeners.add((key) => {
      if (!this.isDeaf) this.#copies.delete(key);
    });
  }

  async get<T>(key: string, load: () => Promise<T>, tags: readonly string[] = []): Promise<T> {
    if (this.#copies.has(key)) return this.#copies.get(key) as T;
    const entry = this.#shared.entries.get(key);
    if (entry?.tags.every((tag) => (this.#shared.taggedAt.get(tag) ?? 0) <= entry.storedAt)) {
      this.#copies.set(key, entry.value);
      return entry.value as T;
    }
    const value = await load();
    this.store(key, value, tags);
    return value;
  }

  store(key: string, value: unknown, tags: readonly string[] = []): void {
    this.#shared.entries.set(key, { value, storedAt: this.#now(), tags });
    this.#copies.set(key, value);
  }

  /** With floors, as a guard that is only looked at when it is there. */
  storeFrom(key: string, value: unknown, position: bigint): void {
    const floor = this.#shared.floors.get(key);
    if (floor === undefined || position >= floor) this.store(key, value);
  }

  delete(key: string, position?: bigint): void {
    this.#shared.entries.delete(key);
    if (position !== undefined) this.#shared.floors.set(key, position);
    for (const listener of this.#shared.listeners) listener(key);
  }

  invalidateTag(tag: string): void {
    this.#shared.taggedAt.set(tag, this.#now());
  }

  /** This process's copies only, so that what is shared is looked at. */
  forgetCopies(): void {
    this.#copies.clear();
  }
}
