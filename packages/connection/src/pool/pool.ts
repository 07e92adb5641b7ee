import { Emitter, type Logger, silentLogger, type Timer, withTimeout } from "@holdfast/kernel";
import { PoolClosedError, PoolExhaustedError } from "../errors.ts";
import { type Deadline, DeadlineQueue } from "../link/deadline-queue.ts";
import { whole } from "../link/settings.ts";
import { AcquireLine } from "./acquire-line.ts";
import { Opener } from "./opener.ts";
import { PoolCounters } from "./pool-counters.ts";
import type { PoolEntry } from "./pool-entry.ts";
import { type LeaseOwner, PoolLease } from "./pool-lease.ts";
import { type AcquireOptions, type PoolOptions, type PoolSettings, poolSettingsOf } from "./pool-options.ts";
import type { CloseReason, PoolEvents, PoolStats } from "./pool-stats.ts";

const LIFETIME_SPREAD = 0.1;
/** How long `close` waits for leases when it is not told. */
const DRAIN_MS = 5_000;

/**
 * Lends resources that are dear to open: connections, mostly.
 *
 * Guaranteed: never more than `maxCount` exist; whoever waits longest is served first; the resource used last
 * is lent first, so that what is not needed ages out; a resource that is stale, too old or too long idle is
 * never lent; one that broke is replaced and nobody's capacity shrinks; statistics add up at every moment.
 *
 * At the bounds: a wait beyond `acquireTimeoutMs`, or a line beyond `waitingMaxCount`, is PoolExhaustedError. A
 * failed opening fails the one who has waited longest, with that error.
 */
export class Pool<T> implements AsyncDisposable {
  readonly events: Emitter<PoolEvents>;
  readonly #settings: PoolSettings<T>;
  readonly #logger: Logger;
  readonly #entries = new Set<PoolEntry<T>>();
  /** The one that was used last stands at the end. */
  readonly #idle: PoolEntry<T>[] = [];
  readonly #line: AcquireLine<PoolLease<T>>;
  readonly #opener: Opener<T>;
  readonly #owner: LeaseOwner<T>;
  readonly #deadlines: DeadlineQueue;
  readonly #closing = new AbortController();
  /** Openings, resets, validations and destructions under way. */
  readonly #background = new Set<Promise<void>>();
  readonly #counters = new PoolCounters();
  #minCount: number;
  #generation = 0;
  #openingCount = 0;
  #leasedCount = 0;
  #resettingCount = 0;
  /** Those of the resetting that are validated because someone waits. */
  #validatingCount = 0;
  /** The next look at the idle ones. */
  #housekeeping: Timer | undefined;
  #housekeepingAt = Number.POSITIVE_INFINITY;
  #onReturned: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @throws InvalidInputError naming the option that is wrong; nothing was opened. */
  constructor(options: PoolOptions<T>) {
    this.#settings = poolSettingsOf(options);
    this.#minCount = this.#settings.minCount;
    this.#logger = this.#settings.logger ?? silentLogger;
    this.#deadlines = new DeadlineQueue(options.clock);
    this.#line = new AcquireLine(options.clock, this.#deadlines, (waitedMs) => this.#exhausted(waitedMs));
    this.#opener = new Opener(this.#settings);
    this.#owner = {
      name: this.name,
      giveBack: (entry) => this.#giveBack(entry),
      discard: (entry, error) => this.#discard(entry, error),
    };
    this.events = new Emitter((error) => this.#logger.error({ err: error }, "a listener of a pool failed"));
    this.#grow();
  }

  get name(): string {
    return this.#settings.name;
  }

  /** Resources that exist or are being opened. */
  get size(): number {
    return this.#entries.size + this.#openingCount;
  }

