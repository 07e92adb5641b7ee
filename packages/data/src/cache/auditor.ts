import { isDeepStrictEqual } from "node:util";
import type { CacheCounters } from "./cache-counters.ts";
import { type Encoded, encodeValue, readPayload, valueIn } from "./codec.ts";
import { type FlightContext, type FlightRequest, loadAside } from "./flight.ts";

/**
 * Compares some of the hits with their source. A difference counts only if it lasts: the same entry is still served
 * after the delay, and still differs. (A change that is committed and not yet acknowledged differs for a moment, and
 * may.) One audit at a time; hits that come meanwhile are not looked at.
 */
export class Auditor {
  readonly #context: FlightContext;
  readonly #counters: CacheCounters;
  readonly #onInconsistent: (key: string) => void;
  #isBusy = false;

  constructor(options: {
    readonly context: FlightContext;
    readonly counters: CacheCounters;
    readonly onInconsistent: (key: string) => void;
  }) {
    this.#context = options.context;
    this.#counters = options.counters;
    this.#onInconsistent = options.onInconsistent;
  }

  readonly onHit = (request: FlightRequest, value: unknown): void => {
    const { settings, random } = this.#context;
    if (this.#isBusy || random.next() >= settings.auditRatio) return;
    this.#isBusy = true;
    this.#context.spawn("audit of a cache entry", async () => {
      try {
        await this.#audit(request, value);
      } catch {
        // Neither the source nor the store says anything now; a later hit will be audited.
      } finally {
        this.#isBusy = false;
      }
    });
  };

  async #audit(request: FlightRequest, value: unknown): Promise<void> {
    const { settings, clock, signal } = this.#context;
    const { partition, lookup } = request;
    this.#counters.auditCount += 1;
    if (await this.#agrees(request, value)) return;
    const before = await partition.read(lookup);
    await clock.sleep(settings.auditDelayMs, { signal });
    const after = await partition.read(lookup);
    const copy = partition.near.get(lookup.key);
    const isSame = (encoded: Encoded): boolean => isDeepStrictEqual(valueIn(encoded), value);
    // What has another value by now was changed and filled anew, perhaps before the first look.
    const isStillServed =
      (after !== undefined && after.stamp === before?.stamp && isSame(readPayload(after.payload))) ||
      (copy !== undefined && isSame(copy.encoded));
    if (!isStillServed || (await this.#agrees(request, value))) return;
    this.#counters.inconsistentCount += 1;
    this.#onInconsistent(lookup.key);
  }

  async #agrees(request: FlightRequest, value: unknown): Promise<boolean> {
    const loaded = await loadAside(this.#context, request);
    // By the same way as the hit, so that both have the same types.
    return isDeepStrictEqual(valueIn(encodeValue(loaded)), value);
  }
}
