/**
 * Remembers which sequence numbers were seen, so that a frame that the network repeats counts once.
 *
 * On a path that keeps order this is one number. On one that does not, up to `gapMaxCount` numbers above the
 * first missing one are kept; beyond that the oldest gaps are given up: a frame that comes that late counts
 * as repeated and its asker gets a timeout.
 */
export class SequenceWindow {
  /** Every number below this was seen or given up. */
  #next = 0n;
  readonly #above = new Set<bigint>();
  readonly #gapMaxCount: number;

  constructor(options: { readonly gapMaxCount: number }) {
    this.#gapMaxCount = options.gapMaxCount;
  }

  /** Notes `sequence` as seen; false when it was seen before. */
  add(sequence: bigint): boolean {
    if (sequence === this.#next) {
      this.#next += 1n;
      if (this.#above.size > 0) this.#close();
      return true;
    }
    if (sequence < this.#next || this.#above.has(sequence)) return false;
    this.#above.add(sequence);
    if (this.#above.size > this.#gapMaxCount) {
      let lowest = sequence;
      for (const seen of this.#above) if (seen < lowest) lowest = seen;
      this.#next = lowest;
      this.#close();
    }
    return true;
  }

  #close(): void {
    while (this.#above.delete(this.#next)) this.#next += 1n;
  }
}
