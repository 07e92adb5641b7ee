import { openEmbedded } from "@holdfast/data";
import { countIndependently, dataSetPath } from "@holdfast/example-import/cities";
import { silentLogger, systemClock } from "@holdfast/kernel";
import type { JobResult } from "@holdfast/protocol/contract";
import { makeTempDirectory, reservePort } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import {
  askHoldfast,
  leadersOf,
  offsetsOf,
  plannedRequests,
  startDev,
  startHoldfast,
  untilWatched,
  watched,
} from "./holdfast-command.ts";

const ascending = (values: readonly bigint[]): boolean =>
  values.every((value, index) => index === 0 || value > (values[index - 1] ?? 0n));

describe("holdfast dev, killed with -9 in mid-run", () => {
  it("finishes the import at the next start: every row once, the watch without a gap, larger fences", async () => {
    await using directory = await makeTempDirectory("dev-crash");
    using port = await reservePort();
    const args = ["--port", String(port.port), "--data-dir", `${directory.path}/data`, "--workers", "2"];
    const first = await startDev(args);
    await using firstDev = first.dev;
    const { gate } = first.ready;
    const { jobId } = await askHoldfast<{ jobId: string }>([
      "submit",
      "import",
      "--gate",
      gate,
      "--input",
      JSON.stringify({ shards: 8, batchRows: 500, pauseMs: 20 }),
    ]);
    await using watch = await startHoldfast(["watch", jobId, "--json", "--gate", gate]);
    await untilWatched(
      watch,
      "rows coming in",
      ({ event }) => event?.type === "window" && (event.progress as { done: number }).done > 10_000,
    );
    await firstDev.kill("SIGKILL");

    const second = await startDev(args);
    await using secondDev = second.dev;
    const { code } = await watch.closed;
    expect(code).toBe(0);

    const offsets = offsetsOf(watch);
    expect(offsets).toEqual(Array.from({ length: offsets.length }, (_, index) => index + 1));
    expect(
      watched(watch).filter(
        (item) => item.event?.type === "job.result" && item.event.datacenter === undefined,
      ),
    ).toHaveLength(1);
    for (const role of ["gate", "manager"] as const) {
      const fences = leadersOf(watch, role).map((leader) => leader.fence);
      expect(fences.length).toBeGreaterThanOrEqual(2);
      expect(ascending(fences)).toBe(true);
    }
    const truth = await countIndependently(dataSetPath());
    const total = [...truth.values()].reduce((sum, count) => sum + count, 0);
    const result = await askHoldfast<JobResult>(["result", jobId, "--gate", second.ready.gate]);
    expect(result.status).toBe("completed");
    expect(result.workflows.find((workflow) => workflow.name === "import")?.outputs[0]).toMatchObject({
      cities: total,
      countries: truth.size,
    });

    await secondDev.stop();
    const database = await openEmbedded({
      dataDir: `${directory.path}/data`,
      clock: systemClock,
      logger: silentLogger,
    });
    const rows = await database.query<{ country: string; cities: number }>(
      "select country, count(*)::int as cities from cities where job_id = $1 group by country",
      [jobId],
    );
    await database.close();
    expect(new Map(rows.map((row) => [row.country, row.cities]))).toEqual(truth);
  }, 180_000);

  it("finishes the load test at the next start: every shard in the result once, the watch without a gap", async () => {
    await using directory = await makeTempDirectory("dev-crash-load");
    using port = await reservePort();
    const args = [
      "--port",
      String(port.port),
      "--data-dir",
      `${directory.path}/data`,
      "--datacenters",
      "east,west",
    ];
    const first = await startDev(args);
    await using firstDev = first.dev;
    const { gate } = first.ready;
    const { jobId } = await askHoldfast<{ jobId: string }>([
      "submit",
      "load-test",
      "--gate",
      gate,
      "--dc",
      "east,west",
      "--input",
      JSON.stringify({ ratePerSecond: 100, durationMs: 4_000, shards: 2 }),
    ]);
    await using watch = await startHoldfast(["watch", jobId, "--json", "--gate", gate]);
    await untilWatched(
      watch,
      "requests being made",
      ({ event }) => event?.type === "window" && (event.progress as { done: number }).done > 20,
    );
    await firstDev.kill("SIGKILL");

    const second = await startDev(args);
    await using _secondDev = second.dev;
    const { code } = await watch.closed;
    expect(code).toBe(0);
    const offsets = offsetsOf(watch);
    expect(offsets).toEqual(Array.from({ length: offsets.length }, (_, index) => index + 1));
    const result = await askHoldfast<JobResult>(["result", jobId, "--gate", second.ready.gate]);
    expect(result.status).toBe("completed");
    expect(result.workflows[0]?.shards).toEqual({ total: 4, completed: 4, failed: 0 });
    // What counts is the attempt that completed: 100 requests a second for 4 s in each datacenter, once.
    expect(plannedRequests(result)).toBe(800);
  }, 120_000);
});
