import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { runHistory } from "./histories/run-history.ts";

// The short form of bench/soak/coordination.mjs: few processes with many contenders each.
describe("a history of locks, queue, state and log", () => {
  describeService("postgres", "on PostgreSQL", () => {
    describeService("redis", "and Redis", () => {
      it(
        "keeps every promise while holders are killed, frozen and cut off and the servers restarted",
        {
          timeout: 120_000,
        },
        async () => {
          const report = await runHistory({
            seed: 1 + Math.floor(performance.now() % 1000),
            durationMs: 6000,
            workerCount: 3,
            lanes: 16,
            faultEveryMs: 350,
          });
          expect(report.violations, `seed ${report.seed}`).toEqual([]);
          expect(report.surprises, `seed ${report.seed}`).toEqual([]);
          for (const what of ["locked", "completed", "increments", "entries read", "replicas compared"]) {
            expect(report.counts[what], what).toBeGreaterThan(0);
          }
        },
      );
    });
  });
});