  get stats(): PoolStats {
    const { maxCount } = this.#settings;
    const { closedCounts, ...counts } = this.#counters;
    return {
      total: this.size,
      maxCount,
      minCount: this.#minCount,
      idle: this.#idle.length,
      leased: this.#leasedCount,
      opening: this.#openingCount,
      resetting: this.#resettingCount,
      available: Math.max(0, maxCount - this.#leasedCount - this.#resettingCount - this.#line.size),
      waiting: this.#line.size,
      ...counts,
      closedCounts: { ...closedCounts },
    };
  }

  /**
   * Waits for a resource and lends it. An abort or a timeout leaves nothing behind.
   * @throws PoolExhaustedError at the limit of the wait, at once when the line is full or `maxCount` is 0.
   * @throws PoolClosedError; what `create` threw; signal.reason when aborted.
   */
  acquire(options: AcquireOptions = {}): Promise<PoolLease<T>> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#closing.signal.aborted) return Promise.reject(new PoolClosedError(this.name));
    if (this.#line.size === 0) {
      const now = this.#settings.clock.monotonicNow();
      const entry = this.#takeUsable(now);
      if (entry !== undefined) {
        if (!this.#needsCheck(entry, now)) return Promise.resolve(this.#lend(entry));
        this.#check(entry, { isAwaited: true });
      }
    }
    return this.#wait(options);
  }

  /** Acquires, runs `body`, and gives back: releases when it succeeds or fails; destroys only where `body` does. */
  async use<R>(body: (resource: T, lease: PoolLease<T>) => Promise<R>, options?: AcquireOptions): Promise<R> {
    const lease = await this.acquire(options);
    try {
      return await body(lease.resource, lease);
    } finally {
      lease[Symbol.dispose]();
    }
  }

  /**
   * Declares all present resources stale, for example after the server failed over: idle ones are let go now,
   * leased ones when they come back. With `error` also those who wait fail, with that error.
   */
  clear(options: { readonly error?: Error } = {}): void {
    this.#generation += 1;
    for (const entry of this.#idle.splice(0)) this.#retire(entry, "cleared");
    if (options.error !== undefined) this.#line.failAll(options.error);
    this.#grow();
  }

  /** Changes how many are opened in the background and kept; at most `maxCount`. */
  setMinCount(minCount: number): void {
    this.#minCount = whole("minCount", minCount, { min: 0, max: this.#settings.maxCount });
    this.#grow();
  }

  /** Looks again whether something may be opened: a permit may have become free. */
  wake(): void {
    this.#grow();
  }

  /** Lets the resource go that was idle longest, so that its permit can be used elsewhere; false when none is idle. */
  giveUpIdle(): boolean {
    const entry = this.#idle.shift();
    if (entry === undefined) return false;
    this.#retire(entry, "cleared");
    return true;
  }

  /**
   * Takes no more acquires, fails those who wait with PoolClosedError, waits up to `drainMs` (default 5_000)
   * for leases to come back, destroys everything. Idempotent. A lease that comes back later is destroyed.
   */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.drainMs ?? DRAIN_MS);
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(drainMs: number): Promise<void> {
    this.#closing.abort(new PoolClosedError(this.name));
    this.#housekeeping?.cancel();
    this.#opener.stop();
    this.#line.failAll(new PoolClosedError(this.name));
    for (const entry of this.#idle.splice(0)) this.#retire(entry, "closed");
    if (this.#leasedCount > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#settings.clock.schedule(drainMs, resolve);
        this.#onReturned = () => {
          if (this.#leasedCount > 0) return;
          timer.cancel();
          resolve();
        };
      });
      this.#onReturned = undefined;
      for (const entry of [...this.#entries]) this.#retire(entry, "closed");
    }
    while (this.#background.size > 0) await Promise.all(this.#background);
    this.#deadlines.clear();
  }

  #giveBack(entry: PoolEntry<T>): void {
    this.#counters.releasedCount += 1;
    if (entry.state === "gone") return;
    const now = this.#settings.clock.monotonicNow();
    const reason = this.#unusable(entry, now);
    if (reason !== undefined) {
      this.#retire(entry, reason);
      this.#grow();
      return;
    }
    let reset: Promise<void> | undefined;
    try {
      reset = this.#settings.reset?.(entry.resource);
    } catch (error) {
      reset = Promise.reject(error);
    }
    if (reset === undefined) this.#settle(entry, now);
    else this.#reset(entry, reset);
  }

  #discard(entry: PoolEntry<T>, error: unknown): void {
    this.#counters.releasedCount += 1;
    if (entry.state === "gone") return;
    this.#retire(entry, "destroyed", error);
    this.#grow();
  }

  #wait(options: AcquireOptions): Promise<PoolLease<T>> {
    const { acquireTimeoutMs, maxCount, waitingMaxCount } = this.#settings;
    if (maxCount === 0 || this.#line.size >= waitingMaxCount) return Promise.reject(this.#exhausted(0));
    const waiting = this.#line.join(options.timeoutMs ?? acquireTimeoutMs, options.signal);
    this.#grow();
    return waiting;
  }

  #exhausted(waitedMs: number): PoolExhaustedError {
    this.#counters.exhaustedCount += 1;
    this.events.emit("exhausted", { waitedMs });
    return new PoolExhaustedError(this.name, waitedMs, this.#settings.maxCount);
  }

  #lend(entry: PoolEntry<T>): PoolLease<T> {
    this.#move(entry, "leased");
    entry.usesCount += 1;
    this.#counters.acquiredCount += 1;
    const { leakAfterMs } = this.#settings;
    return new PoolLease(
      this.#owner,
      entry,
      leakAfterMs === undefined ? undefined : this.#watch(entry, leakAfterMs),
    );
  }

