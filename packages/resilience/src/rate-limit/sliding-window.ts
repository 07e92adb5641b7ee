import { checkCount, checkDurationMs } from "../option-checks.ts";

/** The ring starts this small and doubles up to the limit, so that an idle key costs little. */
const INITIAL_CAPACITY = 4;

/**
 * Grants at most `limit` permits in any stretch of `windowMs`: exact, not an approximation by buckets.
 *
 * It remembers when each of the last `limit` permits was granted, in a ring; a permit is free again when the
 * oldest of them is a whole window old. Taking one costs one comparison, whatever the limit. Memory is at most
 * 8 bytes × limit, and only what was used at once.
 */
export class SlidingWindow {
  readonly limit: number;
  readonly windowMs: number;
  #ring: Float64Array;
  #head = 0;
  #count = 0;

  /** @throws InvalidInputError naming the argument that is out of range. */
  constructor(options: { readonly limit: number; readonly windowMs: number }) {
    this.limit = checkCount("limit", options.limit, { min: 1, max: 10_000_000 });
    this.windowMs = checkDurationMs("windowMs", options.windowMs);
    this.#ring = new Float64Array(Math.min(this.limit, INITIAL_CAPACITY));
  }

  /**
   * Takes `count` permits if they are free at `now`, else takes none.
   * @param count At most `limit`; the caller checks.
   * @returns 0 when taken, else the milliseconds until the same call can succeed.
   */
  take(now: number, count = 1): number {
    if (count === 1 && this.#count === this.#ring.length) {
      // The common case of a warm ring: the oldest grant makes room or does not.
      const head = this.#head;
      const freeAt = (this.#ring[head] as number) + this.windowMs;
      if (freeAt <= now) {
        this.#ring[head] = now;
        this.#head = head + 1 === this.#ring.length ? 0 : head + 1;
        return 0;
      }
      if (this.#ring.length === this.limit) return freeAt - now;
    }
    return this.#takeMany(now, count);
  }

  /** What `take` would return, without taking. */
  waitMs(now: number, count = 1): number {
    this.#dropOld(now);
    const missing = this.#count + count - this.limit;
    if (missing <= 0) return 0;
    // The permit that must end before there is room for all.
    return (this.#ring[(this.#head + missing - 1) % this.#ring.length] as number) + this.windowMs - now;
  }

  /** Permits that are free at `now`. */
  freeCount(now: number): number {
    this.#dropOld(now);
    return this.limit - this.#count;
  }

  #takeMany(now: number, count: number): number {
    const waitMs = this.waitMs(now, count);
    if (waitMs > 0) return waitMs;
    if (this.#count + count > this.#ring.length) this.#grow(this.#count + count);
    for (let index = 0; index < count; index += 1) {
      this.#ring[(this.#head + this.#count) % this.#ring.length] = now;
      this.#count += 1;
    }
    return 0;
  }

  #dropOld(now: number): void {
    while (this.#count > 0 && (this.#ring[this.#head] as number) + this.windowMs <= now) {
      this.#head = this.#head + 1 === this.#ring.length ? 0 : this.#head + 1;
      this.#count -= 1;
    }
  }

  #grow(needed: number): void {
    const next = new Float64Array(Math.min(this.limit, Math.max(needed, this.#ring.length * 2)));
    for (let index = 0; index < this.#count; index += 1) {
      next[index] = this.#ring[(this.#head + index) % this.#ring.length] as number;
    }
    this.#ring = next;
    this.#head = 0;
  }
}
