import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WorkflowWindows } from "./workflow-windows.ts";

const update = (windowStart: number, rows = 1, worker = "w") => ({
  worker,
  windowStart,
  measurements: { counters: { rows }, histograms: {} },
});

describe("windows of a workflow", () => {
  const windows = () => new WorkflowWindows({ windowMs: 100, driftMs: 50 });

  it("close when their end and the drift have passed, not before", () => {
    const open = windows();
    open.add(update(1_010), 1_020);
    expect(open.take(1_150)).toEqual([]);
    expect(open.take(1_151)).toMatchObject([{ windowStart: 1_000, workerCount: 1 }]);
    expect(open.isEmpty).toBe(true);
  });

  it("count each worker of a window once", () => {
    const open = windows();
    for (const worker of ["a", "b", "a"]) open.add(update(1_010, 2, worker), 1_020);
    expect(open.take(2_000)).toMatchObject([{ workerCount: 2, measurements: { counters: { rows: 6 } } }]);
  });

  it("put a late report into the oldest window that is open, never into a closed one", () => {
    const open = windows();
    open.add(update(1_010), 1_020);
    open.take(1_200);
    open.add(update(1_050), 1_210);
    expect(open.take(5_000)).toMatchObject([{ windowStart: 1_100 }]);
  });

  it("do not believe a clock that is off by more than five seconds", () => {
    const open = windows();
    open.add(update(0), 100_050);
    open.add(update(900_000), 100_060);
    expect(open.take(200_000)).toMatchObject([
      { windowStart: 100_000, measurements: { counters: { rows: 2 } } },
    ]);
  });

  it("lose nothing and come in order, whatever the order of reports and closings", () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: -8_000, max: 8_000 }), fc.nat(300), fc.boolean()), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(steps, (list) => {
        const open = windows();
        const closed: {
          readonly windowStart: number;
          readonly measurements: { readonly counters: Record<string, number> };
        }[] = [];
        let now = 50_000;
        for (const [offset, wait, take] of list) {
          now += wait;
          open.add(update(now + offset), now);
          if (take) closed.push(...open.take(now));
        }
        closed.push(...open.take(now, { flush: true }));
        expect(open.isEmpty).toBe(true);
        const sum = closed.reduce(
          (total, { measurements }) => total + (measurements.counters["rows"] ?? 0),
          0,
        );
        expect(sum).toBe(list.length);
        const starts = closed.map(({ windowStart }) => windowStart);
        expect(starts).toEqual([...new Set(starts)].sort((a, b) => a - b));
      }),
    );
  });
});
