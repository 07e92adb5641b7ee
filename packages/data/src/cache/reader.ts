import { untilAborted } from "@holdfast/kernel";
import { isInsideTransaction } from "../sql/transaction-scope.ts";
import type { CacheCounters } from "./cache-counters.ts";
import { type CacheKey, keyName, NAME_MAX_LENGTH } from "./cache-key.ts";
import { checkLifetimes, checkRange, checkTags, type GetOptions } from "./cache-options.ts";
import { valueIn } from "./codec.ts";
import {
  bypass,
  type FirstLook,
  type FlightContext,
  type FlightRequest,
  fly,
  lookAt,
  type Outcome,
} from "./flight.ts";
import { MetSessions } from "./met-sessions.ts";
import type { NearEntry } from "./near-cache.ts";
import type { Partition, SharedFlight } from "./partition.ts";

const NO_TAGS: readonly string[] = [];
/** A reader whose joined loads keep being overtaken by invalidations goes to the source itself after this many. */
const JOIN_MAX_COUNT = 4;

export interface ReaderOptions {
  readonly context: FlightContext;
  readonly counters: CacheCounters;
  readonly partitionOf: (key: string) => Partition;
  /** Nothing of the store is trusted now. */
  readonly isDistrusted: () => boolean;
  /** Called with some of the hits. */
  readonly onHit: ((request: FlightRequest, value: unknown) => void) | undefined;
}

/** Reads: a copy of this process, the shared store, or the source, whichever is new enough and nearest. */
export class Reader {
  readonly #context: FlightContext;
  readonly #counters: CacheCounters;
  readonly #partitionOf: (key: string) => Partition;
  readonly #isDistrusted: () => boolean;
  readonly #onHit: ReaderOptions["onHit"];
  readonly #maxStalenessMs: number;
  readonly #met = new MetSessions();

  constructor(options: ReaderOptions) {
    this.#context = options.context;
    this.#counters = options.counters;
    this.#partitionOf = options.partitionOf;
    this.#isDistrusted = options.isDistrusted;
    this.#onHit = options.onHit;
    this.#maxStalenessMs = options.context.settings.maxStalenessMs;
  }

  get<T>(key: CacheKey, options: GetOptions<T>): Promise<T> {
    this.#counters.readCount += 1;
    try {
      options.signal?.throwIfAborted();
      // Most keys are texts that stand for themselves; the others have their copies, and their partition, by their name.
      const isName = typeof key === "string" && key.charCodeAt(0) > 1 && key.length <= NAME_MAX_LENGTH;
      const name = isName ? key : keyName(key);
      const partition = this.#partitionOf(name);
      const copy = partition.near.get(name);
      if (copy !== undefined) {
        const now = this.#context.clock.monotonicNow();
        if (
          copy.freshUntil > now &&
          this.#isNewEnough(partition, copy, options, now) &&
          !isInsideTransaction()
        ) {
          copy.isVisited = true;
          this.#counters.nearHitCount += 1;
          if (this.#onHit !== undefined) this.#hit(partition, copy, options);
          return (copy.promise ?? Promise.resolve(valueIn(copy.encoded))) as Promise<T>;
        }
      }
      // Some few texts are not their own names after all, so there was no copy of them.
      const whole = keyName(key);
      return this.#slow(whole === name ? partition : this.#partitionOf(whole), whole, options) as Promise<T>;
    } catch (error) {
      this.#counters.failedCount += 1;
      return Promise.reject(error);
    }
  }

  /** The oldest instant at which a value may have been current for this read to give it. */
  #notBefore({ maxStalenessMs, session }: GetOptions<unknown>, now: number): number {
    const age = maxStalenessMs ?? this.#maxStalenessMs;
    const notBefore = now - age;
    if (session === undefined || session.position === 0n) return notBefore;
    return Math.max(notBefore, this.#met.metAt(session, now));
  }

  #isNewEnough(partition: Partition, copy: NearEntry, options: GetOptions<unknown>, now: number): boolean {
    const { maxStalenessMs = this.#maxStalenessMs, session } = options;
    // Without a bound only the store knows. With a session it matters who came first, so instants must differ.
    if (maxStalenessMs === 0) return false;
    const notBefore = this.#notBefore(options, session === undefined ? now : this.#context.tick());
    return partition.syncedAt > notBefore || copy.confirmedAt > notBefore;
  }

  async #slow<T>(partition: Partition, key: string, options: GetOptions<T>): Promise<T> {
    try {
      checkLifetimes(options);
      if (options.maxStalenessMs !== undefined)
        checkRange("maxStalenessMs", options.maxStalenessMs, 0, 60_000);
      const lookup = { key, tags: options.tags === undefined ? NO_TAGS : checkTags(options.tags) };
      const request: FlightRequest = { partition, lookup, options };
      const notBefore = this.#notBefore(options, this.#context.tick());
      for (let count = 0; count < JOIN_MAX_COUNT; count += 1) {
        if (this.#isDistrusted() || partition.isUntold(lookup) || isInsideTransaction()) break;
        const look = await untilAborted(lookAt(this.#context, request), options.signal);
        if ("encoded" in look) return this.#give<T>(request, look);
        let flight = partition.flights.get(key);
        const isOwn = flight === undefined || partition.near.isTouched(flight.mark, key, lookup.tags);
        if (flight === undefined || isOwn) flight = this.#takeOff(request, look);
        const outcome = await untilAborted(flight.promise, options.signal);
        if (isOwn || this.#suits(outcome, flight, options, notBefore)) return this.#give<T>(request, outcome);
      }
      const outcome = await untilAborted(bypass(this.#context, request), options.signal);
      return this.#give<T>(request, outcome);
    } catch (error) {
      this.#counters.failedCount += 1;
      throw error;
    }
  }

  #suits(
    outcome: Outcome,
    flight: SharedFlight,
    { session }: GetOptions<unknown>,
    notBefore: number,
  ): boolean {
    if (outcome.confirmedAt <= notBefore) return false;
    // What the store did not confirm may come from a replica that the first reader's session did not rule out.
    return outcome.isConfirmed || session === undefined || session.position <= flight.covers;
  }

  #takeOff(request: FlightRequest, look: FirstLook): SharedFlight {
    const { partition, lookup, options } = request;
    const { flights, near } = partition;
    const flight: SharedFlight = {
      mark: near.mark,
      covers: options.session?.position ?? 0n,
      promise: fly(this.#context, request, look).finally(() => {
        if (flights.get(lookup.key) === flight) flights.delete(lookup.key);
      }),
    };
    flights.set(lookup.key, flight);
    return flight;
  }

  #give<T>(request: FlightRequest, outcome: Outcome): T {
    const value = valueIn(outcome.encoded);
    switch (outcome.kind) {
      case "shared":
        this.#counters.sharedHitCount += 1;
        this.#onHit?.(request, value);
        break;
      case "stale":
        this.#counters.staleHitCount += 1;
        break;
      case "loaded":
        this.#counters.missCount += 1;
        break;
      case "bypassed":
        this.#counters.bypassCount += 1;
    }
    return value as T;
  }

  #hit(partition: Partition, copy: NearEntry, options: GetOptions<unknown>): void {
    const lookup = { key: copy.key, tags: copy.tags };
    this.#onHit?.({ partition, lookup, options }, valueIn(copy.encoded));
  }
}
