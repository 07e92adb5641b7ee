import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MeasurementSum, Meter, mergeMeasurements } from "./measurements.ts";

describe("Meter", () => {
  it("gives in its windows, summed, exactly its totals", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("count" as const), name: fc.constantFrom("a", "b"), by: fc.nat(100) }),
      fc.record({
        kind: fc.constant("record" as const),
        name: fc.constantFrom("x", "y"),
        by: fc.double({ min: 0, max: 1e4, noNaN: true }),
      }),
      fc.constant({ kind: "window" as const }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const meter = new Meter();
        const windows = new MeasurementSum();
        for (const item of steps) {
          if (item.kind === "count") meter.count(item.name, item.by);
          else if (item.kind === "record") meter.record(item.name, item.by);
          else windows.add(meter.takeWindow());
        }
        windows.add(meter.takeWindow());
        const summed = windows.toMeasurements();
        const totals = meter.totals();
        for (const name of Object.keys(totals.counters)) {
          expect(summed.counters[name] ?? 0).toBe(totals.counters[name]);
        }
        for (const name of Object.keys(totals.histograms)) {
          expect(summed.histograms[name]?.encoded).toBe(totals.histograms[name]?.encoded);
        }
      }),
    );
  });

  it("leaves out of a window what did not change", () => {
    const meter = new Meter();
    meter.count("rows", 3);
    meter.record("ms", 4);
    meter.takeWindow();
    expect(meter.takeWindow()).toEqual({ counters: {}, histograms: {} });
    meter.count("rows");
    expect(meter.takeWindow()).toEqual({ counters: { rows: 1 }, histograms: {} });
    expect(meter.totals().counters).toEqual({ rows: 4 });
  });

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY])("refuses to count by %s", (amount) => {
    const meter = new Meter();
    expect(() => meter.count("rows", amount)).toThrow(/counter rows/);
    expect(meter.totals().counters).toEqual({});
  });

  it("refuses a name beyond its bounds and keeps the others", () => {
    const meter = new Meter();
    for (let index = 0; index < 1_000; index += 1) meter.count(`c${index}`);
    expect(() => meter.count("one more")).toThrow(/at most 1000 different names/);
    for (let index = 0; index < 100; index += 1) meter.record(`h${index}`, 1);
    expect(() => meter.record("one more", 1)).toThrow(/at most 100 different names/);
    meter.count("c7");
    expect(meter.totals().counters["c7"]).toBe(2);
    expect(() => meter.count("")).toThrow(/1 to 256 characters/);
  });

  it("keeps names that mean something to JavaScript", () => {
    const meter = new Meter();
    meter.count("__proto__", 2);
    meter.count("constructor", 3);
    expect(Object.entries(mergeMeasurements([meter.totals()]).counters)).toEqual([
      ["__proto__", 2],
      ["constructor", 3],
    ]);
  });
});

describe("MeasurementSum", () => {
  it("does not depend on the order of its parts", () => {
    const part = fc.record({
      counters: fc.dictionary(fc.constantFrom("a", "b", "c"), fc.nat(1000)),
      values: fc.array(fc.double({ min: 0, max: 1e5, noNaN: true }), { maxLength: 20 }),
    });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const measured = parts.map(({ counters, values }) => {
          const meter = new Meter();
          for (const [name, amount] of Object.entries(counters)) meter.count(name, amount);
          for (const value of values) meter.record("ms", value);
          return meter.totals();
        });
        const forward = mergeMeasurements(measured);
        const backward = mergeMeasurements([...measured].reverse());
        expect(backward.counters).toEqual(forward.counters);
        expect(backward.histograms["ms"]?.encoded).toBe(forward.histograms["ms"]?.encoded);
      }),
    );
  });

  it("adds nothing of a part that it refuses", () => {
    const sum = new MeasurementSum();
    sum.add({ counters: { rows: 1 }, histograms: {} });
    const histogram = {
      encoded: "nonsense",
      count: 1,
      min: 0,
      mean: 0,
      max: 0,
      p50: 0,
      p90: 0,
      p95: 0,
      p99: 0,
      p999: 0,
    };
    expect(() => sum.add({ counters: { rows: 5 }, histograms: { ms: histogram } })).toThrow(/HDR histogram/);
    const tooMany = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`c${index}`, 1]));
    expect(() => sum.add({ counters: tooMany, histograms: {} })).toThrow(/at most 1000/);
    expect(sum.toMeasurements()).toEqual({ counters: { rows: 1 }, histograms: {} });
    expect(sum.isEmpty).toBe(false);
  });
});
