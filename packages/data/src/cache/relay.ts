import type { CacheCounters } from "./cache-counters.ts";
import type { Outbox } from "./outbox.ts";
import type { CachePosition, Invalidation } from "./shared-store.ts";

/** Changes of this process that are kept apart; with more, it reads the source of everything until all are told. */
const LEFT_MAX_COUNT = 10_000;

export interface RelayOptions {
  readonly outbox: Outbox;
  readonly counters: CacheCounters;
  /** One attempt; rejects when the store cannot be reached. */
  readonly invalidate: (invalidation: Invalidation) => Promise<void>;
  readonly position: () => Promise<CachePosition | undefined>;
}

/**
 * Does the invalidations that are in the outbox and that nobody did: their writer died, or could not reach the shared
 * store. Every process has one; two that do the same row do no harm.
 */
export class Relay {
  readonly #options: RelayOptions;
  readonly #left = new Map<string, () => void>();
  #isOverflowing = false;
  #overflowCount = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** More was left than is kept apart: nothing of the store may be trusted here until the outbox is empty. */
  get isOverflowing(): boolean {
    return this.#isOverflowing;
  }

  /** A change of this process that the store was not told; `onTold` is called once it was. */
  leave(outboxId: string | undefined, onTold: () => void): void {
    if (outboxId !== undefined && this.#left.size < LEFT_MAX_COUNT) {
      this.#left.set(outboxId, onTold);
      return;
    }
    this.#isOverflowing = true;
    this.#overflowCount += 1;
    onTold();
  }

  /**
   * One look. Takes rows of at least `ageMs`, in the order of their ids, until there are no more.
   * @throws what the database or the store throws; the rows stay.
   */
  async run(ageMs: number, signal: AbortSignal): Promise<void> {
    const { outbox, counters } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      const overflowCount = this.#overflowCount;
      const rows = await outbox.left(this.isOverflowing ? 0 : ageMs, { signal });
      if (rows.length === 0) {
        // What was left over during the question may be too young for it to have been found.
        if (overflowCount !== this.#overflowCount) continue;
        break;
      }
      // Asked after the rows were seen, so it is not before their commits.
      const position = await this.#options.position();
      await this.#options.invalidate({
        keys: [...new Set(rows.flatMap(({ keys }) => keys))],
        tags: [...new Set(rows.flatMap(({ tags }) => tags))],
        position,
      });
      const ids = rows.map(({ id }) => id);
      await outbox.remove(ids, { signal });
      counters.invalidationRelayedCount += rows.length;
      for (const id of ids) this.#told(id);
    }
    this.#isOverflowing = false;
    // What is not in the outbox any more was done by the relay of another process.
    if (this.#left.size > 0) {
      const still = new Set(await outbox.stillThere([...this.#left.keys()], { signal }));
      for (const id of [...this.#left.keys()]) if (!still.has(id)) this.#told(id);
    }
  }

  #told(id: string): void {
    const onTold = this.#left.get(id);
    this.#left.delete(id);
    onTold?.();
  }
}
