import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { countIndependently, dataSetPath } from "@holdfast/example-import/cities";
import { startTargetServer } from "@holdfast/example-load-test/target-server";
import type { JobComparison } from "@holdfast/jobs/compare";
import type { JobResult } from "@holdfast/protocol/contract";
import { makeTempDirectory } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { askHoldfast, plannedRequests, runHoldfast, startDev } from "./holdfast-command.ts";

describe("the examples on holdfast dev", () => {
  let context: Awaited<ReturnType<typeof setUp>>;
  const setUp = async () => {
    const directory = await makeTempDirectory("examples");
    const { dev, ready } = await startDev([
      "--port",
      "0",
      "--data-dir",
      `${directory.path}/data`,
      "--datacenters",
      "east,west",
    ]);
    return { directory, dev, ready };
  };
  beforeAll(async () => {
    context = await setUp();
  });
  afterAll(async () => {
    await context.dev.stop();
    await context.directory[Symbol.asyncDispose]();
  });

  it("imports as many cities per country as an independent count of the input finds", async () => {
    const truth = await countIndependently(dataSetPath());
    const total = [...truth.values()].reduce((sum, count) => sum + count, 0);
    expect(total).toBeGreaterThan(100_000);
    const reports = `${context.directory.path}/reports`;
    const end = await runHoldfast([
      "submit",
      "import",
      "--gate",
      context.ready.gate,
      "--report",
      "json,csv,xml",
      "--report-dir",
      reports,
      "--json",
    ]);
    expect(end.code).toBe(0);
    const { jobId } = JSON.parse(end.lines[0] ?? "") as { jobId: string };
    const result = await askHoldfast<JobResult>(["result", jobId, "--gate", context.ready.gate]);
    const rows = result.workflows.find((workflow) => workflow.workflow === "import-rows");
    expect(rows?.totals.counters).toMatchObject({ rows: total });
    expect(result.workflows.find((workflow) => workflow.workflow === "import")?.outputs[0]).toEqual({
      cities: total,
      countries: truth.size,
      rejected: 0,
    });
    expect(existsSync(reports)).toBe(true);
    const files = readdirSync(reports);
    for (const extension of [".json", ".csv", ".xml"]) {
      const file = files.find((name) => name.endsWith(extension));
      expect(readFileSync(`${reports}/${file}`, "utf8").length).toBeGreaterThan(50);
    }
  }, 120_000);

  it("fails when a report that was asked for cannot be written, and says which", async () => {
    const file = `${context.directory.path}/a-file`;
    writeFileSync(file, "");
    const input = JSON.stringify({ ratePerSecond: 20, durationMs: 500 });
    const where = ["--gate", context.ready.gate, "--report", "json", "--report-dir", file];
    const end = await runHoldfast(["submit", "load-test", "--input", input, ...where]);
    expect(end.output).toMatch(/json report: /);
    expect(end.output).toMatch(/completed in /);
    expect(end.code).toBe(1);
  });

  it("reports exactly the requests that the loaded server itself counted, over two datacenters", async () => {
    const server = await startTargetServer({ port: 0 });
    try {
      const input = { url: server.url, ratePerSecond: 300, durationMs: 3_000, shards: 2 };
      const end = await runHoldfast([
        "submit",
        "load-test",
        "--gate",
        context.ready.gate,
        "--dc",
        "east,west",
        "--input",
        JSON.stringify(input),
        "--watch",
        "--json",
      ]);
      expect(end.code).toBe(0);
      const { jobId } = JSON.parse(end.lines[0] ?? "") as { jobId: string };
      const result = await askHoldfast<JobResult>(["result", jobId, "--gate", context.ready.gate]);
      const totals = result.workflows[0]?.totals;
      expect(totals?.counters.requests).toBe(server.counts.get(jobId));
      // On a machine that is busy just at the end the last ones are not sent any more, and counted as missed.
      expect(plannedRequests(result)).toBe(2 * 300 * 3);
      expect(totals?.counters.requests).toBeGreaterThan(1_500);
      expect(totals?.histograms.latency?.count).toBe(totals?.counters.requests);
      expect(totals?.counters.errors ?? 0).toBe(0);
    } finally {
      await server.close();
    }
  });

  it("compares two runs: half the rate is more than chance, and marked so", async () => {
    const server = await startTargetServer({ port: 0 });
    try {
      const run = async (ratePerSecond: number) => {
        const input = JSON.stringify({ url: server.url, ratePerSecond, durationMs: 2_000, shards: 2 });
        const end = await runHoldfast([
          "submit",
          "load-test",
          "--gate",
          context.ready.gate,
          "--input",
          input,
          "--watch",
          "--json",
        ]);
        expect(end.code).toBe(0);
        return (JSON.parse(end.lines[0] ?? "") as { jobId: string }).jobId;
      };
      const [a, b] = [await run(300), await run(150)];
      const compared = await askHoldfast<JobComparison>(["compare", a, b, "--gate", context.ready.gate]);
      const requests = compared.workflows[0]?.counters.find(({ name }) => name === "requests");
      expect(requests?.total.a).toBeGreaterThan(500);
      expect(requests?.total.change).toBeCloseTo(-0.5, 1);
      expect(requests?.perSecond.isSignificant).toBe(true);
      const same = await askHoldfast<JobComparison>(["compare", a, a, "--gate", context.ready.gate]);
      const latency = same.workflows[0]?.histograms.find(({ name }) => name === "latency");
      expect(latency?.percentiles.map(({ change }) => change)).toEqual([0, 0, 0, 0, 0]);
      expect(latency?.percentiles.some(({ isSignificant }) => isSignificant)).toBe(false);
      const table = await runHoldfast(["compare", a, b, "--gate", context.ready.gate]);
      expect(table.output).toMatch(/requests per second .*-\d\d\.\d %\s+\*/);
      expect(table.output).toMatch(/latency p99 /);
    } finally {
      await server.close();
    }
  });
});
