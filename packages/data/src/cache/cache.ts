import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import {
  type Abortable,
  type Clock,
  ClosedError,
  Emitter,
  hasCode,
  InvalidInputError,
  type Logger,
  type Random,
  randomHex,
  TaskGroup,
} from "@holdfast/kernel";
import type { Transaction, TransactionOptions } from "../sql/database.ts";
import { Auditor } from "./auditor.ts";
import { CacheCounters, type CacheStats } from "./cache-counters.ts";
import { InvalidationPendingError } from "./cache-errors.ts";
import { type CacheKey, keyName } from "./cache-key.ts";
import {
  type CacheOptions,
  type CacheSettings,
  checkLifetimes,
  checkTags,
  type GetOptions,
} from "./cache-options.ts";
import { reportCache } from "./cache-reports.ts";
import { type CacheServer, describeServer } from "./cache-server.ts";
import { type CacheChanges, ChangeList, type PutOptions } from "./changes.ts";
import { encodeValue, readPayload, valueIn } from "./codec.ts";
import { type FlightContext, lifetime } from "./flight.ts";
import { NearCache } from "./near-cache.ts";
import { Outbox } from "./outbox.ts";
import { Partition } from "./partition.ts";
import { Publisher } from "./publisher.ts";
import { Reader } from "./reader.ts";
import { Relay } from "./relay.ts";
import type { SharedStore, Ticket } from "./shared-store.ts";
import { bucketOf } from "./stored-text.ts";
import { Upkeep } from "./upkeep.ts";

export interface CacheEvents {
  /** An audited hit differed from its source, and still did after the delay. */
  inconsistent: { readonly key: string };
  /** A change is committed, and the shared store could not be told in time. */
  invalidationPending: { readonly keyCount: number; readonly tagCount: number };
}

export interface CacheTransactionOptions extends TransactionOptions {
  /**
   * When the shared store could not be told in time: `resolve` (default) gives the result all the same, and the relay
   * tells it later; `reject` throws InvalidationPendingError, although the transaction is committed.
   */
  readonly onPending?: "resolve" | "reject";
}

