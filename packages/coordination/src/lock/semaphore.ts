import {
  type Abortable,
  type Clock,
  type Random,
  randomInt,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { LockTimeoutError } from "../errors.ts";
import { checkInteger } from "../input-checks.ts";
import { type HeldLease, LeaseKeeper } from "../lease/lease-keeper.ts";
import type { LeaseInfo, Leases } from "../lease/leases.ts";
import { Line } from "./line.ts";
import { oneSegment } from "./one-segment.ts";
import { type Look, waitForGrant } from "./wait-in-line.ts";

/** With slashes written as three characters; what is put around it makes it as long as the name of a lease may be. */
const NAME_MAX_LENGTH = 498;

export interface SemaphoreOptions {
  readonly leases: Leases<never>;
  /** 1 to 400 characters, and at most 498 with each `/` and `%` counted as three. */
  readonly name: string;
  /** Who holds, for people. */
  readonly owner: string;
  /** How many may hold it at the same time, 1 to 1000; the same in every process, or the largest number counts. */
  readonly permitMaxCount: number;
  /** Of each permit, milliseconds, renewed every third of it. Default 30_000. */
  readonly ttlMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Permit {
  /** Which of the places it is, from 0: the resource may keep one largest token for each. */
  readonly place: number;
  readonly lease: HeldLease;
}

/**
 * At most so many holders at a time, across processes: each place is a lease of its own, so a dead holder's place is
 * free again within its TTL, and tokens of one place grow from holder to holder.
 *
 * Fairness: waiters of one semaphore object come in their order; between processes whoever asks first.
 */
export class Semaphore implements AsyncDisposable {
  readonly name: string;
  readonly permitMaxCount: number;
  readonly #leases: Leases<never>;
  readonly #owner: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #keeper: LeaseKeeper;
  readonly #line = new Line();
  readonly #prefix: string;

  constructor(options: SemaphoreOptions) {
    const { leases, name, owner, ttlMs = 30_000, clock = systemClock, random = systemRandom } = options;
    this.#prefix = `semaphore/${oneSegment(name, NAME_MAX_LENGTH)}/`;
    checkInteger("permitMaxCount", options.permitMaxCount, 1, 1000);
    this.name = name;
    this.permitMaxCount = options.permitMaxCount;
    this.#leases = leases;
    this.#owner = owner;
    this.#clock = clock;
    this.#random = random;
    this.#keeper = new LeaseKeeper({ leases, ttlMs, clock, random });
  }

  /**
   * Waits for a place and takes it; `waitMs` defaults to 30_000, 0 tries once.
   * @throws LockTimeoutError, StoreUnavailableError: retryable, nothing is held. signal.reason when aborted.
   */
  acquire(options: Abortable & { readonly waitMs?: number } = {}): Promise<Permit> {
    const { waitMs = 30_000, signal } = options;
    const timedOut = (holder: string): Error => new LockTimeoutError(this.name, waitMs, holder);
    return this.#line.join({ clock: this.#clock, waitMs, timedOut, signal }, (leftMs) =>
      waitForGrant({
        clock: this.#clock,
        waitMs: leftMs,
        signal,
        timedOut,
        subscribe: (wake) => this.#leases.onReleased(this.#prefix, wake),
        look: (inner) => this.#look(inner),
      }),
    );
  }

  /** The permits that are held now, by the store. */
  holders(options: Abortable = {}): Promise<readonly LeaseInfo[]> {
    return this.#leases.list(this.#prefix, options);
  }

  /** Frees what is held through this object and stops renewing. */
  close(): Promise<void> {
    return this.#keeper.shutDown();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** One guess, which is right while few places are taken; then a look at all of them, and one that is free. */
  async #look(signal: AbortSignal | undefined): Promise<Look<Permit>> {
    const guess = await this.#take(randomInt(this.#random, this.permitMaxCount), signal);
    if (guess.kind === "granted") return guess;
    for (;;) {
      const held = await this.#leases.list(this.#prefix, { signal, limit: 1000, awaitRelease: true });
      const taken = new Set(held.map(({ name }) => name));
      const free = Array.from({ length: this.permitMaxCount }, (_, place) => place).filter(
        (place) => !taken.has(this.#prefix + place),
      );
      if (free.length === 0) {
        const [first] = [...held].sort((a, b) => a.remainingMs - b.remainingMs);
        const holder = first?.owner ?? guess.holder;
        this.#line.sawHolder(holder);
        return { kind: "busy", holder, remainingMs: first?.remainingMs ?? guess.remainingMs };
      }
      const taking = await this.#take(free[randomInt(this.#random, free.length)] as number, signal);
      if (taking.kind === "granted") return taking;
    }
  }

  async #take(place: number, signal: AbortSignal | undefined): Promise<Look<Permit>> {
    const outcome = await this.#keeper.hold(this.#prefix + place, { owner: this.#owner, signal });
    if (outcome.kind === "granted") return { kind: "granted", value: { place, lease: outcome.lease } };
    const { owner, remainingMs } = outcome.holder;
    return { kind: "busy", holder: owner, remainingMs };
  }
}
