import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Histogram, mergeHistograms } from "./histogram.ts";

const histogramOf = (values: readonly number[]): Histogram => {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
};

/** The exact percentile by nearest rank. */
const exact = (values: readonly number[], percent: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length - 1e-9) - 1)] ?? 0;
};

/** The stated error: 0.1 %, or a thousandth below 2 (and half a thousandth for rounding). */
const errorOf = (value: number): number => Math.max(0.0015, value / 1_000);

const measured = fc.oneof(
  fc.double({ min: 0, max: 10, noNaN: true }),
  fc.double({ min: 0, max: 3_600_000, noNaN: true }),
  fc.double({ min: 0, max: 9e12, noNaN: true }),
);

describe("Histogram", () => {
  it("gives percentiles within its stated error of the truth", () => {
    fc.assert(
      fc.property(fc.array(measured, { minLength: 1, maxLength: 200 }), (values) => {
        const histogram = histogramOf(values);
        for (const percent of [1, 50, 90, 95, 99, 99.9, 100]) {
          const truth = exact(values, percent);
          expect(Math.abs(histogram.percentile(percent) - truth)).toBeLessThanOrEqual(errorOf(truth));
        }
      }),
    );
  });

  it("merges parts into what one histogram of all values would be", () => {
    fc.assert(
      fc.property(fc.array(fc.array(measured, { maxLength: 60 }), { maxLength: 6 }), (parts) => {
        const merged = mergeHistograms(parts.map((values) => histogramOf(values).encode()));
        const pooled = histogramOf(parts.flat()).encode();
        expect(merged.count).toBe(pooled.count);
        for (const figure of ["p50", "p90", "p95", "p99", "p999", "min", "max", "mean"] as const) {
          expect(Math.abs(merged[figure] - pooled[figure])).toBeLessThanOrEqual(
            errorOf(pooled[figure]) + 1e-9,
          );
        }
      }),
    );
  });

  it("keeps exact minimum, maximum and count through the wire", () => {
    fc.assert(
      fc.property(fc.array(measured, { minLength: 1, maxLength: 100 }), (values) => {
        const wire = histogramOf(values).encode();
        const back = Histogram.decode(wire).encode();
        expect(back).toMatchObject({ count: values.length, min: wire.min, max: wire.max });
        expect(back.min).toBe(Math.min(...values));
        expect(back.max).toBe(Math.max(...values));
        expect(back.encoded).toBe(wire.encoded);
      }),
    );
  });

  it("is empty with all figures at zero, also after the wire", () => {
    const wire = new Histogram().encode();
    expect(wire).toMatchObject({ count: 0, min: 0, mean: 0, max: 0, p50: 0, p999: 0 });
    expect(Histogram.decode(wire).count).toBe(0);
    expect(mergeHistograms([])).toMatchObject({ count: 0, max: 0 });
  });

  it("counts values beyond its range at the end of it", () => {
    const histogram = histogramOf([1e300, Number.MAX_VALUE]);
    expect(histogram.encode()).toMatchObject({ count: 2, max: 9_007_199_254_740 });
    expect(Histogram.decode(histogram.encode()).count).toBe(2);
  });

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY])("refuses %s and records nothing", (value) => {
    const histogram = new Histogram();
    expect(() => histogram.record(value)).toThrow(/finite number of at least 0/);
    expect(histogram.count).toBe(0);
  });

  it("starts afresh after a reset", () => {
    const histogram = histogramOf([5, 50, 500]);
    histogram.reset();
    histogram.record(2);
    expect(histogram.encode()).toMatchObject({ count: 1, min: 2, max: 2, mean: 2, p999: 2 });
  });

  describe("decode", () => {
    const wire = histogramOf([1, 2, 3]).encode();

    it.each([
      ["nothing", ""],
      ["text", "not base64 at all !!!"],
      ["a truncated histogram", wire.encoded.slice(0, 20)],
      ["other bytes", Buffer.alloc(100, 7).toString("base64")],
    ])("refuses %s", (_what, encoded) => {
      expect(() => Histogram.decode({ ...wire, encoded })).toThrow(/HDR histogram/);
    });

    it("refuses what unpacks to more than a histogram can be", () => {
      const packed = deflateSync(Buffer.alloc(50 * 1024 * 1024));
      const header = Buffer.alloc(8);
      header.writeInt32BE(0x1c849314, 0);
      header.writeInt32BE(packed.length, 4);
      const encoded = Buffer.concat([header, packed]).toString("base64");
      expect(() => Histogram.decode({ ...wire, encoded })).toThrow(/HDR histogram/);
    });

    it("believes figures only as far as the buckets bear them out", () => {
      const lying = { ...wire, count: 1e9, min: -5, mean: 1e9, max: 1e9 };
      const back = Histogram.decode(lying).encode();
      expect(back.count).toBe(3);
      expect(back.min).toBeCloseTo(1, 2);
      expect(back.max).toBeCloseTo(3, 2);
      expect(back.mean).toBeCloseTo(2, 1);
    });
  });
});
