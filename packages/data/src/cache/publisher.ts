import { type Abortable, Batcher, type Logger } from "@holdfast/kernel";
import { exponentialBackoff } from "@holdfast/resilience";
import { askPositionSource } from "./ask-position-source.ts";
import type { CacheCounters } from "./cache-counters.ts";
import type { PositionSource } from "./cache-options.ts";
import type { ChangeList, Put } from "./changes.ts";
import { type FlightContext, lifetime } from "./flight.ts";
import type { Outbox } from "./outbox.ts";
import type { Partition } from "./partition.ts";
import type { Relay } from "./relay.ts";
import type { CachePosition, Invalidation, Ticket } from "./shared-store.ts";

const RETRY = exponentialBackoff({ baseMs: 20, capMs: 500 });
/** Rows that are done wait for this many others at most; a row that stays is done once more by the relay. */
const REMOVE_BATCH_MAX_COUNT = 1_000;

export interface CommittedChange {
  readonly changes: ChangeList;
  readonly tickets: ReadonlyMap<string, Ticket>;
  readonly outboxId: string | undefined;
}

export interface PublisherOptions {
  readonly context: FlightContext;
  readonly counters: CacheCounters;
  readonly partitions: readonly Partition[];
  readonly partitionOf: (key: string) => Partition;
  readonly positions: PositionSource | undefined;
  readonly outbox: Outbox | undefined;
  readonly relay: Pick<Relay, "leave"> | undefined;
  readonly logger: Logger;
}

/** Tells the shared store, and every process through it, what was changed. */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #removals: Batcher<string, undefined>;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#removals = new Batcher({
      name: "removal of cache outbox rows",
      run: async (ids) => {
        await options.outbox?.remove(ids);
        return ids.map(() => undefined);
      },
      batchMaxCount: REMOVE_BATCH_MAX_COUNT,
      pendingMaxCount: 100_000,
    });
  }

  /** Where the database is now; undefined when that is not known. */
  async position(options: Abortable = {}): Promise<CachePosition | undefined> {
    const { positions, context } = this.#options;
    if (positions === undefined) return undefined;
    try {
      return await askPositionSource(context.clock, positions, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      this.#options.logger.warn({ err: error }, "the position of the database is not known");
      return undefined;
    }
  }

  /** One attempt. @throws CacheUnavailableError. */
  async invalidate(invalidation: Invalidation): Promise<void> {
    const parts = this.#split(invalidation);
    for (const [partition, part] of parts) partition.invalidateNear(part);
    await Promise.all([...parts].map(([partition, part]) => partition.store.invalidate(part)));
    for (const [partition, part] of parts) partition.invalidateNear(part);
    this.#options.counters.invalidationCount += 1;
  }

  /** The right to store what will be committed. Without one the value is only invalidated. */
  async tickets(changes: ChangeList): Promise<ReadonlyMap<string, Ticket>> {
    const tickets = new Map<string, Ticket>();
    await Promise.all(
      [...changes.puts.values()].map(async ({ key, options }) => {
        const partition = this.#options.partitionOf(key);
        try {
          const ticket = await partition.ask(() => partition.store.ticket({ key, tags: options.tags ?? [] }));
          tickets.set(key, ticket);
        } catch {
          // Counted; the value is not stored then.
        }
      }),
    );
    return tickets;
  }

  /**
   * Publishes a committed change, again and again until the store has it or `waitMs` passes. Then false: from there
   * on it is the relay's, and until then this process reads the source of what was changed.
   */
  async publish(change: CommittedChange, waitMs: number): Promise<boolean> {
    const { context, counters, relay } = this.#options;
    const whole = { ...change.changes.invalidation(), position: await this.position() };
    const parts = this.#split(whole);
    for (const [partition, part] of parts) partition.hold(part);
    const giveUpAt = context.clock.monotonicNow() + waitMs;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#tell(change, whole);
        counters.invalidationCount += 1;
        for (const [partition, part] of parts) partition.told(part);
        if (change.outboxId !== undefined) this.#removals.add(change.outboxId).catch(() => undefined);
        return true;
      } catch {
        counters.storeErrorCount += 1;
      }
      const delayMs = RETRY.delayMs(attempt, undefined, context.random);
      if (context.clock.monotonicNow() + delayMs >= giveUpAt) break;
      await context.clock.sleep(delayMs, { signal: context.signal }).catch(() => undefined);
      if (context.signal.aborted) break;
    }
    counters.invalidationPendingCount += 1;
    relay?.leave(change.outboxId, () => {
      for (const [partition, part] of parts) partition.told(part);
    });
    return false;
  }

  async close(): Promise<void> {
    await this.#removals.close();
  }

  /** Values with a ticket are written, everything else invalidated. */
  async #tell({ changes, tickets }: CommittedChange, whole: Invalidation): Promise<void> {
    const keys = whole.keys.filter((key) => !tickets.has(key));
    const calls: Promise<unknown>[] = [];
    for (const [partition, part] of this.#split({ ...whole, keys })) {
      calls.push(partition.store.invalidate(part));
    }
    for (const [key, ticket] of tickets) {
      const put = changes.puts.get(key);
      if (put !== undefined) calls.push(this.#write(put, ticket, whole.position));
    }
    await Promise.all(calls);
  }

  async #write(put: Put, ticket: Ticket, position: CachePosition | undefined): Promise<void> {
    const { partitionOf, context, counters } = this.#options;
    const { freshMs, keepMs } = lifetime(context, put.options, put.encoded);
    const lookup = { key: put.key, tags: put.options.tags ?? [] };
    const entry = { payload: put.encoded.payload, freshMs, keepMs };
    const outcome = await partitionOf(put.key).store.write(lookup, ticket, entry, position);
    if (outcome === "stored") counters.writeStoredCount += 1;
    else counters.writeOvertakenCount += 1;
  }

  /** Keys go to their partition, tags to every one. */
  #split({ keys, tags, position }: Invalidation): ReadonlyMap<Partition, Invalidation> {
    const { partitions, partitionOf } = this.#options;
    const parts = new Map<Partition, Invalidation & { readonly keys: string[] }>();
    const partOf = (partition: Partition): { readonly keys: string[] } => {
      let part = parts.get(partition);
      if (part === undefined) {
        part = { keys: [], tags, position };
        parts.set(partition, part);
      }
      return part;
    };
    if (tags.length > 0) for (const partition of partitions) partOf(partition);
    for (const key of keys) partOf(partitionOf(key)).keys.push(key);
    return parts;
  }
}
