import {
  type Abortable,
  type Clock,
  ClosedError,
  childController,
  type Deferred,
  deferred,
  type Logger,
  type Random,
  TaskGroup,
  withTimeout,
} from "@holdfast/kernel";
import type { Json } from "../json.ts";
import type { Difference, ReplicaCache } from "./replica-cache.ts";
import type { StateChange, StateNews, States } from "./states.ts";

/** What handlers are told. */
export type StateUpdate =
  | {
      readonly kind: "set";
      readonly key: string;
      readonly value: Json;
      readonly metadata: Json;
      readonly revision: bigint;
      /** Written by this very instance. */
      readonly isLocal: boolean;
      /** Found by comparing with a fresh snapshot: changes in between were lost. */
      readonly isResync: boolean;
    }
  | {
      readonly kind: "deleted" | "expired";
      readonly key: string;
      readonly revision: bigint;
      readonly isLocal: boolean;
      readonly isResync: boolean;
    }
  /** Anything may have changed: the namespace is too large to compare. */
  | { readonly kind: "reset" };

export interface ReplicaFollowerParts {
  readonly states: States<never>;
  readonly namespace: string;
  readonly instance: string;
  readonly cache: ReplicaCache;
  readonly cacheMaxCount: number;
  readonly staleMaxMs: number;
  readonly pollMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const READ_LIMIT = 1000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2000;
/** Instances that see the same end do not all ask at the same moment. */
const EXPIRE_SPREAD_MS = 20;

/** Keeps the cache of a replica at the changes of its namespace, and tells the handlers. */
export class ReplicaFollower {
  readonly #parts: ReplicaFollowerParts;
  readonly #handlers = new Set<(update: StateUpdate) => unknown>();
  #loops: TaskGroup | undefined;
  #starting: Promise<void> | undefined;
  #unsubscribe: (() => void) | undefined;
  #wakeCount = 0;
  #idle: Deferred<void> | undefined;
  /** When the last answer that proved the cache right was asked for; undefined when it is not known to be right. */
  #confirmedAt: number | undefined;
  #nextEnd: number | undefined;
  #changes = 0;
  #snapshots = 0;
  #corrupt = 0;
  #doubtCount = 0;
  #handlerErrors = 0;
  /** Ends a start that is under way. */
  #stopStart: ((reason: Error) => void) | undefined;

  constructor(parts: ReplicaFollowerParts) {
    this.#parts = parts;
  }

  get isFollowing(): boolean {
    return this.#loops !== undefined;
  }

  get isFresh(): boolean {
    const { clock, staleMaxMs } = this.#parts;
    return this.#confirmedAt !== undefined && clock.monotonicNow() - this.#confirmedAt <= staleMaxMs;
  }

  get counts() {
    return {
      changes: this.#changes,
      snapshots: this.#snapshots,
      corrupt: this.#corrupt,
      handlerErrors: this.#handlerErrors,
    };
  }

  onUpdate(handler: (update: StateUpdate) => unknown): () => void {
    const own = (update: StateUpdate): unknown => handler(update);
    this.#handlers.add(own);
    return () => this.#handlers.delete(own);
  }

  start(options: Abortable): Promise<void> {
    if (this.#starting !== undefined) return this.#starting;
    const starting: Promise<void> = this.#start(options).catch((error: unknown) => {
      if (this.#starting === starting) this.#starting = undefined;
      throw error;
    });
    this.#starting = starting;
    return starting;
  }

  async stop(): Promise<void> {
    const loops = this.#loops;
    this.#stopStart?.(new ClosedError(`the replica of ${this.#parts.namespace}`));
    this.#starting = undefined;
    this.#loops = undefined;
    this.#confirmedAt = undefined;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    await loops?.stop();
  }

  /** The cache may be wrong: it is not used until it was compared with the store. */
  doubt(): void {
    this.#doubtCount += 1;
    this.#confirmedAt = undefined;
    this.#poke();
  }

