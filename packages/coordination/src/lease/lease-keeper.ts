import {
  type Abortable,
  type Clock,
  ClosedError,
  InvalidInputError,
  isHoldfastError,
  type Logger,
  newId,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { LeaseLostError } from "../errors.ts";
import { checkNumber } from "../input-checks.ts";
import type { Json } from "../json.ts";
import {
  type GrantOptions,
  type GrantOutcome,
  type HandedLease,
  LEASE_TTL_MAX_MS,
  LEASE_TTL_MIN_MS,
  type LeaseGrant,
  type LeaseInfo,
  type Leases,
} from "./leases.ts";
import { GIVE_UP_AT, type Kept, RenewalKeeper } from "./renewal-keeper.ts";

/** A lease that renews itself until it is released or lost. */
export interface HeldLease extends AsyncDisposable {
  readonly name: string;
  readonly owner: string;
  /** Send it with every write that the lease protects. */
  readonly token: bigint;
  /**
   * Aborts with LeaseLostError when a renewal is refused, or when none was confirmed by nine tenths of the
   * TTL, counted from when the last confirmed one was asked for. Not aborted by `release`.
   */
  readonly signal: AbortSignal;
  /** False from the loss, from nine tenths of the TTL without confirmation, or from `release` on. */
  readonly isHeld: boolean;
  /**
   * Gives the lease a longer time now, for a stretch in which this process cannot renew it: `addMs` more than it
   * surely has yet, or `ttlMs` from now. Renewal goes on once what is left is the usual time, and never shortens it.
   * False when the lease is lost or was released; its signal has then aborted.
   * @throws InvalidInputError unless exactly one is given and the whole is from 100 ms to a day.
   * @throws StoreUnavailableError when the store does not answer; the lease is as it was, or longer.
   */
  extend(options: ExtendOptions): Promise<boolean>;
  /**
   * Stops renewing and ends the lease. False when it was not held any more. When the store does not answer
   * it throws, and the lease ends by itself within its TTL. A second call returns false.
   */
  release(options?: Abortable): Promise<boolean>;
}

export type ExtendOptions = Abortable &
  (
    | { readonly addMs: number; readonly ttlMs?: undefined }
    | { readonly ttlMs: number; readonly addMs?: undefined }
  );

export type HoldOutcome =
  | { readonly kind: "granted"; readonly lease: HeldLease }
  | { readonly kind: "held"; readonly holder: LeaseInfo };

export interface HoldOptions extends Abortable {
  /** Who holds it, for people. */
  readonly owner: string;
  readonly metadata?: Json | undefined;
  /** When it is held by another: the release shall be told. See GrantOptions. */
  readonly awaitRelease?: boolean | undefined;
}

export interface LeaseKeeperOptions {
  readonly leases: Leases<never>;
  /** For every lease of this keeper. From 100 ms to a day; renewed every third of it. */
  readonly ttlMs: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** A place in line; see LinePlace. */
export interface PlaceInLine {
  readonly lookEveryMs: number;
  look(signal: AbortSignal | undefined): Promise<HoldOutcome>;
  end(): void;
}

/** A grant whose answer was lost is asked for again this often, with the same request id. */
const GRANT_TRIES = 3;
const GRANT_RETRY_MS = 50;

/**
 * Holds many leases of one store, renewing all of them in one call. The signal of a lease aborts when it is
 * lost; losing one does not touch the others.
 */
export class LeaseKeeper implements AsyncDisposable {
  readonly #leases: Leases<never>;
  readonly #clock: Clock;
  /** Chance once, then counted: an id for each request, and nothing drawn for it. */
  readonly #requestPrefix: string;
  #requestCount = 0;
  readonly #ttlMs: number;
  readonly #keeper: RenewalKeeper<LeaseRef>;
  readonly #held = new Set<SelfRenewingLease>();
  #isClosed = false;
  readonly #acts: LeaseActs = {
    end: (lease, options) => {
      this.#held.delete(lease);
      return this.#leases.release(lease, options);
    },
    extend: (ref, kept, options) => this.#extend(ref, kept, options),
  };

  constructor(options: LeaseKeeperOptions) {
    const { leases, ttlMs, clock = systemClock, random = systemRandom, logger = silentLogger } = options;
    this.#leases = leases;
    this.#clock = clock;
    this.#requestPrefix = newId("request", random);
    this.#ttlMs = ttlMs;
    this.#keeper = new RenewalKeeper({
      name: "leases",
      ttlMs,
      clock,
      logger,
      renew: async (refs, signal) => {
        const held = await leases.renew(refs, { ttlMs, signal });
        return refs.map(({ name, token }, index) =>
          held[index] ? "renewed" : { lost: new LeaseLostError(name, token) },
        );
      },
      unconfirmed: ({ name, token }, cause) => new LeaseLostError(name, token, { cause }),
    });
  }

  /** How many leases are held. */
  get count(): number {
    return this.#keeper.count;
  }

  /**
   * Takes `name` when it is free; never waits for its holder. A lost answer is asked for again, so the lease
   * is not left behind without anybody knowing.
   * @throws StoreUnavailableError when the store does not answer; nothing is held, or lapses within the TTL.
   * @throws ClosedError once the keeper is closed; nothing is held.
   */
  hold(name: string, options: HoldOptions): Promise<HoldOutcome> {
    const { owner, metadata, awaitRelease, signal } = options;
    const requestId = this.#nextRequestId();
    const grant: GrantOptions = { owner, ttlMs: this.#ttlMs, requestId, metadata, awaitRelease, signal };
    return this.#ask(signal, () => this.#leases.grant(name, grant));
  }

  /** Whether {@link standInLine} may be called: the store hands leases on. */
  get hasLines(): boolean {
    return this.#leases.standInLine !== undefined;
  }

  /** A place in line for `name`; `onNews` is called when it is worth looking. End it. */
  standInLine(
    name: string,
    options: Omit<HoldOptions, "signal"> & { readonly onNews: () => void },
  ): PlaceInLine {
    const { owner, metadata, onNews } = options;
    let handed: HandedLease | undefined;
    let isGranted = false;
    const place = this.#leases.standInLine?.(name, {
      owner,
      ttlMs: this.#ttlMs,
      requestId: this.#nextRequestId(),
      metadata,
      onNews: (news) => {
        handed = news ?? handed;
        onNews();
      },
    });
    if (place === undefined)
      throw new InvalidInputError("leases", "without lines", "a store that hands leases on");
    return {
      lookEveryMs: place.lookEveryMs,
      look: async (signal) => {
        const given = handed;
        handed = undefined;
        let outcome = given === undefined || this.#isClosed ? undefined : this.#adopt(given);
        outcome ??= await this.#ask(signal, () => place.look({ signal }));
        isGranted = outcome.kind === "granted";
        return outcome;
      },
      end: () => place.end({ isGranted }),
    };
  }

  #nextRequestId(): string {
    this.#requestCount += 1;
    return `${this.#requestPrefix}-${this.#requestCount}`;
  }

  async #ask(signal: AbortSignal | undefined, grant: () => Promise<GrantOutcome>): Promise<HoldOutcome> {
    let pauseMs = GRANT_RETRY_MS;
    for (let tries = 1; ; tries += 1) {
      this.#refuseClosed();
      const askedAt = this.#clock.monotonicNow();
      try {
        const outcome = await grant();
        if (outcome.kind === "held") return outcome;
        if (!this.#isClosed) return this.#keep(outcome.grant, askedAt);
        // Nobody would renew it, nor tell its holder that it is lost.
        await this.#leases.release(outcome.grant).catch(() => undefined);
        this.#refuseClosed();
      } catch (error) {
        const mayRepeat =
          isHoldfastError(error) && (error.retryable || error.code === "KERNEL_OUTCOME_UNKNOWN");
        if (!mayRepeat || tries === GRANT_TRIES) throw error;
      }
      await this.#clock.sleep(pauseMs, { signal });
      pauseMs *= 4;
    }
  }

  /** Releases every lease that is held, in parallel, and returns how many were. Others' leases are not touched. */
  async releaseAll(options: Abortable = {}): Promise<number> {
    const released = await Promise.all([...this.#held].map((lease) => lease.release(options)));
    return released.filter(Boolean).length;
  }

  /** Frees what is held and closes. @throws StoreUnavailableError when the store could not be told; it is closed then, too. */
  async shutDown(): Promise<void> {
    // First, so that nothing is granted between the two.
    this.#isClosed = true;
    try {
      await this.releaseAll();
    } finally {
      await this.close();
    }
  }

  /**
   * Grants no more and stops renewing. What is still held lapses within its TTL: `shutDown` hands it over at once.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#held.clear();
    await this.#keeper.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #extend(ref: LeaseRef, kept: Kept, options: ExtendOptions): Promise<boolean> {
    const { addMs, ttlMs: setMs, signal } = options;
    if ((addMs === undefined) === (setMs === undefined)) {
      throw new InvalidInputError("extend", "both or neither", "addMs or ttlMs");
    }
    if (addMs !== undefined) checkNumber("addMs", addMs, 0, LEASE_TTL_MAX_MS);
    const extend = async (): Promise<boolean> => {
      if (kept.isLost) return false;
      const askedAt = this.#clock.monotonicNow();
      const ttlMs = setMs ?? kept.remainingMs + (addMs ?? 0);
      checkNumber("ttlMs", ttlMs, LEASE_TTL_MIN_MS, LEASE_TTL_MAX_MS);
      const [isHeld] = await this.#leases.renew([ref], { ttlMs, signal });
      if (isHeld !== true) kept.lose(new LeaseLostError(ref.name, ref.token));
      return isHeld === true && kept.confirm({ askedAt, ttlMs });
    };
    return kept.alone(extend, { signal });
  }

  #refuseClosed(): void {
    if (this.#isClosed) throw new ClosedError("the lease keeper");
  }

  /** Undefined when it was told of too late to be surely ours. */
  #adopt({ grant, askedAt }: HandedLease): HoldOutcome | undefined {
    const isLate = this.#clock.monotonicNow() >= askedAt + grant.ttlMs * GIVE_UP_AT;
    return isLate ? undefined : this.#keep(grant, askedAt);
  }

  #keep({ name, owner, token, ttlMs }: LeaseGrant, askedAt: number): HoldOutcome {
    const ref = { name, token };
    const kept = this.#keeper.keep(ref, { askedAt, termMs: ttlMs, onLost: () => this.#held.delete(lease) });
    const lease: SelfRenewingLease = new SelfRenewingLease(ref, owner, kept, this.#acts);
    this.#held.add(lease);
    return { kind: "granted", lease };
  }
}

