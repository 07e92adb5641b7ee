import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OperationMetrics } from "./latency-metrics.ts";

describe("OperationMetrics", () => {
  it("is all zeros before the first operation", () => {
    expect(Object.values(new OperationMetrics().stats).every((value) => value === 0)).toBe(true);
  });

  it("gives percentiles by nearest rank", () => {
    const metrics = new OperationMetrics();
    for (const elapsedMs of [15, 20, 35, 40, 50]) metrics.note("success", elapsedMs);
    expect(metrics.stats).toMatchObject({
      minMs: 15,
      maxMs: 50,
      meanMs: 32,
      p50Ms: 35,
      p95Ms: 50,
      p99Ms: 50,
    });
  });

  it("looks at the last 1000 only", () => {
    const metrics = new OperationMetrics();
    for (let index = 0; index < 500; index += 1) metrics.note("success", 1_000_000);
    for (let index = 1; index <= 1_000; index += 1) metrics.note("success", index);
    expect(metrics.stats).toMatchObject({
      totalCount: 1_500,
      minMs: 1,
      maxMs: 1_000,
      p50Ms: 500,
      p95Ms: 950,
      p99Ms: 990,
    });
  });

  it("counts every operation in exactly one outcome", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("success" as const, "error" as const, "timeout" as const)),
        (outcomes) => {
          const metrics = new OperationMetrics();
          for (const outcome of outcomes) metrics.note(outcome, 1);
          const { errorCount, successCount, timeoutCount, totalCount } = metrics.stats;
          expect(totalCount).toBe(outcomes.length);
          expect(successCount + errorCount + timeoutCount).toBe(totalCount);
        },
      ),
    );
  });
});