  #watch(entry: PoolEntry<T>, leakAfterMs: number): Deadline {
    const acquiredAt = new Error("acquired here").stack ?? "";
    const onDeadline = (): void => {
      this.#counters.leakedCount += 1;
      this.#logger.warn(
        { pool: this.name, id: entry.id, heldMs: leakAfterMs, acquiredAt },
        "a lease is held too long",
      );
      this.events.emit("leaked", { id: entry.id, heldMs: leakAfterMs, acquiredAt });
    };
    return this.#deadlines.add(leakAfterMs, { onDeadline });
  }

  /** A resource that nobody holds goes to whoever waits longest, or to the idle ones. */
  #settle(entry: PoolEntry<T>, now: number = this.#settings.clock.monotonicNow()): void {
    const waiter = this.#line.next();
    if (waiter !== undefined) {
      this.#counters.waited(now - waiter.since);
      waiter.resolve(this.#lend(entry));
      return;
    }
    this.#move(entry, "idle");
    entry.idleSince = now;
    this.#idle.push(entry);
    this.#planHousekeeping(this.#dueAt(entry));
  }

  /** After a check that nobody waited for: it stays as old among the idle ones as it was. */
  #restoreIdle(entry: PoolEntry<T>): void {
    this.#move(entry, "idle");
    const younger = this.#idle.findIndex(({ idleSince }) => idleSince > entry.idleSince);
    this.#idle.splice(younger < 0 ? this.#idle.length : younger, 0, entry);
    this.#planHousekeeping(this.#dueAt(entry));
  }

  /** Why a resource must not be lent, if so. */
  #unusable(entry: PoolEntry<T>, now: number): CloseReason | undefined {
    if (this.#closing.signal.aborted) return "closed";
    if (entry.isBroken) return "broken";
    if (entry.generation !== this.#generation) return "cleared";
    if (now >= entry.expiresAt) return "lifetime";
    if (entry.usesCount >= this.#settings.usesMaxCount) return "uses";
    if (entry.state === "idle" && now - entry.idleSince >= this.#settings.idleTimeoutMs) return "idle";
    return undefined;
  }

  #takeUsable(now: number): PoolEntry<T> | undefined {
    for (let entry = this.#idle.pop(); entry !== undefined; entry = this.#idle.pop()) {
      const reason = this.#unusable(entry, now);
      if (reason === undefined) return entry;
      this.#retire(entry, reason);
    }
    return undefined;
  }

  #needsCheck(entry: PoolEntry<T>, now: number): boolean {
    const { validate, validateAfterMs } = this.#settings;
    return (
      validate !== undefined &&
      now - entry.checkedAt > validateAfterMs &&
      now - entry.idleSince > validateAfterMs
    );
  }

  /** Opens as many as are waited for, or missing below the minimum, within both bounds. */
  #grow(): void {
    if (this.#closing.signal.aborted) return;
    const { maxCount, openingMaxCount } = this.#settings;
    while (this.#openingCount < openingMaxCount && this.size < maxCount) {
      const isWaitedFor = this.#openingCount + this.#validatingCount < this.#line.size;
      const isMissing = this.size < this.#minCount && !this.#opener.isResting;
      if (!isWaitedFor && !isMissing) return;
      if (this.#settings.permits?.take() === false) return;
      this.#openingCount += 1;
      this.#inBackground(this.#open());
    }
  }

  async #open(): Promise<void> {
    const { clock, lifetimeMs, random } = this.#settings;
    const startedAt = clock.monotonicNow();
    const generation = this.#generation;
    let entry: PoolEntry<T> | undefined;
    let isBroken = false;
    const onBroken = (error?: Error): void => {
      isBroken = true;
      if (entry !== undefined) this.#onBroken(entry, error);
    };
    try {
      const onLate = (resource: T): void => this.#inBackground(this.#destroy(resource));
      const resource = await this.#opener.open(this.#closing.signal, onBroken, onLate);
      const now = clock.monotonicNow();
      this.#counters.openedCount += 1;
      this.#openingCount -= 1;
      this.#resettingCount += 1;
      entry = {
        id: this.#counters.openedCount,
        resource,
        expiresAt: now + lifetimeMs * (1 - random.next() * LIFETIME_SPREAD),
        generation,
        state: "resetting",
        usesCount: 0,
        idleSince: now,
        checkedAt: now,
        isBroken,
      };
      this.#entries.add(entry);
      this.events.emit("opened", { id: entry.id, openMs: now - startedAt });
      this.#settleOrRetire(entry);
    } catch (error) {
      this.#openingCount -= 1;
      this.#settings.permits?.give();
      if (this.#closing.signal.aborted) return;
      this.#counters.openFailedCount += 1;
      this.#logger.warn({ pool: this.name, err: error }, "a connection could not be opened");
      this.events.emit("openFailed", { error });
      this.#line.fail(error);
      // Nobody waits for the minimum, so it is left alone for a while.
      this.#opener.rest(() => this.#grow());
    }
    this.#grow();
  }

  #onBroken(entry: PoolEntry<T>, error: Error | undefined): void {
    entry.isBroken = true;
    if (entry.state !== "idle") return;
    this.#idle.splice(this.#idle.indexOf(entry), 1);
    this.#retire(entry, "broken", error);
    this.#grow();
  }

  #reset(entry: PoolEntry<T>, reset: Promise<void>): void {
    const { clock, resetTimeoutMs } = this.#settings;
    this.#move(entry, "resetting");
    const operation = `resetting connection ${entry.id} of ${this.name}`;
    const done = withTimeout(clock, { operation, timeoutMs: resetTimeoutMs }, () => reset).then(
      () => this.#settleOrRetire(entry),
      (error: unknown) => this.#retire(entry, "reset-failed", error),
    );
    this.#inBackground(done.then(() => this.#grow()));
  }

  /** Validates an idle resource that was taken out of the idle ones. */
  #check(entry: PoolEntry<T>, { isAwaited }: { readonly isAwaited: boolean }): void {
    const { clock, validate, validateTimeoutMs } = this.#settings;
    this.#move(entry, "resetting");
    if (isAwaited) this.#validatingCount += 1;
    this.#counters.validatedCount += 1;
    const operation = `validating connection ${entry.id} of ${this.name}`;
    const check = async (): Promise<void> => {
      let failure: unknown;
      let isValid = false;
      try {
        isValid = await withTimeout(clock, { operation, timeoutMs: validateTimeoutMs }, async () =>
          validate === undefined ? true : validate(entry.resource),
        );
      } catch (error) {
        failure = error;
      }
      if (isAwaited) this.#validatingCount -= 1;
      if (isValid) {
        entry.checkedAt = clock.monotonicNow();
        if (!isAwaited && this.#line.size === 0 && this.#unusable(entry, entry.checkedAt) === undefined) {
          this.#restoreIdle(entry);
        } else this.#settleOrRetire(entry);
      } else {
        this.#counters.invalidCount += 1;
        this.#retire(entry, "invalid", failure);
        this.#lendIdle();
      }
      this.#grow();
    };
    this.#inBackground(check());
  }

  /** After a resource failed its check, the next idle one may serve the one who waits. */
  #lendIdle(): void {
    const now = this.#settings.clock.monotonicNow();
    while (this.#line.size > this.#validatingCount + this.#openingCount) {
      const entry = this.#takeUsable(now);
      if (entry === undefined) return;
      if (this.#needsCheck(entry, now)) this.#check(entry, { isAwaited: true });
      else this.#settle(entry);
    }
  }

  #settleOrRetire(entry: PoolEntry<T>): void {
    if (entry.state === "gone") return;
    const reason = this.#unusable(entry, this.#settings.clock.monotonicNow());
    if (reason === undefined) this.#settle(entry);
    else this.#retire(entry, reason);
  }

  /** When an idle resource must be looked at next. */
  #dueAt({ checkedAt, expiresAt, idleSince }: PoolEntry<T>): number {
    const { checkEveryMs, idleTimeoutMs, validate } = this.#settings;
    const endsAt = Math.min(expiresAt, idleSince + idleTimeoutMs);
    return validate === undefined ? endsAt : Math.min(endsAt, Math.max(checkedAt, idleSince) + checkEveryMs);
  }

  #planHousekeeping(dueAt: number): void {
    if (dueAt >= this.#housekeepingAt) return;
    const { clock } = this.#settings;
    this.#housekeeping?.cancel();
    this.#housekeepingAt = dueAt;
    this.#housekeeping = clock.schedule(dueAt - clock.monotonicNow(), () => this.#keepHouse(), {
      unref: true,
    });
  }

  #keepHouse(): void {
    this.#housekeeping = undefined;
    this.#housekeepingAt = Number.POSITIVE_INFINITY;
    const now = this.#settings.clock.monotonicNow();
    for (const entry of this.#idle.splice(0)) {
      const reason = this.#unusable(entry, now);
      if (reason !== undefined) {
        this.#retire(entry, reason);
      } else if (now >= this.#dueAt(entry)) {
        this.#check(entry, { isAwaited: false });
      } else {
        this.#idle.push(entry);
        this.#planHousekeeping(this.#dueAt(entry));
      }
    }
    this.#grow();
  }

  #retire(entry: PoolEntry<T>, reason: CloseReason, error?: unknown): void {
    if (entry.state === "gone") return;
    this.#move(entry, "gone");
    this.#entries.delete(entry);
    this.#settings.permits?.give();
    this.#counters.closed(reason);
    this.events.emit("closed", { id: entry.id, reason, ...(error === undefined ? {} : { error }) });
    this.#inBackground(this.#destroy(entry.resource));
    this.#onReturned?.();
  }

  async #destroy(resource: T): Promise<void> {
    const { clock, destroy, destroyTimeoutMs } = this.#settings;
    const operation = `closing a connection of ${this.name}`;
    try {
      await withTimeout(clock, { operation, timeoutMs: destroyTimeoutMs }, async () => destroy(resource));
    } catch (error) {
      this.#logger.warn({ pool: this.name, err: error }, "a connection did not close as it should");
    }
  }

  /** The one place where a resource changes its state, so that the counts always add up. */
  #move(entry: PoolEntry<T>, state: PoolEntry<T>["state"]): void {
    if (entry.state === "leased") this.#leasedCount -= 1;
    else if (entry.state === "resetting") this.#resettingCount -= 1;
    if (state === "leased") this.#leasedCount += 1;
    else if (state === "resetting") this.#resettingCount += 1;
    entry.state = state;
  }

  #inBackground(work: Promise<void>): void {
    const tracked: Promise<void> = work.finally(() => this.#background.delete(tracked));
    this.#background.add(tracked);
  }
}
