import type { Clock } from "@holdfast/kernel";
import { hashOf, type QueryKey } from "./query-key.ts";

/** A fetch that was neither completed nor abandoned within this time holds nothing up any more. */
const FETCH_MAX_MS = 60_000;

/** A fetch of the confirmed value of one key. */
export interface Fetch {
  /** False once it was ended. */
  readonly isUnderWay: boolean;
  /** The answer came. False when it is older than one that came before it. */
  answer(): boolean;
  /** Ends it. False when it had ended already. */
  end(): boolean;
}

/** Fetches that are under way, and the order in which those of a key began: an answer may overtake another. */
export class Fetches {
  readonly #clock: Clock;
  readonly #underWay = new Set<{ readonly begunAt: number; readonly begunMs: number }>();
  /** Per key, the newest fetch of which the answer came. */
  readonly #answered = new Map<string, number>();
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param begunAt How many mutations were acknowledged by then. */
  begin(key: QueryKey, begunAt: number): Fetch {
    const underWay = this.#underWay;
    const fetch = { begunAt, begunMs: this.#clock.monotonicNow() };
    underWay.add(fetch);
    this.#count += 1;
    const order = this.#count;
    const hash = hashOf(key);
    return {
      get isUnderWay() {
        return underWay.has(fetch);
      },
      answer: () => {
        if ((this.#answered.get(hash) ?? 0) > order) return false;
        this.#answered.set(hash, order);
        return true;
      },
      end: () => underWay.delete(fetch),
    };
  }

  /** When the oldest began that may still be answered, as `begin` was told; infinity when there is none. */
  get oldestBegunAt(): number {
    const tooOldMs = this.#clock.monotonicNow() - FETCH_MAX_MS;
    let oldest = Number.POSITIVE_INFINITY;
    for (const { begunAt, begunMs } of this.#underWay)
      if (begunMs > tooOldMs) oldest = Math.min(oldest, begunAt);
    return oldest;
  }

  /** Forgets which answers of a key came. */
  forget(key: QueryKey): void {
    this.#answered.delete(hashOf(key));
  }
}
