import {
  type Abortable,
  type Clock,
  ClosedError,
  InvalidInputError,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { LockTimeoutError } from "../errors.ts";
import type { Json } from "../json.ts";
import { LIST_LIMIT_MAX } from "../lease/grant-checks.ts";
import { type HeldLease, type HoldOutcome, LeaseKeeper } from "../lease/lease-keeper.ts";
import type { LeaseInfo, Leases } from "../lease/leases.ts";
import { Line } from "./line.ts";
import { checkWaitMs, type Look, waitForGrant } from "./wait-in-line.ts";

/** Of more names, those that nobody holds or waits for are forgotten: a name for each order would pile up for ever. */
const IDLE_MAX_COUNT = 10_000;

export interface LocksOptions {
  readonly leases: Leases<never>;
  /** Who holds, for people. */
  readonly owner: string;
  /** Lease of locks that name no other. From 100 ms to a day. Default 30_000. */
  readonly ttlMs?: number;
  /** Put before each name, so that locks and other leases of one store do not meet. Default `lock/`. */
  readonly prefix?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

export interface LockOptions {
  /** Milliseconds by the store's clock, renewed every third of it. Default: that of the locks object. */
  readonly ttlMs?: number;
}

export interface AcquireOptions extends Abortable {
  /** Longest wait for the holder, milliseconds, 0 to 2^31 - 1. Default 30_000; 0 tries once. */
  readonly waitMs?: number;
  /** Shown to others while the lock is held. */
  readonly metadata?: Json | undefined;
}

export interface LockState {
  readonly name: string;
  readonly owner: string;
  readonly token: bigint;
  readonly remainingMs: number;
  /** Whether this locks object holds it. */
  readonly isOwn: boolean;
  readonly metadata: Json;
}

/**
 * Mutual exclusion across processes, one {@link Lock} per name.
 *
 * A lock is held through a lease: it ends by itself when its holder dies, and a holder that was paused past
 * its end may not know. So send `token` with each write and let the place where it lands refuse smaller ones.
 */
export class Locks implements AsyncDisposable {
  readonly #options: Required<Omit<LocksOptions, "leases">> & Pick<LocksOptions, "leases">;
  readonly #locks = new Map<string, Lock>();
  readonly #keepers = new Map<number, LeaseKeeper>();
  #forgetAtCount = IDLE_MAX_COUNT;
  #isClosed = false;

  constructor(options: LocksOptions) {
    this.#options = {
      ttlMs: 30_000,
      prefix: "lock/",
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      ...options,
    };
  }

  /**
   * The lock of this name: the same object each time, until it is idle and 10,000 others have been asked for.
   * @throws InvalidInputError when it was asked for with another `ttlMs` before.
   */
  get(name: string, options: LockOptions = {}): Lock {
    const known = this.#locks.get(name);
    const ttlMs = options.ttlMs ?? known?.ttlMs ?? this.#options.ttlMs;
    if (known !== undefined) {
      if (known.ttlMs !== ttlMs) {
        throw new InvalidInputError("ttlMs", ttlMs, `${known.ttlMs}, as lock ${name} was made with before`);
      }
      return known;
    }
    if (this.#locks.size >= this.#forgetAtCount) this.#forgetIdle();
    const { leases, owner, prefix, clock } = this.#options;
    const lock = new Lock(name, {
      leases,
      owner,
      prefix,
      clock,
      keeper: this.#keeperFor(ttlMs),
      ttlMs,
    });
    this.#locks.set(name, lock);
    return lock;
  }

  /** The names that were asked for here, held or not; of very many, the idle ones are left out. */
  get names(): readonly string[] {
    return [...this.#locks.keys()].sort();
  }

  /** Every lock that anybody holds in the store, up to 10_000, by name. */
  async list(options: Abortable = {}): Promise<readonly LockState[]> {
    const { leases, prefix } = this.#options;
    const held = await leases.list(prefix, { ...options, limit: LIST_LIMIT_MAX });
    return held.map((info) => {
      const name = info.name.slice(prefix.length);
      return toState(name, info, this.#locks.get(name)?.holds(info.token) ?? false);
    });
  }

  /** Frees every lock that this object holds, never another's, and returns how many. */
  async releaseAll(options: Abortable = {}): Promise<number> {
    const counts = await Promise.all([...this.#keepers.values()].map((keeper) => keeper.releaseAll(options)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Frees what is held and stops. When the store does not answer, the locks end by themselves. Who acquires later, or
   * waits and has its turn later, gets ClosedError.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#keepers.values()].map((keeper) => keeper.shutDown()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #forgetIdle(): void {
    for (const [name, lock] of this.#locks) if (lock.isIdle) this.#locks.delete(name);
    // Looking at all of them again pays only once there may be as many idle ones again.
    this.#forgetAtCount = this.#locks.size + IDLE_MAX_COUNT;
  }

  #keeperFor(ttlMs: number): LeaseKeeper {
    let keeper = this.#keepers.get(ttlMs);
    if (keeper === undefined) {
      if (this.#isClosed) throw new ClosedError("the locks");
      const { leases, clock, random, logger } = this.#options;
      keeper = new LeaseKeeper({ leases, ttlMs, clock, random, logger });
      this.#keepers.set(ttlMs, keeper);
    }
    return keeper;
  }
}

interface LockParts {
  readonly leases: Leases<never>;
  readonly keeper: LeaseKeeper;
  readonly owner: string;
  readonly prefix: string;
  readonly ttlMs: number;
  readonly clock: Clock;
}

/** One name that one holder at a time may have. Two users in one process exclude each other as well. */
export class Lock {
  readonly name: string;
  readonly ttlMs: number;
  readonly #parts: LockParts;
  readonly #leaseName: string;
  readonly #line = new Line();
  #held: HeldLease | undefined;
  #askingCount = 0;

  constructor(name: string, parts: LockParts) {
    this.name = name;
    this.ttlMs = parts.ttlMs;
    this.#leaseName = parts.prefix + name;
    this.#parts = parts;
  }

  /** Takes the lock when it is free, else returns undefined at once. An outage is an error, never "busy". */
  async tryAcquire(options: Omit<AcquireOptions, "waitMs"> = {}): Promise<HeldLease | undefined> {
    const outcome = await this.#ask(options);
    return outcome.kind === "granted" ? outcome.lease : undefined;
  }

  /**
   * Waits until the lock is free and takes it. On Redis the release itself hands it to the process that waits longest;
   * elsewhere a waiter hears of the release and asks at once. A dead holder's lock is taken when its lease ends, by
   * whoever looks first. Fairness: waiters of one locks object come in their order; between processes in that of their
   * coming on Redis (the first 64 processes), else whoever asks first.
   * @throws LockTimeoutError after `waitMs`; retryable, nothing is held.
   * @throws StoreUnavailableError when the store does not answer; retryable.
   * @throws signal.reason when aborted; nothing is held, or it lapses within the TTL.
   */
  async acquire(options: AcquireOptions = {}): Promise<HeldLease> {
    const { clock } = this.#parts;
    const { waitMs = 30_000, signal } = options;
    checkWaitMs(waitMs);
    if (!this.#line.isWaiting) {
      const first = await this.#ask(options);
      if (first.kind === "granted") return first.lease;
      if (waitMs <= 0) throw new LockTimeoutError(this.name, waitMs, first.holder.owner);
    }
    const timedOut = (holder: string): Error => new LockTimeoutError(this.name, waitMs, holder);
    return this.#line.join({ clock, waitMs, timedOut, signal }, (leftMs) =>
      this.#parts.keeper.hasLines
        ? this.#standInLine(options, leftMs, timedOut)
        : this.#waitForRelease(options, leftMs, timedOut),
    );
  }

  /**
   * Runs `body` while holding the lock, and frees it whatever becomes of `body`.
   * `body` gets the lease: stop when its signal aborts, send its token with each write.
   * @throws LeaseLostError when the lock was lost before `body` resolved, whatever it returned.
   * @throws what `body` throws, and what `acquire` throws.
   */
  async with<T>(body: (lease: HeldLease) => Promise<T>, options: AcquireOptions = {}): Promise<T> {
    const lease = await this.acquire(options);
    try {
      const value = await body(lease);
      lease.signal.throwIfAborted();
      return value;
    } finally {
      // A store that does not answer now must hide neither the value nor the error: the lock ends by itself.
      await lease.release().catch(() => undefined);
    }
  }

  /** Who holds the lock now; undefined when it is free. */
  async state(options: Abortable = {}): Promise<LockState | undefined> {
    const info = await this.#parts.leases.read(this.#leaseName, options);
    return info === undefined ? undefined : toState(this.name, info, this.holds(info.token));
  }

  /** Whether nobody holds it through this object, nor tries to. */
  get isIdle(): boolean {
    return this.#askingCount === 0 && !this.#line.isWaiting && !this.isHeld;
  }

  /** Whether a user of this object holds it now. */
  get isHeld(): boolean {
    return this.#held?.isHeld ?? false;
  }

  /** Whether this object was granted `token` and still holds it. */
  holds(token: bigint): boolean {
    return this.#held?.token === token && this.#held.isHeld;
  }

  /** The store hands the lease to who waits first. */
  async #standInLine(
    { metadata, signal }: AcquireOptions,
    waitMs: number,
    timedOut: (holder: string) => Error,
  ): Promise<HeldLease> {
    const { keeper, owner, clock } = this.#parts;
    let wake: (() => void) | undefined;
    const place = keeper.standInLine(this.#leaseName, {
      owner,
      onNews: () => wake?.(),
      metadata,
    });
    try {
      return await waitForGrant({
        clock,
        waitMs,
        timedOut,
        signal,
        lookEveryMs: place.lookEveryMs,
        subscribe: (listener) => {
          wake = listener;
          return () => {
            wake = undefined;
          };
        },
        look: async (inner) => this.#toLook(await place.look(inner)),
      });
    } finally {
      place.end();
    }
  }

  /** The store tells of the release, and who hears of it asks. */
  #waitForRelease(
    options: AcquireOptions,
    waitMs: number,
    timedOut: (holder: string) => Error,
  ): Promise<HeldLease> {
    return waitForGrant({
      clock: this.#parts.clock,
      waitMs,
      timedOut,
      signal: options.signal,
      subscribe: (wake) => this.#parts.leases.onReleased(this.#leaseName, wake),
      look: async () => this.#toLook(await this.#ask({ ...options, awaitRelease: true })),
    });
  }

  #toLook(outcome: HoldOutcome): Look<HeldLease> {
    if (outcome.kind === "granted") {
      this.#held = outcome.lease;
      return { kind: "granted", value: outcome.lease };
    }
    const { owner, remainingMs } = outcome.holder;
    this.#line.sawHolder(owner);
    return { kind: "busy", holder: owner, remainingMs };
  }

  async #ask(options: AcquireOptions & { readonly awaitRelease?: boolean }) {
    const { keeper, owner } = this.#parts;
    const { signal, metadata, awaitRelease } = options;
    this.#askingCount += 1;
    try {
      const outcome = await keeper.hold(this.#leaseName, { owner, signal, metadata, awaitRelease });
      if (outcome.kind === "granted") this.#held = outcome.lease;
      return outcome;
    } finally {
      this.#askingCount -= 1;
    }
  }
}

const toState = (name: string, info: LeaseInfo, isOwn: boolean): LockState => ({ ...info, name, isOwn });
