import { Emitter, type Logger, silentLogger } from "@holdfast/kernel";
import { PoolClosedError, PoolExhaustedError } from "../errors.ts";
import { DeadlineQueue } from "../link/deadline-queue.ts";
import { waitRefusal } from "../link/wait-limit.ts";
import { AcquireLine } from "./acquire-line.ts";
import { BackgroundWork } from "./background-work.ts";
import { Growth } from "./growth.ts";
import { IdleResources } from "./idle-resources.ts";
import { LeakWatch } from "./leak-watch.ts";
import type { PoolEntry } from "./pool-entry.ts";
import { type LeaseOwner, PoolLease } from "./pool-lease.ts";
import { PoolLedger } from "./pool-ledger.ts";
import {
  type AcquireOptions,
  type Permits,
  type PoolOptions,
  type PoolSettings,
  poolSettingsOf,
} from "./pool-options.ts";
import type { CloseReason, PoolEvents, PoolStats } from "./pool-stats.ts";
import { destroyed, startReset, validated } from "./resource-care.ts";

/** How long `close` waits for leases when it is not told. */
const DRAIN_MS = 5_000;
const NO_OPTIONS: AcquireOptions = {};

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
  readonly #permits: Permits | undefined;
  readonly #logger: Logger;
  readonly #ledger = new PoolLedger<T>();
  readonly #idle: IdleResources<T>;
  readonly #line: AcquireLine<PoolLease<T>>;
  readonly #growth: Growth<T>;
  readonly #owner: LeaseOwner<T>;
  readonly #deadlines: DeadlineQueue;
  readonly #leaks: LeakWatch;
  /** Openings, resets, validations and destructions under way. */
  readonly #background = new BackgroundWork();
  #isClosed = false;
  #generation = 0;
  /** Resources that are being validated because someone waits. */
  #validatingCount = 0;
  #onReturned: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @throws InvalidInputError naming the option that is wrong; nothing was opened. */
  constructor(options: PoolOptions<T>) {
    this.#settings = poolSettingsOf(options);
    this.#permits = this.#settings.permits;
    this.#logger = this.#settings.logger ?? silentLogger;
    this.#deadlines = new DeadlineQueue(options.clock);
    this.#line = new AcquireLine(options.clock, this.#deadlines, (waitedMs) => this.#exhausted(waitedMs));
    this.#growth = new Growth({
      settings: this.#settings,
      ledger: this.#ledger,
      background: this.#background,
      waitingCount: () => this.#line.size - this.#validatingCount,
      generation: () => this.#generation,
      onOpened: (entry, openMs) => {
        this.events.emit("opened", { id: entry.id, openMs });
        this.#settleOrRetire(entry);
      },
      onFailed: (error) => this.#onOpenFailed(error),
      onBroken: (entry, error) => this.#onBroken(entry, error),
      onLate: (resource) => this.#destroy(resource),
    });
    this.#idle = new IdleResources(this.#settings, () => this.#lookAfterIdle());
    this.#leaks = new LeakWatch({
      pool: this.name,
      leakAfterMs: this.#settings.leakAfterMs,
      deadlines: this.#deadlines,
      logger: this.#logger,
      onLeak: (leak) => {
        this.#ledger.leakedCount += 1;
        this.events.emit("leaked", leak);
      },
    });
    this.#owner = {
      name: this.name,
      giveBack: (entry) => this.#giveBack(entry),
      discard: (entry, error) => this.#discard(entry, error),
    };
    this.events = new Emitter((error) => this.#logger.error({ err: error }, "a listener of a pool failed"));
    this.#growth.grow();
  }

  get name(): string {
    return this.#settings.name;
  }

  /** Resources that exist or are being opened. */
  get size(): number {
    return this.#ledger.size;
  }

  get stats(): PoolStats {
    const { maxCount } = this.#settings;
    return this.#ledger.stats({
      maxCount,
      minCount: this.#growth.minCount,
      waiting: this.#line.size,
    });
  }

  /**
   * Waits for a resource and lends it. An abort or a timeout leaves nothing behind.
   * @throws InvalidInputError for a `timeoutMs` that is not finite.
   * @throws PoolExhaustedError at the limit of the wait, at once when the line is full or `maxCount` is 0.
   * @throws PoolClosedError; what `create` threw; signal.reason when aborted.
   */
  acquire(options: AcquireOptions = NO_OPTIONS): Promise<PoolLease<T>> {
    if (options.signal?.aborted) return Promise.reject(options.signal.reason);
    if (this.#isClosed) return Promise.reject(new PoolClosedError(this.name));
    const refusal = options.timeoutMs === undefined ? undefined : waitRefusal("timeoutMs", options.timeoutMs);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (this.#line.size === 0) {
      const now = this.#settings.clock.monotonicNow();
      const entry = this.#takeUsable(now);
      if (entry !== undefined) {
        if (!this.#idle.needsCheck(entry, now)) return Promise.resolve(this.#lend(entry));
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
    for (const entry of this.#idle.takeAll()) this.#retire(entry, "cleared");
    if (options.error !== undefined) this.#line.failAll(options.error);
    this.#growth.grow();
  }

  /** Changes how many are opened in the background and kept; at most `maxCount`. */
  setMinCount(minCount: number): void {
    this.#growth.minCount = minCount;
    this.#growth.grow();
  }

  /** Looks again whether something may be opened: a permit may have become free. */
  wake(): void {
    this.#growth.grow();
  }

  /** Lets the resource go that was idle longest, so that its permit can be used elsewhere; false when none is idle. */
  giveUpIdle(): boolean {
    const entry = this.#idle.shift();
    if (entry !== undefined) this.#retire(entry, "cleared");
    return entry !== undefined;
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
    this.#isClosed = true;
    this.#growth.stop(new PoolClosedError(this.name));
    this.#idle.stop();
    this.#line.failAll(new PoolClosedError(this.name));
    for (const entry of this.#idle.takeAll()) this.#retire(entry, "closed");
    if (this.#ledger.leasedCount > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#settings.clock.schedule(drainMs, resolve);
        this.#onReturned = () => {
          if (this.#ledger.leasedCount > 0) return;
          timer.cancel();
          resolve();
        };
      });
      this.#onReturned = undefined;
      for (const entry of this.#ledger.all) this.#retire(entry, "closed");
    }
    await this.#background.finished();
    this.#deadlines.clear();
  }

  #giveBack(entry: PoolEntry<T>): void {
    this.#ledger.releasedCount += 1;
    if (entry.state === "gone") return;
    const now = this.#settings.clock.monotonicNow();
    const reason = this.#unusable(entry, now);
    if (reason !== undefined) {
      this.#retire(entry, reason);
      this.#growth.grow();
      return;
    }
    const reset = this.#settings.reset === undefined ? undefined : startReset(this.#settings, entry);
    if (reset === undefined) this.#settle(entry, now);
    else this.#finishReset(entry, reset);
  }

  #discard(entry: PoolEntry<T>, error: unknown): void {
    this.#ledger.releasedCount += 1;
    this.#retire(entry, "destroyed", error);
    this.#growth.grow();
  }

  #wait(options: AcquireOptions): Promise<PoolLease<T>> {
    const { acquireTimeoutMs, maxCount, waitingMaxCount } = this.#settings;
    if (maxCount === 0 || this.#line.size >= waitingMaxCount) return Promise.reject(this.#exhausted(0));
    const waiting = this.#line.join(options.timeoutMs ?? acquireTimeoutMs, options.signal);
    if (this.#idle.size > 0) this.#lendIdle();
    this.#growth.grow();
    return waiting;
  }

  #exhausted(waitedMs: number): PoolExhaustedError {
    this.#ledger.exhaustedCount += 1;
    this.events.emit("exhausted", { waitedMs });
    return new PoolExhaustedError(this.name, waitedMs, this.#settings.maxCount);
  }

  #lend(entry: PoolEntry<T>): PoolLease<T> {
    this.#ledger.move(entry, "leased");
    entry.usesCount += 1;
    this.#ledger.acquiredCount += 1;
    return new PoolLease(this.#owner, entry, this.#leaks.start(entry.id));
  }

  /** A resource that nobody holds goes to whoever waits longest, or to the idle ones. */
  #settle(entry: PoolEntry<T>, now: number = this.#settings.clock.monotonicNow()): void {
    if (this.#line.size > 0) {
      this.#ledger.waited(now - this.#line.serve(this.#lend(entry)));
      return;
    }
    this.#ledger.move(entry, "idle");
    this.#idle.push(entry, now);
    this.#permits?.idle?.();
  }

  /** Why a resource must not be lent, if so. */
  #unusable(entry: PoolEntry<T>, now: number): CloseReason | undefined {
    if (this.#isClosed) return "closed";
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

  #onOpenFailed(error: unknown): void {
    this.#logger.warn({ pool: this.name, err: error }, "a connection could not be opened");
    this.events.emit("openFailed", { error });
    this.#line.fail(error);
  }

  #onBroken(entry: PoolEntry<T>, error: Error | undefined): void {
    entry.isBroken = true;
    if (entry.state !== "idle") return;
    this.#idle.remove(entry);
    this.#retire(entry, "broken", error);
    this.#growth.grow();
  }

  #finishReset(entry: PoolEntry<T>, reset: Promise<void>): void {
    this.#ledger.move(entry, "resetting");
    const onFailed = (error: unknown): void => this.#retire(entry, "reset-failed", error);
    this.#background.add(
      reset.then(() => this.#settleOrRetire(entry), onFailed).then(() => this.#growth.grow()),
    );
  }

  /** Validates an idle resource that was taken out of the idle ones. */
  #check(entry: PoolEntry<T>, { isAwaited }: { readonly isAwaited: boolean }): void {
    this.#ledger.move(entry, "resetting");
    if (isAwaited) this.#validatingCount += 1;
    this.#ledger.validatedCount += 1;
    const check = async (): Promise<void> => {
      const { failure, isValid } = await validated(this.#settings, entry);
      const now = this.#settings.clock.monotonicNow();
      if (isAwaited) this.#validatingCount -= 1;
      if (isValid) entry.checkedAt = now;
      if (!isValid) {
        this.#ledger.invalidCount += 1;
        this.#retire(entry, "invalid", failure);
        this.#lendIdle();
      } else if (!isAwaited && this.#line.size === 0 && this.#unusable(entry, now) === undefined) {
        this.#ledger.move(entry, "idle");
        this.#idle.putBack(entry);
        this.#permits?.idle?.();
      } else {
        this.#settleOrRetire(entry);
      }
      this.#growth.grow();
    };
    this.#background.add(check());
  }

  /** Those that wait while others are being checked, or whose resource failed its check, may have the next idle ones. */
  #lendIdle(): void {
    const now = this.#settings.clock.monotonicNow();
    while (this.#line.size > this.#validatingCount + this.#ledger.openingCount) {
      const entry = this.#takeUsable(now);
      if (entry === undefined) return;
      if (this.#idle.needsCheck(entry, now)) this.#check(entry, { isAwaited: true });
      else this.#settle(entry);
    }
  }

  #settleOrRetire(entry: PoolEntry<T>): void {
    if (entry.state === "gone") return;
    const reason = this.#unusable(entry, this.#settings.clock.monotonicNow());
    if (reason === undefined) this.#settle(entry);
    else this.#retire(entry, reason);
  }

  #lookAfterIdle(): void {
    const now = this.#settings.clock.monotonicNow();
    for (const entry of this.#idle.takeAll()) {
      const reason = this.#unusable(entry, now);
      if (reason !== undefined) this.#retire(entry, reason);
      else if (now >= this.#idle.dueAt(entry)) this.#check(entry, { isAwaited: false });
      else this.#idle.putBack(entry);
    }
    this.#growth.grow();
  }

  #retire(entry: PoolEntry<T>, reason: CloseReason, error?: unknown): void {
    if (entry.state === "gone") return;
    this.#ledger.remove(entry, reason);
    this.#permits?.give();
    this.events.emit("closed", { id: entry.id, reason, ...(error === undefined ? {} : { error }) });
    this.#destroy(entry.resource);
    this.#onReturned?.();
  }

  #destroy(resource: T): void {
    this.#background.add(destroyed(this.#settings, this.#logger, resource));
  }
}
