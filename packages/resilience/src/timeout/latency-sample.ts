/**
 * The last so many latencies, kept sorted beside their order of coming, so that a percentile is one look-up and
 * a new latency moves at most `size` numbers.
 */
export class LatencySample {
  readonly #ring: Float64Array;
  readonly #sorted: Float64Array;
  #next = 0;
  #count = 0;

  constructor(size: number) {
    this.#ring = new Float64Array(size);
    this.#sorted = new Float64Array(size);
  }

  get count(): number {
    return this.#count;
  }

  add(latencyMs: number): void {
    if (this.#count === this.#ring.length) {
      const oldest = this.#lowerBound(this.#ring[this.#next] ?? 0);
      this.#sorted.copyWithin(oldest, oldest + 1, this.#count);
      this.#count -= 1;
    }
    const place = this.#lowerBound(latencyMs);
    this.#sorted.copyWithin(place + 1, place, this.#count);
    this.#sorted[place] = latencyMs;
    this.#count += 1;
    this.#ring[this.#next] = latencyMs;
    this.#next = this.#next + 1 === this.#ring.length ? 0 : this.#next + 1;
  }

  /** The value at the percentile: sorted[min(floor(n × p), n - 1)]. Undefined without samples. */
  at(percentile: number): number | undefined {
    if (this.#count === 0) return undefined;
    return this.#sorted[Math.min(Math.floor(this.#count * percentile), this.#count - 1)];
  }

  /** The first place whose value is not below `value`. */
  #lowerBound(value: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sorted[middle] ?? 0) < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
