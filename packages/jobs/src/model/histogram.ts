import { inflateSync } from "node:zlib";
import { InvalidInputError } from "@holdfast/kernel";
import type { EncodedHistogram } from "@holdfast/protocol/contract";
import { encodeIntoCompressedBase64, Float64Histogram, JsHistogram } from "hdr-histogram-js";
// Declares JsHistogram.decode, which the package's index leaves out.
import type {} from "hdr-histogram-js/dist/JsHistogram.encoding.js";

/**
 * Values are kept as whole thousandths, so that milliseconds with a fraction keep their microseconds.
 * The scale is part of the wire format: both sides must use the same one.
 */
const SCALE = 1_000;
/** The largest value that a double still counts in thousandths. */
const VALUE_MAX = Math.floor(Number.MAX_SAFE_INTEGER / SCALE);
const SIGNIFICANT_DIGITS = 3;
/** Where the counts start: 65.5 (ms) costs 56 KiB; larger values grow the array by themselves. */
const INITIAL_HIGHEST = 2 ** 16;
/** The widest histogram of three digits has 45,056 buckets of at most 9 bytes; more than that is no histogram. */
const DECODED_MAX_BYTES = 512 * 1024;
/** Bits below which 32-bit arithmetic finds a bucket. */
const SMALL_MAX = 2 ** 31;

/**
 * Counts by bucket. The library finds a value's bucket with logarithms and powers (110 ns a record as measured);
 * counting leading zeros does the same for values below 2^31 in a tenth of that.
 */
class Counts extends Float64Histogram {
  constructor() {
    super(1, INITIAL_HIGHEST, SIGNIFICANT_DIGITS);
    this.autoResize = true;
  }

  /** The same text for the same counts, however far the array has grown: its header states the range in use. */
  encode(): string {
    const { highestTrackableValue } = this;
    this.highestTrackableValue = Math.max(2, this.highestEquivalentValue(this.maxValue));
    try {
      return encodeIntoCompressedBase64(this);
    } finally {
      this.highestTrackableValue = highestTrackableValue;
    }
  }

  override countsArrayIndex(value: number): number {
    if (value >= SMALL_MAX) return super.countsArrayIndex(value);
    if (value < 2_048) return value;
    const bucket = 21 - Math.clz32(value);
    return (bucket << 10) + (value >>> bucket);
  }
}

/**
 * A distribution of non-negative numbers (milliseconds, bytes, anything) that merges without loss.
 *
 * Guaranteed: percentiles are within 0.1 % of the true value, or within 0.001 for values below 2; count, min,
 * max and mean are exact where recorded here, and within the same error after `decode`. Merging the
 * histograms of parts gives the histogram of the whole. Values above 9.007e12 count as that; values are
 * rounded to thousandths. Recording takes about 20 ns; memory grows with the logarithm of the largest value,
 * to at most 360 KiB. Based on HdrHistogram (Gil Tene), V2 compressed encoding.
 */
export class Histogram {
  #counts = new Counts();
  #min = Number.POSITIVE_INFINITY;
  #max = 0;
  #sum = 0;

  get count(): number {
    return this.#counts.totalCount;
  }

  /** @throws InvalidInputError for a value that is negative or not finite; nothing is recorded. */
  record(value: number): void {
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) {
      throw new InvalidInputError("value", value, "a finite number of at least 0");
    }
    const bounded = value > VALUE_MAX ? VALUE_MAX : value;
    this.#counts.recordSingleValue(Math.round(bounded * SCALE));
    if (bounded < this.#min) this.#min = bounded;
    if (bounded > this.#max) this.#max = bounded;
    this.#sum += bounded;
  }

  /** Adds everything that `other` counted. */
  add(other: Histogram): void {
    if (other.count === 0) return;
    this.#counts.add(other.#counts);
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
    this.#sum += other.#sum;
  }

  /** Forgets everything, keeping its memory for the next values. */
  reset(): void {
    this.#counts.reset();
    this.#min = Number.POSITIVE_INFINITY;
    this.#max = 0;
    this.#sum = 0;
  }

  /** The value below or at which `percent` (0 to 100) of all values lie. 0 when empty. */
  percentile(percent: number): number {
    return this.#percentiles([percent])[0] ?? 0;
  }

  /** The wire form, with its figures. About 1 ms for a histogram full of different values, far less as a rule. */
  encode(): EncodedHistogram {
    const { count } = this;
    const [p50, p90, p95, p99, p999] = this.#percentiles([50, 90, 95, 99, 99.9]) as [
      number,
      number,
      number,
      number,
      number,
    ];
    return {
      encoded: this.#counts.encode(),
      count,
      min: count === 0 ? 0 : this.#min,
      mean: count === 0 ? 0 : this.#sum / count,
      max: this.#max,
      p50,
      p90,
      p95,
      p99,
      p999,
    };
  }

