import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OverloadDetector, type OverloadDetectorOptions } from "./overload-detector.ts";
import { overloadLevels } from "./overload-level.ts";

const warm = (latencyMs: number, options: OverloadDetectorOptions = {}): OverloadDetector => {
  const detector = new OverloadDetector(options);
  for (let count = 0; count < 50; count += 1) detector.recordLatency(latencyMs);
  return detector;
};

describe("OverloadDetector", () => {
  it.each([
    [199, "healthy"],
    [200, "busy"],
    [499, "busy"],
    [500, "stressed"],
    [2_000, "overloaded"],
  ] as const)("calls a latency of %i ms %s, also while warming up", (latencyMs, level) => {
    expect(new OverloadDetector().recordLatency(latencyMs)).toBe(level);
  });

  it.each([
    [{ cpuShare: 0.69 }, "healthy"],
    [{ cpuShare: 0.7 }, "busy"],
    [{ memoryShare: 0.85 }, "stressed"],
    [{ cpuShare: 0.1, memoryShare: 0.95 }, "overloaded"],
  ] as const)("calls resources of %o %s", (sample, level) => {
    expect(new OverloadDetector().recordResources(sample)).toBe(level);
  });

  it("sees recent latency rising above its own baseline", () => {
    // One sample of ten: the mean of 100 ms rises by a tenth of what the sample adds.
    expect(warm(100).recordLatency(200)).toBe("healthy");
    expect(warm(100).recordLatency(310)).toBe("busy");
    expect(warm(100).recordLatency(610)).toBe("stressed");
    expect(warm(100).recordLatency(1_110)).toBe("overloaded");
  });

  it("does not judge against a baseline before the warm-up, nor take noise for a rise", () => {
    const cold = new OverloadDetector();
    cold.recordLatency(10);
    expect(cold.recordLatency(100)).toBe("healthy");
    expect(warm(0.1).recordLatency(20)).toBe("healthy");
  });

  it("worsens at once and improves only after two better samples in a row", () => {
    const detector = new OverloadDetector();
    expect(detector.recordResources({ cpuShare: 0.96 })).toBe("overloaded");
    expect(detector.recordResources({ cpuShare: 0.1 })).toBe("overloaded");
    expect(detector.recordResources({ cpuShare: 0.96 })).toBe("overloaded");
    expect(detector.recordResources({ cpuShare: 0.75 })).toBe("overloaded");
    expect(detector.recordResources({ cpuShare: 0.1 })).toBe("busy");
    expect(detector.recordResources({ cpuShare: 0.1 })).toBe("busy");
    expect(detector.recordResources({ cpuShare: 0.1 })).toBe("healthy");
  });

  it("catches a slow creep that never jumps", () => {
    const detector = warm(50, { riseLimits: [5, 6, 7] });
    let latencyMs = 50;
    while (detector.level === "healthy" && latencyMs < 190) {
      latencyMs *= 1.02;
      detector.recordLatency(latencyMs);
    }
    expect(detector.level).toBe("busy");
    expect(latencyMs).toBeLessThan(190);
    expect(detector.stats.drift).toBeGreaterThanOrEqual(0.3);
  });

  it("makes a busy node one level worse while its baseline drifts", () => {
    const options: OverloadDetectorOptions = { riseLimits: [50, 60, 70] };
    const steady = warm(250, options);
    expect(steady.level).toBe("busy");
    for (let latencyMs = 250; steady.stats.drift < 0.15; latencyMs *= 1.02) steady.recordLatency(latencyMs);
    // Each sample is judged against what was known before it.
    steady.recordLatency(300);
    expect(steady.stats.recentMs).toBeLessThan(500);
    expect(steady.level).toBe("stressed");
  });

  it("reports each change once, and its counts add up for any samples", () => {
    const sample = fc.oneof(
      fc.record({ latencyMs: fc.double({ min: 0, max: 5_000, noNaN: true }) }),
      fc.record({ cpuShare: fc.double({ min: 0, max: 1, noNaN: true }) }),
    );
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 80 }), (samples) => {
        const detector = new OverloadDetector();
        const changes: string[] = [];
        detector.events.on("levelChanged", ({ from, to }) => changes.push(`${from} ${to}`));
        for (const entry of samples) {
          if ("latencyMs" in entry) detector.recordLatency(entry.latencyMs);
          else detector.recordResources(entry);
        }
        const stats = detector.stats;
        expect(stats.sampleCount).toBe(samples.length);
        expect(stats.changeCount).toBe(changes.length);
        expect(stats.changeCount).toBe(stats.worsenedCount + stats.improvedCount);
        expect(overloadLevels).toContain(detector.level);
        for (const change of changes) expect(change.split(" ")[0]).not.toBe(change.split(" ")[1]);
      }),
    );
  });

  it("refuses limits that do not rise and samples that are no numbers", () => {
    expect(() => new OverloadDetector({ latencyLimitsMs: [5, 5, 6] })).toThrow(/detector.latencyLimitsMs/);
    expect(() => new OverloadDetector().recordLatency(Number.NaN)).toThrow(/latencyMs/);
    expect(() => new OverloadDetector().recordResources({ cpuShare: -1 })).toThrow(/cpuShare/);
  });
});
