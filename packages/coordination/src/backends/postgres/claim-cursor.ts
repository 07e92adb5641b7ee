import type { Clock } from "@holdfast/kernel";
import type { ClaimRow } from "./task-rows.ts";

/** From the beginning at least this often, so that what became visible late is not passed over for longer. */
const FULL_EVERY_MS = 200;
/** Looking from the beginning may take this share of the time at most, where much lies dead there. */
const FULL_SHARE = 0.05;
/** However slow it is. */
const FULL_EVERY_MAX_MS = 5000;

/** The place of a task in the order of claims, within its priority. */
type Place = readonly [runUs: number, seq: string] | readonly [null, null];

const BEGINNING: readonly Place[] = Array.from({ length: 4 }, () => [null, null] as const);

/**
 * Where claims of a queue begin to look, so that they need not walk over what earlier ones took.
 *
 * The index that claims walk keeps entries of tasks that are gone until vacuum has removed them, and a transaction that
 * stays open anywhere in the database holds vacuum up. A claim therefore begins where the last one ended, priority by
 * priority. What became visible before that place since (an enqueueing or a claim whose transaction took long) is found
 * when a claim looks from the beginning again: when it did not find all it asked for, and every 200 ms, or, where that
 * is slow, for a twentieth of the time, but every 5 s. Claims that lapsed or were given back go to before that place, and whoever
 * takes them there announces it: the next claim of each who hears it looks from the beginning.
 */
export class ClaimCursor {
  readonly #clock: Clock;
  /** By priority from critical to low. */
  #after: Place[] = [...BEGINNING];
  #types = "";
  #fullAgainAt = Number.NEGATIVE_INFINITY;
  #resetCount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Where the next claim begins; undefined when it is to begin at the beginning. */
  next(types: readonly string[] | undefined): readonly (number | string | null)[] | undefined {
    if (this.#clock.monotonicNow() >= this.#fullAgainAt || keyOf(types) !== this.#types) return undefined;
    return this.#after.flat();
  }

  /** To be noted before a look from the beginning, so that a reset during the look is not forgotten. */
  get resetCount(): number {
    return this.#resetCount;
  }

  /** What stands for the beginning. */
  static get beginning(): readonly (number | string | null)[] {
    return BEGINNING.flat();
  }

  /** Notes what a claim found, in claim order. `look` is set for one that looked from the beginning: when it began to. */
  found(
    types: readonly string[] | undefined,
    rows: readonly ClaimRow[],
    look?: { readonly startedAt: number; readonly resetCount: number },
  ): void {
    if (look !== undefined) {
      if (look.resetCount === this.#resetCount) {
        const now = this.#clock.monotonicNow();
        this.#fullAgainAt =
          now + Math.min(FULL_EVERY_MAX_MS, Math.max(FULL_EVERY_MS, (now - look.startedAt) / FULL_SHARE));
      }
      this.#after = [...BEGINNING];
      this.#types = keyOf(types);
    }
    for (const { priority, run_us, seq } of rows)
      this.#after[3 - priority] = [Math.round(Number(run_us)), seq];
  }

  /** The next claim looks from the beginning, whatever those find that are on their way. */
  reset(): void {
    this.#resetCount += 1;
    this.#fullAgainAt = Number.NEGATIVE_INFINITY;
  }
}

const keyOf = (types: readonly string[] | undefined): string => types?.join("\0") ?? "*";