  /**
   * Reads the wire form. Counts come from the encoded buckets alone; min, mean and max are taken from the
   * figures only as far as the buckets bear them out, so a sender cannot lie about them.
   * @throws InvalidInputError when it is not a histogram of this kind or would unpack to more than 512 KiB.
   */
  static decode(wire: EncodedHistogram): Histogram {
    const histogram = new Histogram();
    const counts = readCounts(wire.encoded);
    const length = counts.countsArrayLength;
    let first = -1;
    let last = -1;
    let scaledSum = 0;
    for (let index = 0; index < length; index += 1) {
      const count = counts.getCountAtIndex(index);
      if (count === 0) continue;
      if (!(count > 0)) throw invalid("without negative counts");
      if (first < 0) first = index;
      last = index;
      scaledSum += counts.medianEquivalentValue(counts.valueFromIndex(index)) * count;
    }
    if (last < 0) return histogram;
    histogram.#counts.add(counts);
    const lowest = counts.valueFromIndex(first);
    const highest = counts.highestEquivalentValue(counts.valueFromIndex(last));
    const mean = scaledSum / counts.totalCount;
    // Half a bucket either way is as far as the median of a bucket can be from what was recorded.
    const meanError = Math.max(1, mean / 1_000);
    histogram.#min = clamp(
      wire.min,
      Math.max(0, lowest - 0.5) / SCALE,
      (lowest + bucketWidth(counts, lowest)) / SCALE,
    );
    histogram.#max = clamp(wire.max, (counts.valueFromIndex(last) - 0.5) / SCALE, (highest + 0.5) / SCALE);
    histogram.#sum =
      clamp(wire.mean, (mean - meanError) / SCALE, (mean + meanError) / SCALE) * counts.totalCount;
    return histogram;
  }

  /** All in one pass over the buckets. `percents` must ascend. */
  #percentiles(percents: readonly number[]): readonly number[] {
    const counts = this.#counts;
    const total = counts.totalCount;
    if (total === 0) return percents.map(() => 0);
    const values: number[] = [];
    let seen = 0;
    let index = -1;
    for (const percent of percents) {
      // The tiny share keeps 99.9 % of 1000 from becoming the 1000th value through rounding.
      const wanted = Math.max(1, Math.ceil((percent / 100) * total * (1 - 2 ** -50)));
      while (seen < wanted) {
        index += 1;
        seen += counts.getCountAtIndex(index);
      }
      const value = counts.highestEquivalentValue(counts.valueFromIndex(index)) / SCALE;
      values.push(clamp(value, this.#min, this.#max));
    }
    return values;
  }
}

/** One histogram of all the parts: the same as if every value had been recorded in one. */
export const mergeHistograms = (parts: readonly EncodedHistogram[]): EncodedHistogram => {
  const merged = new Histogram();
  for (const part of parts) merged.add(Histogram.decode(part));
  return merged.encode();
};

const invalid = (expected: string, cause?: unknown): InvalidInputError =>
  new InvalidInputError("histogram.encoded", "…", `an HDR histogram (V2, compressed, base64) ${expected}`, {
    cause,
  });

/** Magic numbers of the V2 encoding, without the word size in bits 4 to 7. */
const COMPRESSED_COOKIE = 0x1c849304;
const cookieOf = (bytes: Buffer): number => bytes.readInt32BE(0) & ~0xf0;

/** The library unpacks whatever it is given; a histogram from another node must not cost more than a histogram. */
const readCounts = (encoded: string): JsHistogram => {
  try {
    const packed = Buffer.from(encoded, "base64");
    if (packed.length < 8 || cookieOf(packed) !== COMPRESSED_COOKIE) throw new Error("no such header");
    const bytes = inflateSync(packed.subarray(8, 8 + packed.readInt32BE(4)), {
      maxOutputLength: DECODED_MAX_BYTES,
    });
    if (
      bytes.length < 40 ||
      bytes.readInt32BE(12) !== SIGNIFICANT_DIGITS ||
      bytes.readBigInt64BE(16) !== 1n
    ) {
      throw new Error("other digits or units");
    }
    if (bytes.readBigInt64BE(24) > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error("too wide");
    return JsHistogram.decode(bytes, 64);
  } catch (error) {
    throw invalid(`of ${SIGNIFICANT_DIGITS} digits in thousandths`, error);
  }
};

const bucketWidth = (counts: JsHistogram, value: number): number => counts.sizeOfEquivalentValueRange(value);

const clamp = (value: number, low: number, high: number): number =>
  Number.isFinite(value) ? Math.min(Math.max(value, low), high) : low;