interface LeaseRef {
  readonly name: string;
  readonly token: bigint;
}

/** What a keeper does for its leases. */
interface LeaseActs {
  end(lease: SelfRenewingLease, options: Abortable): Promise<boolean>;
  extend(ref: LeaseRef, kept: Kept, options: ExtendOptions): Promise<boolean>;
}

class SelfRenewingLease implements HeldLease {
  readonly name: string;
  readonly token: bigint;
  readonly owner: string;
  readonly #kept: Kept;
  readonly #acts: LeaseActs;
  #released = false;

  constructor(ref: LeaseRef, owner: string, kept: Kept, acts: LeaseActs) {
    this.name = ref.name;
    this.token = ref.token;
    this.owner = owner;
    this.#kept = kept;
    this.#acts = acts;
  }

  get signal(): AbortSignal {
    return this.#kept.signal;
  }

  get isHeld(): boolean {
    return !this.#released && this.#kept.isHeld;
  }

  async release(options: Abortable = {}): Promise<boolean> {
    if (this.#released) return false;
    this.#released = true;
    this.#kept.drop();
    // Lost already: there is nothing of ours to end, and the new holder must not be disturbed by asking.
    return this.#kept.isLost ? false : this.#acts.end(this, options);
  }

  async extend(options: ExtendOptions): Promise<boolean> {
    return this.#released || this.#kept.isLost ? false : this.#acts.extend(this, this.#kept, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

/**
 * Takes one lease and keeps it, as `LeaseKeeper.hold` does for many.
 * @throws StoreUnavailableError when the store does not answer; nothing is held, or lapses within the TTL.
 */
export const holdLease = async (
  leases: Leases<never>,
  name: string,
  options: HoldOptions & Omit<LeaseKeeperOptions, "leases">,
): Promise<HoldOutcome> => {
  const keeper = new LeaseKeeper({ ...options, leases });
  return keeper.hold(name, options);
};
