import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { runWithFaults } from "./cache-fault-run.ts";
import { staleReads } from "./cache-history.ts";

describe("the checker of cache histories", () => {
  const write = (version: number, toldAt: number | undefined) => ({ key: "k", version, toldAt });
  const read = (version: number, askedAt: number, more: object = {}) => ({
    key: "k",
    version,
    askedAt,
    answeredAt: askedAt + 1,
    maxStalenessMs: 100,
    ...more,
  });

  it("finds reads older than what had been told for the bound, and than a session's own write", () => {
    const history = {
      writes: [write(1, 10), write(3, 200), write(2, 220), write(4, undefined)],
      reads: [read(1, 299), read(1, 301), read(2, 500), read(3, 500), read(3, 500, { ownVersion: 4 })],
    };
    expect(
      staleReads(history).map(({ version, askedAt, dueVersion }) => [version, askedAt, dueVersion]),
    ).toEqual([
      [1, 301, 3],
      [2, 500, 3],
      [3, 500, 4],
    ]);
  });
});

describeService(["redis", "postgres"], "the history of a cache", () => {
  it("holds no read that breaks the guarantee while Redis is killed, frozen, cut off and evicts guards", async () => {
    const report = await runWithFaults({ seed: 1, seconds: 8, redis: "single" });
    expect(report.readCount).toBeGreaterThan(100);
    expect(report).toMatchObject({ staleReads: [], wrongAtEnd: [] });
  });
});

describeService(["redis", "postgres"], "the history of a cache on a Redis with replicas", () => {
  it("holds no read that breaks the guarantee while the master is killed and a replica takes its place", async () => {
    const report = await runWithFaults({ seed: 2, seconds: 6, redis: "sentinel" });
    expect(report.faults).toHaveProperty(["master killed, replica promoted"]);
    expect(report).toMatchObject({ staleReads: [], wrongAtEnd: [] });
  });
});
