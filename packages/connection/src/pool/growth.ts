import { whole } from "../link/settings.ts";
import type { BackgroundWork } from "./background-work.ts";
import { Opener } from "./opener.ts";
import type { PoolEntry } from "./pool-entry.ts";
import type { PoolLedger } from "./pool-ledger.ts";
import type { PoolSettings } from "./pool-options.ts";

const LIFETIME_SPREAD = 0.1;
/** A resource that broke sooner than this was no better than none: who takes all and drops them is not hurried. */
const STEADY_MS = 1_000;

export interface GrowthOptions<T> {
  readonly settings: PoolSettings<T>;
  readonly ledger: PoolLedger<T>;
  readonly background: BackgroundWork;
  /** How many wait for whom no resource is being made ready. */
  readonly waitingCount: () => number;
  /** Of the pool now. A resource is of the generation in which its opening began. */
  readonly generation: () => number;
  /** There is one more, which nobody holds yet. */
  readonly onOpened: (entry: PoolEntry<T>, openMs: number) => void;
  readonly onFailed: (error: unknown) => void;
  /** One broke by itself after it was opened. */
  readonly onBroken: (entry: PoolEntry<T>, error: Error | undefined) => void;
  /** One arrived although its opening was given up. */
  readonly onLate: (resource: T) => void;
}

/**
 * Opens as many resources as are waited for, or missing below the minimum, within all bounds. After a failure, or where
 * one breaks within a second, those that nobody waits for are left alone for a while.
 */
export class Growth<T> {
  readonly #options: GrowthOptions<T>;
  readonly #settings: PoolSettings<T>;
  readonly #ledger: PoolLedger<T>;
  readonly #opener: Opener<T>;
  readonly #stopped = new AbortController();
  #minCount: number;
  #isStopped = false; // beside the signal, which takes long to ask

  constructor(options: GrowthOptions<T>) {
    this.#options = options;
    this.#settings = options.settings;
    this.#ledger = options.ledger;
    this.#opener = new Opener(options.settings);
    this.#minCount = options.settings.minCount;
  }

  get minCount(): number {
    return this.#minCount;
  }

  /** @throws InvalidInputError outside 0 to `maxCount`. */
  set minCount(minCount: number) {
    this.#minCount = whole("minCount", minCount, { min: 0, max: this.#settings.maxCount });
  }

  /** Looks whether something should be opened, and begins. */
  grow(): void {
    if (this.#isStopped) return;
    const ledger = this.#ledger;
    const { maxCount, openingMaxCount } = this.#settings;
    while (ledger.openingCount < openingMaxCount && ledger.size < maxCount) {
      const isWaitedFor = ledger.openingCount < this.#options.waitingCount();
      const isMissing = ledger.size < this.#minCount && !this.#opener.isResting;
      if (!isWaitedFor && !isMissing) return;
      if (this.#settings.permits?.take() === false) return;
      ledger.openingCount += 1;
      this.#options.background.add(this.#open());
    }
  }

  /** Opens nothing more, and gives up what is being opened. Nobody hears of that. */
  stop(reason: Error): void {
    this.#isStopped = true;
    this.#stopped.abort(reason);
    this.#opener.stop();
  }

  async #open(): Promise<void> {
    const { onBroken, onLate, onOpened } = this.#options;
    const { clock, lifetimeMs, permits, random } = this.#settings;
    const ledger = this.#ledger;
    const startedAt = clock.monotonicNow();
    const generation = this.#options.generation();
    let entry: PoolEntry<T> | undefined;
    let isBroken = false;
    let openedAt = startedAt;
    const onBreak = (error?: Error): void => {
      isBroken = true;
      if (entry === undefined) return;
      // Not one that the pool let go itself.
      if (entry.state !== "gone" && clock.monotonicNow() - openedAt < STEADY_MS) this.#rest();
      onBroken(entry, error);
    };
    let resource: T;
    try {
      resource = await this.#opener.open(this.#stopped.signal, onBreak, onLate);
    } catch (error) {
      ledger.openingCount -= 1;
      permits?.give();
      if (!this.#isStopped) this.#failed(error);
      return;
    }
    const now = clock.monotonicNow();
    openedAt = now;
    if (isBroken) this.#rest();
    entry = ledger.opened(resource, {
      expiresAt: now + lifetimeMs * (1 - random.next() * LIFETIME_SPREAD),
      generation,
      idleSince: now,
      isBroken,
    });
    onOpened(entry, now - startedAt);
    this.grow();
  }

  /** What is missing may wait; what rests already is not made to rest for longer. */
  #rest(): void {
    if (!this.#isStopped && !this.#opener.isResting) this.#opener.rest(() => this.grow());
  }

  #failed(error: unknown): void {
    this.#ledger.openFailedCount += 1;
    this.#options.onFailed(error);
    // Nobody waits for the minimum, so it is left alone for a while.
    this.#opener.rest(() => this.grow());
    this.grow();
  }
}
