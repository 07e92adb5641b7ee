import {
  type Abortable,
  Batcher,
  type Clock,
  InvalidInputError,
  type Logger,
  newId,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  untilAborted,
} from "@holdfast/kernel";
import { StateConflictError, StateCorruptError, StateNotIntegerError } from "../errors.ts";
import { checkInteger, checkNumber } from "../input-checks.ts";
import type { Json } from "../json.ts";
import type { Position } from "../position.ts";
import { ReplicaCache } from "./replica-cache.ts";
import { ReplicaFollower, type StateUpdate } from "./replica-follower.ts";
import { stateStream } from "./state-checks.ts";
import type { StateChanges, StateEntry, States, StateWrite, WriteOutcome } from "./states.ts";
import { watchStates } from "./watch-states.ts";

export interface StateReplicaOptions {
  readonly states: States<never>;
  /** 1 to 128 characters of `[A-Za-z0-9_.:-]`. Default `state`. */
  readonly namespace?: string;
  /** Lifetime of every value written here that names no other, milliseconds. Default: no end. */
  readonly ttlMs?: number;
  /** Most entries kept here, 1 to 1_000_000. Of a larger namespace those that are used. Default 100_000. */
  readonly cacheMaxCount?: number;
  /** The cache answers only if it was known to be right within this time; else the store is asked. Default 5000. */
  readonly staleMaxMs?: number;
  /** How often to look by oneself, in case an announcement was missed. Default 2000. */
  readonly pollMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

export interface GetOptions<T extends Json | undefined> extends Abortable {
  /** Given when there is no such key. Default undefined. */
  readonly default?: T;
  /** False asks the store in any case. Default true. */
  readonly cache?: boolean;
}

export interface SetOptions extends Abortable {
  readonly metadata?: Json;
  /** Milliseconds until it ends. Default: that of the replica. */
  readonly ttlMs?: number;
  /** Only if the present entry has this revision. */
  readonly ifRevision?: bigint;
  /** Only if there is none: the first write wins. */
  readonly ifAbsent?: boolean;
}

/** reads = hits + misses. */
export interface StateReplicaStats {
  readonly cached: number;
  readonly isComplete: boolean;
  readonly isFresh: boolean;
  readonly reads: number;
  /** Answered here, "there is none" included. */
  readonly hits: number;
  /** Asked of the store. */
  readonly misses: number;
  readonly writes: number;
  readonly conflicts: number;
  /** Changes that came from the store, our own included. */
  readonly changes: number;
  readonly snapshots: number;
  readonly corrupt: number;
  readonly handlerErrors: number;
}

const WRITE_BATCH_MAX_COUNT = 1000;
const WRITES_PENDING_MAX_COUNT = 100_000;
const MERGE_PAUSE_MS = 2;

/**
 * The shared state of one namespace, with a copy of it here that follows the store.
 *
 * Guaranteed: what this instance wrote it reads; a value older than one seen before is never shown; the cache is
 * bypassed from the moment that a lost connection is noticed, and at the latest `staleMaxMs` after it was last known
 * to be right. All instances end at the same values. Writes of one instance are applied in their order, many in one
 * round trip when they come together. An outage is an error, never "there is none".
 */
export class StateReplica implements AsyncDisposable {
  readonly namespace: string;
  /** Tells this instance's changes from those of others. */
  readonly instance: string;
  readonly #options: Required<Omit<StateReplicaOptions, "ttlMs" | "namespace">>;
  readonly #ttlMs: number | undefined;
  readonly #cache: ReplicaCache;
  readonly #follower: ReplicaFollower;
  readonly #writes: Batcher<StateWrite, WriteOutcome>;
  #hits = 0;
  #misses = 0;
  #writeCount = 0;
  #conflicts = 0;

