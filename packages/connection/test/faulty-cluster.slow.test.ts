import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { soakCluster } from "./soak/cluster-soak.ts";

expectNoLeaks();

describe("three nodes under a constant load while one of them, then two, fail in every way", () => {
  it("lose no read, repeat no write, hang nothing, and take each healed node back", async () => {
    // Ten times what a request needs on an idle machine: what fails here fails for another reason than a busy one.
    const deadlineMs = 10_000;
    const { faults, reads, writes, ...rest } = await soakCluster({
      seed: 1,
      lapCount: 1,
      faultMs: 1_000,
      rate: 200,
      deadlineMs,
    });
    const figures = faults.map(
      ({ fault, maxMs, nodeCount, p99Ms, returnMs }) =>
        `${fault} of ${nodeCount}: p99 ${p99Ms} ms, worst ${maxMs} ms, back after ${returnMs} ms`,
    );
    console.log([`${reads.askedCount} reads, p99 ${reads.p99Ms} ms`, ...figures].join("\n"));

    expect(reads).toMatchObject({ answeredCount: reads.askedCount, failures: {}, hungCount: 0 });
    expect(reads.askedCount).toBeGreaterThan(1_500);
    expect(writes).toMatchObject({ doubledCount: 0, hungCount: 0 });
    for (const { nodeCount, p99Ms, returnMs } of faults) {
      if (nodeCount === 1) expect(p99Ms).toBeLessThanOrEqual(deadlineMs);
      expect(returnMs).toBeLessThan(10_000);
    }
    const { active, idle, maxCount, opening, resetting, total } = rest.connections;
    expect(active + idle + opening + resetting).toBe(total);
    expect(total).toBeLessThanOrEqual(maxCount);
  });
});