  /** A value was seen that ends so soon. */
  sawEnd(remainingMs: number | undefined): void {
    if (remainingMs === undefined) return;
    const endsAt = this.#parts.clock.monotonicNow() + remainingMs;
    if (this.#nextEnd !== undefined && this.#nextEnd <= endsAt) return;
    this.#nextEnd = endsAt;
    this.#poke();
  }

  async #start(options: Abortable): Promise<void> {
    const { states, namespace, logger } = this.#parts;
    // An answer that comes after a stop must not be taken in: it may be older than what a next start has seen.
    const controller = childController(options.signal);
    const { signal } = controller;
    this.#stopStart = (reason) => controller.abort(reason);
    // Before the snapshot, so that no change falls between the two.
    const unsubscribe = states.onChange(
      namespace,
      (news) => this.#hear(news),
      () => this.doubt(),
    );
    this.#unsubscribe = unsubscribe;
    try {
      await this.#takeSnapshot(signal, { isFirst: this.#parts.cache.position === undefined });
      await this.#catchUp(signal);
      // It was stopped meanwhile: nobody would ever end what begins now.
      signal.throwIfAborted();
    } catch (error) {
      // After a stop these may be those of the next start.
      if (this.#unsubscribe === unsubscribe) this.#confirmedAt = undefined;
      unsubscribe();
      throw error;
    } finally {
      controller.dispose();
    }
    const loops = new TaskGroup({ logger });
    this.#loops = loops;
    loops.spawn(`replica of ${namespace}`, (signal) => this.#follow(signal));
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, logger, namespace } = this.#parts;
    let pauseMs = RETRY_MIN_MS;
    for (;;) {
      try {
        await this.#rest(signal);
        await this.#expireDue(signal);
        await this.#catchUp(signal);
        pauseMs = RETRY_MIN_MS;
      } catch (err) {
        if (signal.aborted) throw signal.reason;
        this.#confirmedAt = undefined;
        logger.warn({ err, namespace }, "the state is out of reach; the cache is not used until it is back");
        await clock.sleep(pauseMs, { signal });
        pauseMs = Math.min(RETRY_MAX_MS, pauseMs * 2);
        this.#poke();
      }
    }
  }

  /** Reads until nothing is newer; from then on the cache is known to be right as of when that was asked. */
  async #catchUp(signal: AbortSignal | undefined): Promise<void> {
    const { states, namespace, cache, clock } = this.#parts;
    for (;;) {
      const { position } = cache;
      if (position === undefined) {
        await this.#takeSnapshot(signal, { isFirst: true });
        continue;
      }
      this.#wakeCount = 0;
      const doubtCount = this.#doubtCount;
      const askedAt = clock.monotonicNow();
      const read = await this.#ask(signal, (inner) =>
        states.changes(namespace, { after: position, limit: READ_LIMIT, signal: inner }),
      );
      // Position 0 may be read on from in any epoch, but our snapshot was of another one.
      if (read.kind === "reset" || (read.head.epoch !== position.epoch && position.epoch !== 0n)) {
        this.#confirmedAt = undefined;
        await this.#takeSnapshot(signal, { isFirst: false });
        continue;
      }
      if (read.head.epoch !== position.epoch)
        cache.reset({ ...position, epoch: read.head.epoch }, [], askedAt);
      for (const change of read.changes) this.#apply(change, askedAt);
      // What was asked before a doubt came up does not settle it.
      if (read.changes.length < READ_LIMIT && doubtCount === this.#doubtCount) {
        this.#confirmedAt = askedAt;
        return;
      }
    }
  }