export interface CacheParts {
  readonly options: CacheOptions;
  readonly settings: CacheSettings;
  readonly stores: readonly SharedStore[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Keys and tags of one call outside of transactions. */
export interface InvalidationRequest {
  readonly keys?: readonly CacheKey[];
  readonly tags?: readonly string[];
}

/**
 * Values from a database, or from anywhere, kept in this process and in Redis.
 *
 * A read never gives a value that is older than the newest invalidation acknowledged `maxStalenessMs` before the read
 * began (at 0: before the read began). A session sees its own writes. Expired entries may be served where a read says
 * so, invalidated ones never are. When Redis cannot be reached, reads go to their source.
 */
export class Cache implements AsyncDisposable {
  readonly events: Emitter<CacheEvents>;
  readonly #settings: CacheSettings;
  readonly #name: string;
  readonly #redis: CacheOptions["redis"];
  readonly #sql: CacheOptions["sql"];
  readonly #clock: Clock;
  readonly #counters = new CacheCounters();
  readonly #partitions: readonly Partition[];
  readonly #tasks: TaskGroup;
  readonly #context: FlightContext;
  readonly #reader: Reader;
  readonly #publisher: Publisher;
  readonly #outbox: Outbox | undefined;
  readonly #upkeep: Upkeep;
  readonly #logger: Logger;
  #lastTick = 0;
  #closed = false;

  constructor({ options, settings, stores, clock, random, logger }: CacheParts) {
    this.events = new Emitter((err, event) => logger.error({ err, event }, "a listener of the cache failed"));
    this.#settings = settings;
    this.#name = options.name;
    this.#redis = options.redis;
    this.#sql = options.sql;
    this.#clock = clock;
    this.#logger = logger;
    this.#tasks = new TaskGroup({ logger });
    // Every load and every wait listens to it; the number of loads is the number of their readers.
    setMaxListeners(0, this.#tasks.signal);
    const tick = (): number => this.#tick();
    const counters = this.#counters;
    const entryMaxCount = Math.ceil(settings.nearEntryMaxCount / stores.length);
    const bytesMax = Math.ceil(settings.nearBytesMax / stores.length);
    const partitions = stores.map((store) => {
      const near = new NearCache({ entryMaxCount, bytesMax });
      return new Partition({ store, near, counters, clock, tick });
    });
    const only = partitions.length === 1 ? partitions[0] : undefined;
    const partitionOf = (key: string): Partition =>
      only ?? (partitions[bucketOf(key, partitions.length)] as Partition);
    this.#partitions = partitions;
    this.#context = {
      settings,
      clock,
      random,
      counters,
      tick,
      signal: this.#tasks.signal,
      spawn: (name, body) => this.#tasks.spawn(name, body),
    };
    const { sql, schema = "holdfast", name, positions } = options;
    const outbox = sql === undefined ? undefined : new Outbox({ sql, schema, cache: name });
    this.#outbox = outbox;
    const relay =
      outbox === undefined
        ? undefined
        : new Relay({
            outbox,
            counters,
            invalidate: (invalidation) => this.#publisher.invalidate(invalidation),
            position: () => this.#publisher.position(),
          });
    const context = this.#context;
    this.#publisher = new Publisher({
      context,
      counters,
      partitions,
      partitionOf,
      positions,
      outbox,
      relay,
      logger,
    });
    const auditor =
      settings.auditRatio === 0
        ? undefined
        : new Auditor({
            context,
            counters,
            onInconsistent: (key) => {
              logger.error({ key }, "a cache entry differs from its source");
              this.events.emit("inconsistent", { key });
            },
          });
    this.#reader = new Reader({
      context,
      counters,
      partitionOf,
      isDistrusted: () => relay?.isOverflowing ?? false,
      onHit: auditor?.onHit,
    });
    const { redis } = options;
    const instance = `${hostname()}:${process.pid}:${randomHex(random, 8)}`;
    const report =
      redis === undefined
        ? undefined
        : () => reportCache(redis, { cache: name, instance, stats: this.stats() });
    this.#upkeep = new Upkeep({ context, partitions, positions, relay, report, logger });
  }

  /** Begins what runs beside: it keeps copies up to date and does what dead writers left. */
  start(): Promise<void> {
    return this.#upkeep.start();
  }

  /**
   * The value of `key`: a copy, the shared entry, or what `load` gives, which is then kept.
   *
   * One load at a time for a key: readers of this process share it, others wait for it at most `leaseMs`. Plain data
   * comes deeply frozen; dates, bigint, bytes and the like come as a copy. Instances of classes come as plain objects.
   *
   * @throws what `load` throws, to everybody who waits for it; nothing is kept.
   * @throws TimeoutError (retryable) when the load takes longer than `loadTimeoutMs`.
   * @throws InvalidInputError for a key, tag or value that cannot be kept.
   * @throws signal.reason when aborted; the load goes on for others.
   */
  get<T>(key: CacheKey, options: GetOptions<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new ClosedError("the cache"));
    return this.#reader.get(key, options);
  }

  /**
   * What the shared store has for these keys now, in their order; undefined for what is missing, expired or absent.
   * @throws CacheUnavailableError (retryable).
   */
  async peek(
    keys: readonly CacheKey[],
    options: { readonly tags?: readonly string[] } = {},
  ): Promise<readonly unknown[]> {
    this.#refuseClosed();
    const tags = checkTags(options.tags ?? []);
    return Promise.all(
      keys.map(async (key) => {
        const lookup = { key: keyName(key), tags };
        const [entry] = await this.#partitionOf(lookup.key).store.read([lookup]);
        return entry === undefined || entry.freshForMs <= 0 ? undefined : valueIn(readPayload(entry.payload));
      }),
    );
  }

  /**
   * Stores a value whose home is the cache: nothing else knows it. It replaces what was there, in the order in which
   * Redis gets the calls. For what lives in a database use `get`, or `put` of a transaction.
   * @throws CacheUnavailableError (retryable).
   */
  async put<T>(key: CacheKey, value: T, options: PutOptions = {}): Promise<void> {
    this.#refuseClosed();
    const lookup = { key: keyName(key), tags: checkTags(options.tags ?? []) };
    checkLifetimes(options);
    const encoded = encodeValue(value);
    const { freshMs, keepMs } = lifetime(this.#context, options, encoded);
    const partition = this.#partitionOf(lookup.key);
    for (let attempt = 1; ; attempt += 1) {
      const ticket = await partition.store.ticket(lookup);
      const entry = { payload: encoded.payload, freshMs, keepMs };
      const outcome = await partition.store.write(lookup, ticket, entry, undefined);
      partition.invalidateNear({ keys: [lookup.key], tags: [] });
      // Overtaken means that the other one came last, except for a neighbour in the same bucket.
      if (outcome === "stored" || attempt === JUDGE_MAX_COUNT) return;
    }
  }

  /**
   * Makes every reader see what the source has now. Call it after the commit; `transaction` does it by itself, and
   * also when this process dies in between.
   * @throws CacheUnavailableError (retryable) when the shared store could not be told.
   */
  async invalidate({ keys = [], tags = [] }: InvalidationRequest): Promise<void> {
    this.#refuseClosed();
    checkEach(tags);
    const position = await this.#publisher.position();
    await this.#publisher.invalidate({ keys: keys.map(keyName), tags, position });
  }

  /** Drops every entry, for example after a restore. @throws CacheUnavailableError (retryable). */
  async clear(): Promise<void> {
    this.#refuseClosed();
    await Promise.all(this.#partitions.map(({ store }) => store.clear()));
    for (const { near } of this.#partitions) near.clear();
  }

  /**
   * Runs `body` in a transaction of the database and publishes what it notes in `changes` once that is committed,
   * before this resolves. A rolled back transaction publishes nothing. A writer that dies in between leaves it to the
   * relay, which does it within some two `relayEveryMs`.
   *
   * @throws what the database's `transaction` throws.
   * @throws InvalidationPendingError with `onPending: "reject"`; the change is committed.
   */
  async transaction<T>(
    body: (tx: Transaction, changes: CacheChanges) => Promise<T>,
    options: CacheTransactionOptions = {},
  ): Promise<T> {
    this.#refuseClosed();
    if (this.#sql === undefined || this.#outbox === undefined) {
      throw new InvalidInputError("sql", undefined, "given when the cache is opened, for transactions");
    }
    const outbox = this.#outbox;
    let changes = new ChangeList();
    let tickets: ReadonlyMap<string, Ticket> = new Map();
    let outboxId: string | undefined;
    const { onPending = "resolve", ...rest } = options;
    let result: T;
    try {
      result = await this.#sql.transaction(async (tx) => {
        changes = new ChangeList();
        const value = await body(tx, changes);
        if (changes.isEmpty) return value;
        // Last, while the locks of the changed rows are held: that puts writers of one row in the order of commits.
        tickets = await this.#publisher.tickets(changes);
        outboxId = await outbox.add(tx, changes.invalidation());
        return value;
      }, rest);
    } catch (error) {
      // Perhaps it is committed: then this is early, and the relay does it again when the row can be seen.
      if (hasCode(error, "KERNEL_OUTCOME_UNKNOWN")) await this.#publishAnyway(changes);
      throw error;
    }
    if (changes.isEmpty) return result;
    const waitMs = this.#settings.invalidationWaitMs;
    if (await this.#publisher.publish({ changes, tickets, outboxId }, waitMs)) return result;
    this.#logger.warn({ waitMs }, "the shared cache could not be told of a change; the relay goes on");
    this.events.emit("invalidationPending", { keyCount: changes.keys.size, tagCount: changes.tags.size });
    if (onPending === "reject") throw new InvalidationPendingError(waitMs);
    return result;
  }

  /** The server behind the cache, with warnings. @throws RedisConnectError (retryable). */
  async server(): Promise<CacheServer> {
    this.#refuseClosed();
    if (this.#redis === undefined) return { kind: "memory", warnings: [] };
    return describeServer(this.#redis, `{${this.#name}.0}`, () => this.#clock.monotonicNow());
  }

  /** Creates the outbox where it is missing. Safe to call from many programs at once. */
  async migrate(options: Abortable = {}): Promise<void> {
    await this.#outbox?.migrate(options);
  }

  stats(): CacheStats {
    const { readCount, nearHitCount, sharedHitCount, staleHitCount } = this.#counters;
    const now = this.#clock.monotonicNow();
    const sum = (pick: (partition: Partition) => number): number =>
      this.#partitions.reduce((total, partition) => total + pick(partition), 0);
    const [worst] = this.#partitions
      .map(({ breaker }) => breaker.stats.state)
      .filter((state) => state !== "closed");
    return {
      ...this.#counters,
      nearEntryCount: sum(({ near }) => near.size),
      nearBytes: sum(({ near }) => near.bytes),
      nearEvictedCount: sum(({ near }) => near.evictedCount),
      isNearTrusted: this.#partitions.every(({ syncedAt }) => syncedAt > now - this.#settings.maxStalenessMs),
      breaker: worst ?? "closed",
      hitRate: readCount === 0 ? 0 : (nearHitCount + sharedHitCount + staleHitCount) / readCount,
    };
  }

  /** Aborts loads, ends what runs beside. Redis and the database stay open: they are the caller's. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#tasks.stop(new ClosedError("the cache"));
    await this.#publisher.close();
    await Promise.all(this.#partitions.map(({ store }) => store.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #publishAnyway(changes: ChangeList): Promise<void> {
    if (changes.isEmpty) return;
    await this.#publisher.invalidate(changes.invalidation()).catch(() => undefined);
  }

  #partitionOf(key: string): Partition {
    const { length } = this.#partitions;
    return this.#partitions[length === 1 ? 0 : bucketOf(key, length)] as Partition;
  }

  /** The monotonic clock, a little later each time, so that what follows another has a later instant. */
  #tick(): number {
    const now = this.#clock.monotonicNow();
    this.#lastTick = now > this.#lastTick ? now : this.#lastTick + TICK_MS;
    return this.#lastTick;
  }

  #refuseClosed(): void {
    if (this.#closed) throw new ClosedError("the cache");
  }
}

/** Far below what a clock tells apart, and large enough for a double with an uptime of years. */
const TICK_MS = 1e-5;
/** A value that another one overtook so often is not the last one. */
const JUDGE_MAX_COUNT = 3;

const checkEach = (tags: readonly string[]): void => {
  for (const tag of tags) checkTags([tag]);
};
