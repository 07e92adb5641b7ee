import type { Clock } from "@holdfast/kernel";

/** A look at all claims that costs no more than this is taken every time. */
const CHEAP_MS = 50;
/** What looks at all claims may cost: this share of the time. */
const WHOLE_SHARE = 0.01;
/** How much farther back than to the last look: for claims and renewals that became visible late, and clocks set forward. */
const SLACK_MS = 2_000;

export interface LapseLook {
  /** How far back it looks, in milliseconds; null for all claims. */
  readonly windowMs: number | null;
  readonly startedAt: number;
}

/**
 * How far back to look for claims whose lease ran out.
 *
 * Their index keeps entries of tasks that are completed until vacuum has removed them, which a transaction that stays
 * open anywhere in the database holds up; all of them lie before the claims that lapse now. Where walking over them has
 * become dear, only leases are looked at that ended since the last look, and two seconds before; all of them for a
 * hundredth of the time.
 */
export class LapseWindow {
  readonly #clock: Clock;
  /** What the last two looks at all claims took: one may have been held up by something else. */
  #tookMs: readonly [number, number] = [0, 0];
  #wholeAgainAt = Number.NEGATIVE_INFINITY;
  /** When the last look began that saw all that had lapsed until then. */
  #seenUntil: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): LapseLook {
    const startedAt = this.#clock.monotonicNow();
    return { windowMs: startedAt >= this.#wholeAgainAt ? null : this.windowMs, startedAt };
  }

  /** `sawAll`: it found less than it might have. */
  end({ windowMs, startedAt }: LapseLook, sawAll: boolean): void {
    if (!sawAll) return;
    this.#seenUntil = startedAt;
    if (windowMs !== null) return;
    const now = this.#clock.monotonicNow();
    this.#tookMs = [this.#tookMs[1], now - startedAt];
    const costMs = Math.min(...this.#tookMs);
    this.#wholeAgainAt = costMs <= CHEAP_MS ? Number.NEGATIVE_INFINITY : now + costMs / WHOLE_SHARE;
  }

  /** How far back claims may have lapsed that nobody has found; null where looking at all of them is cheap. */
  get windowMs(): number | null {
    if (this.#seenUntil === undefined || this.#wholeAgainAt === Number.NEGATIVE_INFINITY) return null;
    return this.#clock.monotonicNow() - this.#seenUntil + SLACK_MS;
  }
}