  async #takeSnapshot(
    signal: AbortSignal | undefined,
    { isFirst }: { readonly isFirst: boolean },
  ): Promise<void> {
    const { states, namespace, cache, cacheMaxCount, clock, logger } = this.#parts;
    const askedAt = clock.monotonicNow();
    const { head, entries } = await this.#ask(signal, (inner) =>
      states.snapshot(namespace, { maxCount: cacheMaxCount, signal: inner }),
    );
    this.#snapshots += 1;
    for (const entry of entries ?? []) {
      if (!("isCorrupt" in entry)) continue;
      this.#corrupt += 1;
      logger.error({ namespace, key: entry.key }, "a stored value cannot be read; write or delete it");
    }
    const differences = cache.reset(head, entries, askedAt);
    this.#nextEnd = cache.nextEnd();
    if (isFirst) return;
    if (entries === undefined) this.#tell({ kind: "reset" });
    for (const difference of differences) this.#tell(toUpdate(difference, head.offset));
  }

  #apply(change: StateChange, askedAt: number): void {
    const { cache, instance, namespace, logger } = this.#parts;
    this.#changes += 1;
    cache.apply(change, askedAt);
    if (change.kind === "corrupt") {
      this.#corrupt += 1;
      const { key, revision } = change;
      logger.error({ namespace, key, revision }, "a change of the state cannot be read; going on after it");
      return;
    }
    const { kind, key, revision, writer } = change;
    const isLocal = writer === instance;
    if (kind === "set") {
      const { value, metadata, ttlMs } = change;
      this.sawEnd(ttlMs);
      this.#tell({ kind, key, value, metadata, revision, isLocal, isResync: false });
    } else {
      this.#tell({ kind, key, revision, isLocal, isResync: false });
    }
  }

  #tell(update: StateUpdate): void {
    for (const handler of [...this.#handlers]) {
      try {
        const result = handler(update);
        if (result instanceof Promise) result.catch((err: unknown) => this.#handlerFailed(err));
      } catch (err) {
        this.#handlerFailed(err);
      }
    }
  }

  #handlerFailed(err: unknown): void {
    this.#handlerErrors += 1;
    this.#parts.logger.warn({ err, namespace: this.#parts.namespace }, "a handler of state updates threw");
  }

  /** Values whose time is over here are over in the store, too; asking it makes that a change for all to see. */
  async #expireDue(signal: AbortSignal): Promise<void> {
    const { states, namespace, clock, cache } = this.#parts;
    const isDue = this.#nextEnd !== undefined && this.#nextEnd <= clock.monotonicNow();
    // Of what is not cached the ends are not known, so these are asked for with every look by oneself.
    if (!isDue && (cache.isComplete || this.#wakeCount > 0)) return;
    const count = await this.#ask(signal, (inner) => states.expire(namespace, { signal: inner }));
    if (!isDue) return;
    const next = cache.nextEnd();
    // The store's clock may be behind ours by a little: what it has not ended yet is asked for again soon.
    const now = clock.monotonicNow();
    this.#nextEnd = next === undefined || next > now || count > 0 ? next : now + EXPIRE_SPREAD_MS;
  }

  /** Until something may have changed, something ends, or it is time to look by oneself. */
  async #rest(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#wakeCount > 0) return;
    const { clock, pollMs, random } = this.#parts;
    const toEndMs =
      this.#nextEnd === undefined
        ? pollMs
        : Math.max(1, this.#nextEnd - clock.monotonicNow()) + EXPIRE_SPREAD_MS * random.next();
    const idle = deferred<void>();
    this.#idle = idle;
    const timer = clock.schedule(Math.min(pollMs, toEndMs), () => idle.resolve(), { unref: true });
    const onAbort = (): void => idle.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await idle.promise;
    } finally {
      this.#idle = undefined;
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /**
   * Takes announced changes in at once when they follow right on what is here and nothing is being read; otherwise
   * the store is read, so a lost or reordered announcement costs a round trip and nothing else.
   */
  #hear(news: StateNews | undefined): void {
    const { position } = this.#parts.cache;
    const isNext =
      news !== undefined &&
      this.#idle !== undefined &&
      this.isFresh &&
      position?.epoch === news.after.epoch &&
      position.offset === news.after.offset;
    if (!isNext) {
      this.#poke();
      return;
    }
    const heardAt = this.#parts.clock.monotonicNow();
    for (const change of news.changes) this.#apply(change, heardAt);
  }

  #poke(): void {
    this.#wakeCount += 1;
    this.#idle?.resolve();
  }

  /** A store that does not answer in time counts as one that is away: the cache must not trust the silence. */
  #ask<T>(signal: AbortSignal | undefined, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, staleMaxMs, namespace } = this.#parts;
    const operation = `reading the state of ${namespace}`;
    return withTimeout(clock, { operation, timeoutMs: staleMaxMs, signal }, body);
  }
}

const toUpdate = (difference: Difference, head: bigint): StateUpdate => {
  if (difference.kind === "deleted") {
    return { kind: "deleted", key: difference.key, revision: head, isLocal: false, isResync: true };
  }
  const { key, value, metadata, revision } = difference.entry;
  return { kind: "set", key, value, metadata, revision, isLocal: false, isResync: true };
};
