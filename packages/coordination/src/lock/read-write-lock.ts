import { type Abortable, type Clock, newId, type Random, systemClock, systemRandom } from "@holdfast/kernel";
import { LockTimeoutError } from "../errors.ts";
import { type HeldLease, LeaseKeeper } from "../lease/lease-keeper.ts";
import type { LeaseInfo, Leases } from "../lease/leases.ts";
import { oneSegment } from "./one-segment.ts";
import { type Look, waitForGrant } from "./wait-in-line.ts";

/** With slashes written as three characters; what is put around it makes it as long as the name of a lease may be. */
const NAME_MAX_LENGTH = 467;

export interface ReadWriteLockOptions {
  readonly leases: Leases<never>;
  /** 1 to 400 characters, and at most 467 with each `/` and `%` counted as three. */
  readonly name: string;
  /** Who holds, for people. */
  readonly owner: string;
  /** Of each hold, milliseconds, renewed every third of it. Default 30_000. */
  readonly ttlMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface ReadWriteLockState {
  /** The writer, or the one that waits for the readers to end. */
  readonly writer: LeaseInfo | undefined;
  readonly readers: readonly LeaseInfo[];
}

/**
 * Many readers or one writer, across processes.
 *
 * Made of leases: each reader has one, the writer another. Who comes first writes its own down and then looks for the
 * other side: of a reader and a writer that come together at least one sees the other, and it is the reader that
 * steps back. So a waiting writer keeps new readers out, and never starves; readers wait while writers queue up.
 * Tokens grow from hold to hold: the resource that refuses smaller ones refuses a writer that was paused past its end.
 */
export class ReadWriteLock implements AsyncDisposable {
  readonly name: string;
  readonly #leases: Leases<never>;
  readonly #owner: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #keeper: LeaseKeeper;
  readonly #prefix: string;

  constructor(options: ReadWriteLockOptions) {
    const { leases, name, owner, ttlMs = 30_000, clock = systemClock, random = systemRandom } = options;
    this.name = name;
    this.#leases = leases;
    this.#owner = owner;
    this.#clock = clock;
    this.#random = random;
    this.#prefix = `rw/${oneSegment(name, NAME_MAX_LENGTH)}/`;
    this.#keeper = new LeaseKeeper({ leases, ttlMs, clock, random });
  }

  /**
   * Holds it together with other readers. `waitMs` (default 30_000; 0 tries once) bounds the wait for writers.
   * @throws LockTimeoutError, StoreUnavailableError: retryable, nothing is held. signal.reason when aborted.
   */
  read(options: Abortable & { readonly waitMs?: number } = {}): Promise<HeldLease> {
    const name = `${this.#prefix}r/${newId("reader", this.#random)}`;
    return this.#wait(this.#writerName, options, async (signal) => {
      const own = await this.#keeper.hold(name, { owner: this.#owner, signal });
      if (own.kind === "held") return busy(own.holder);
      const writer = await this.#settleOrFree(own.lease, () =>
        this.#leases.read(this.#writerName, { signal }),
      );
      if (writer === undefined) return { kind: "granted", value: own.lease };
      await own.lease.release({ signal });
      // It shall be told when the writer ends; should that have happened by now, the next look is at once.
      const [still] = await this.#leases.list(this.#writerName, { signal, limit: 1, awaitRelease: true });
      return still === undefined ? { ...busy(writer), remainingMs: 0 } : busy(still);
    });
  }

  /**
   * Holds it alone. `waitMs` (default 30_000; 0 tries once) bounds the wait for the writer before and the readers.
   * @throws as `read`.
   */
  async write(options: Abortable & { readonly waitMs?: number } = {}): Promise<HeldLease> {
    const waitMs = options.waitMs ?? 30_000;
    const endsAt = this.#clock.monotonicNow() + waitMs;
    const lease = await this.#wait(this.#writerName, { ...options, waitMs }, async (signal) => {
      const own = await this.#keeper.hold(this.#writerName, {
        owner: this.#owner,
        signal,
        awaitRelease: true,
      });
      return own.kind === "granted" ? { kind: "granted", value: own.lease } : busy(own.holder);
    });
    // From here on no new reader stays; those that were there end, or their leases do.
    const readers = `${this.#prefix}r/`;
    await this.#settleOrFree(lease, () =>
      this.#wait(
        readers,
        { signal: options.signal, waitMs: Math.max(0, endsAt - this.#clock.monotonicNow()) },
        async (signal) => {
          lease.signal.throwIfAborted();
          const [reader] = await this.#leases.list(readers, { signal, limit: 1, awaitRelease: true });
          return reader === undefined ? { kind: "granted", value: undefined } : busy(reader);
        },
      ),
    );
    return lease;
  }

  /** Who holds it now, by the store. A reader that is stepping back may be seen. */
  async state(options: Abortable = {}): Promise<ReadWriteLockState> {
    const [writer, readers] = await Promise.all([
      this.#leases.read(this.#writerName, options),
      this.#leases.list(`${this.#prefix}r/`, options),
    ]);
    return { writer, readers };
  }

  /** Frees what is held through this object and stops renewing. */
  close(): Promise<void> {
    return this.#keeper.shutDown();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #writerName(): string {
    return `${this.#prefix}w`;
  }

  #wait<T>(
    releasedName: string,
    options: Abortable & { readonly waitMs?: number },
    look: (signal: AbortSignal | undefined) => Promise<Look<T>>,
  ): Promise<T> {
    const { waitMs = 30_000, signal } = options;
    return waitForGrant({
      clock: this.#clock,
      waitMs,
      signal,
      look,
      subscribe: (wake) => this.#leases.onReleased(releasedName, wake),
      timedOut: (holder) => new LockTimeoutError(this.name, waitMs, holder),
    });
  }

  /** What comes of `step`; when it throws, the lease is given back first. */
  async #settleOrFree<T>(lease: HeldLease, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      // When the store does not answer, it ends by itself.
      await lease.release().catch(() => undefined);
      throw error;
    }
  }
}

const busy = ({ owner, remainingMs }: LeaseInfo): { kind: "busy"; holder: string; remainingMs: number } => ({
  kind: "busy",
  holder: owner,
  remainingMs,
});