  constructor(options: StateReplicaOptions) {
    this.#options = {
      cacheMaxCount: 100_000,
      staleMaxMs: 5000,
      pollMs: 2000,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      ...options,
    };
    const { states, cacheMaxCount, staleMaxMs, pollMs, clock, random, logger } = this.#options;
    this.namespace = options.namespace ?? "state";
    stateStream(this.namespace);
    checkInteger("cacheMaxCount", cacheMaxCount, 1, 1_000_000);
    checkNumber("staleMaxMs", staleMaxMs, 1, 86_400_000);
    checkNumber("pollMs", pollMs, 1, 86_400_000);
    this.#ttlMs = options.ttlMs;
    this.instance = newId("replica", random);
    this.#cache = new ReplicaCache(cacheMaxCount);
    this.#follower = new ReplicaFollower({
      states,
      namespace: this.namespace,
      instance: this.instance,
      cache: this.#cache,
      cacheMaxCount,
      staleMaxMs,
      pollMs,
      clock,
      random,
      logger,
    });
    this.#writes = new Batcher({
      name: `writes to ${this.namespace}`,
      run: (writes) => this.#writeNow(writes),
      batchMaxCount: WRITE_BATCH_MAX_COUNT,
      pendingMaxCount: WRITES_PENDING_MAX_COUNT,
    });
  }

  /**
   * Loads the namespace and follows it. Resolves when the copy is complete and joined to the changes. Calling it
   * again changes nothing; a stopped replica may be started again.
   * @throws StoreUnavailableError when the store does not answer; nothing is followed then.
   * @throws ClosedError when it was stopped meanwhile; nothing is followed then.
   */
  start(options: Abortable = {}): Promise<void> {
    return this.#follower.start(options);
  }

  /** Ends following. Writes and reads go on, with the store. Idempotent. */
  stop(): Promise<void> {
    return this.#follower.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  get isFollowing(): boolean {
    return this.#follower.isFollowing;
  }

  /** Up to where the changes have been seen here; undefined before the start. */
  get position(): Position | undefined {
    return this.#cache.position;
  }

  /**
   * The value of a key: from the cache while that is known to be right, else from the store. Others are given the same
   * object: do not change it.
   * @throws StoreUnavailableError when the store has to be asked and does not answer.
   * @throws StateCorruptError when what is stored cannot be read.
   */
  async get<T extends Json | undefined = undefined>(
    key: string,
    options: GetOptions<T> = {},
  ): Promise<Json | T> {
    const entry = await this.entry(key, options);
    return entry === undefined ? (options.default as T) : entry.value;
  }

  /** As `get`, with revision and metadata; undefined when there is no such key. */
  async entry(
    key: string,
    options: Abortable & { readonly cache?: boolean } = {},
  ): Promise<Pick<StateEntry, "key" | "value" | "metadata" | "revision"> | undefined> {
    if (options.cache !== false && this.#follower.isFresh) {
      const cached = this.#cache.get(key, this.#options.clock.monotonicNow());
      if (cached !== undefined || this.#cache.isComplete) {
        this.#hits += 1;
        return cached;
      }
    }
    this.#misses += 1;
    const askedAt = this.#options.clock.monotonicNow();
    const { head, entries } = await this.#options.states.read(this.namespace, [key], options);
    const [entry] = entries;
    if (entry === undefined) return undefined;
    if ("isCorrupt" in entry) throw new StateCorruptError(this.namespace, key);
    if (this.#follower.isFresh) this.#cache.fill(head, entry, askedAt);
    return entry;
  }

  /**
   * Every key with its value: from the cache while that is complete and known to be right, else from the store.
   * What cannot be read is left out. At most `cacheMaxCount` entries.
   * @throws InvalidInputError when there are more.
   */
  async getAll(options: Abortable & { readonly cache?: boolean } = {}): Promise<ReadonlyMap<string, Json>> {
    const { clock, states, cacheMaxCount } = this.#options;
    if (options.cache !== false && this.#follower.isFresh && this.#cache.isComplete) {
      const now = clock.monotonicNow();
      const current = [...this.#cache.entries()].filter(({ endsAt }) => endsAt === undefined || endsAt > now);
      this.#hits += 1;
      return new Map(current.map(({ key, value }) => [key, value]));
    }
    this.#misses += 1;
    const { entries } = await states.snapshot(this.namespace, {
      maxCount: cacheMaxCount,
      signal: options.signal,
    });
    if (entries === undefined) {
      throw new InvalidInputError("namespace", this.namespace, `one of at most ${cacheMaxCount} keys`);
    }
    return new Map(entries.flatMap((entry) => ("isCorrupt" in entry ? [] : [[entry.key, entry.value]])));
  }

  /**
   * Writes a value and returns its revision. The last writer wins, unless a condition is given.
   * @throws StateConflictError when the condition does not hold, with what is there.
   * @throws StoreUnavailableError, OutcomeUnknownError when the answer was lost.
   */
  async set(key: string, value: Json, options: SetOptions = {}): Promise<bigint> {
    const { metadata, ifAbsent, signal, ttlMs = this.#ttlMs } = options;
    const ifRevision = ifAbsent === true ? 0n : options.ifRevision;
    const outcome = await this.#write({ kind: "set", key, value, metadata, ttlMs, ifRevision }, signal);
    if (outcome.kind === "written") return outcome.position.offset;
    throw this.#conflict(key, value, ifRevision, outcome);
  }

  /** Removes a key; false when there was none. @throws StateConflictError as for `set`. */
  async delete(key: string, options: Abortable & { readonly ifRevision?: bigint } = {}): Promise<boolean> {
    const { ifRevision, signal } = options;
    const outcome = await this.#write({ kind: "delete", key, ifRevision }, signal);
    if (outcome.kind === "conflict") throw this.#conflict(key, undefined, ifRevision, outcome);
    return outcome.kind === "written";
  }

  /**
   * Adds to an integer and returns the sum; no other increment is lost or counted twice.
   * @throws StateNotIntegerError when the value is none, or the sum not a safe one; nothing was changed.
   */
  async increment(
    key: string,
    by = 1,
    options: Abortable & { readonly ttlMs?: number } = {},
  ): Promise<number> {
    const ttlMs = options.ttlMs ?? this.#ttlMs;
    const outcome = await this.#write({ kind: "increment", key, by, ttlMs }, options.signal);
    if (outcome.kind === "written") return Number(outcome.entry?.value);
    throw new StateNotIntegerError(this.namespace, key);
  }

  /**
   * Replaces the value by what `merge` makes of it, again and again until nobody wrote in between. `merge` may be
   * called several times; undefined leaves the value as it is. Returns the value that is there then.
   * @throws StateConflictError after `attemptMaxCount` (default 100) tries.
   */
  async merge(
    key: string,
    merge: (value: Json | undefined) => Json | undefined,
    options: Abortable & { readonly ttlMs?: number; readonly attemptMaxCount?: number } = {},
  ): Promise<Json | undefined> {
    const { attemptMaxCount = 100, signal, ttlMs = this.#ttlMs } = options;
    const { clock, random } = this.#options;
    let entry = await this.entry(key, { signal });
    for (let attempt = 1; ; attempt += 1) {
      // A copy: what `merge` changes in place must not show here before it is stored.
      const value = merge(entry === undefined ? undefined : structuredClone(entry.value));
      if (value === undefined) return entry?.value;
      const ifRevision = entry?.revision ?? 0n;
      const { metadata } = entry ?? {};
      const outcome = await this.#write({ kind: "set", key, value, metadata, ttlMs, ifRevision }, signal);
      if (outcome.kind === "written") return value;
      if (attempt >= attemptMaxCount) throw this.#conflict(key, value, ifRevision, outcome);
      entry = outcome.kind === "conflict" ? outcome.entry : undefined;
      // The first tries go on at once; then many are at it, and a pause lets somebody through.
      if (attempt > 3) await clock.sleep(MERGE_PAUSE_MS * attempt * random.next(), { signal });
    }
  }

  /** Calls `handler` for each change, own ones included and marked, in the order of revisions, until the returned function is called. */
  onUpdate(handler: (update: StateUpdate) => unknown): () => void {
    return this.#follower.onUpdate(handler);
  }

  /**
   * The changes after a position, and then those to come, until the signal aborts (then it throws signal.reason).
   * Without `after` it begins with what happens from now on. A `reset` is yielded when changes are lost; it goes on
   * from its head.
   */
  watch(options: Abortable & { readonly after?: Position } = {}): AsyncIterable<StateChanges> {
    const { states, pollMs, clock } = this.#options;
    return watchStates(states, this.namespace, { ...options, pollMs, clock });
  }

  stats(): StateReplicaStats {
    return {
      cached: this.#cache.size,
      isComplete: this.#cache.isComplete,
      isFresh: this.#follower.isFresh,
      reads: this.#hits + this.#misses,
      hits: this.#hits,
      misses: this.#misses,
      writes: this.#writeCount,
      conflicts: this.#conflicts,
      ...this.#follower.counts,
    };
  }

  #write(write: StateWrite, signal: AbortSignal | undefined): Promise<WriteOutcome> {
    signal?.throwIfAborted();
    return untilAborted(this.#writes.add(write), signal);
  }

  async #writeNow(writes: readonly StateWrite[]): Promise<readonly (WriteOutcome | Error)[]> {
    const { states, clock } = this.#options;
    const askedAt = clock.monotonicNow();
    let outcomes: readonly (WriteOutcome | Error)[];
    try {
      outcomes = await states.write(this.namespace, writes, { writer: this.instance });
    } catch (error) {
      // One write that no store could take must not fail those that came with it by chance.
      if (writes.length === 1 || !isRefusal(error)) throw error;
      outcomes = [];
      for (const write of writes) {
        outcomes = [...outcomes, await this.#writeNow([write]).then(first, (reason: Error) => reason)];
      }
      return outcomes;
    }
    outcomes.forEach((outcome, index) => {
      this.#writeCount += 1;
      if (outcome instanceof Error || outcome.kind === "unchanged") return;
      if (outcome.kind === "conflict") this.#conflicts += 1;
      if (outcome.kind !== "written") return;
      const { key } = writes[index] as StateWrite;
      if (!this.#cache.write(outcome.position, key, outcome.entry, askedAt)) this.#follower.doubt();
      this.#follower.sawEnd(outcome.entry?.remainingMs);
    });
    return outcomes;
  }

  #conflict(
    key: string,
    wanted: Json | undefined,
    ifRevision: bigint | undefined,
    outcome: WriteOutcome,
  ): StateConflictError {
    const entry = outcome.kind === "conflict" ? outcome.entry : undefined;
    return new StateConflictError({ namespace: this.namespace, key, wanted, ifRevision, entry });
  }
}

const first = (outcomes: readonly (WriteOutcome | Error)[]): WriteOutcome | Error =>
  outcomes[0] as WriteOutcome | Error;

const isRefusal = (error: unknown): boolean =>
  error instanceof Error &&
  "code" in error &&
  (error.code === "KERNEL_INVALID_INPUT" || error.code === "COORDINATION_PAYLOAD_TOO_LARGE");
