import type { Database } from "@holdfast/data";
import type { JobResult } from "@holdfast/protocol/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Histogram } from "../../src/model/histogram.ts";
import type { JobReport } from "../../src/model/job-reporter.ts";
import { createSqlReporter } from "../../src/reports/server/index.ts";

const signal = new AbortController().signal;

const latency = new Histogram();
for (const value of [1, 2, 3, 40]) latency.record(value);
const totals = { counters: { requests: 4 }, histograms: { latency: latency.encode() } };

const result = (jobId: string, requests = 4): JobResult => ({
  jobId,
  name: "nightly größe 中",
  status: "failed",
  workflows: [
    {
      workflowId: `wf-${jobId}`,
      name: "get",
      workflow: "load-test",
      status: "failed",
      shards: { total: 2, completed: 1, failed: 1 },
      outputs: [],
      totals: { ...totals, counters: { requests } },
      elapsedMs: 1_500,
      error: { code: "APP_BROKEN", message: 'it\'s "broken"', retryable: false },
      datacenters: {
        east: { status: "failed", shards: { total: 2, completed: 1, failed: 1 }, totals, elapsedMs: 1_400 },
      },
    },
  ],
  datacenters: {},
  errors: ["east: it broke", 'and "quotes", too'],
  submittedAt: 1_700_000_000_123,
  finishedAt: 1_700_000_002_000,
  elapsedMs: 1_877,
});

const reportOf = (deliveryId: string, requests?: number): JobReport => ({
  deliveryId,
  result: result(`job-${deliveryId}`, requests),
  labels: { team: "a" },
  config: undefined,
  attempt: 1,
});

/** Results in tables, on the database that `open` opens. */
export const testSqlReporter = (
  open: () => Promise<{ database: Database; close(): Promise<void> }>,
): void => {
  describe("results in tables", () => {
    let context: Awaited<ReturnType<typeof open>>;
    beforeAll(async () => {
      context = await open();
    });
    afterAll(() => context.close());

    it("are there whole: job, workflow with its datacenters, measures with mergeable histograms", async () => {
      const { database } = context;
      await createSqlReporter({ database }).deliver(reportOf("r1"), { signal });
      const [job] = await database.query("select * from holdfast_reports.job_reports where report_id = $1", [
        "r1",
      ]);
      expect(job).toMatchObject({
        job_id: "job-r1",
        name: "nightly größe 中",
        status: "failed",
        labels: { team: "a" },
        submitted_at: new Date(1_700_000_000_123),
        elapsed_ms: 1_877,
        errors: ["east: it broke", 'and "quotes", too'],
      });
      const workflows = await database.query(
        "select datacenter, status, shards, shards_failed, error_message from holdfast_reports.workflow_reports where report_id = $1 order by datacenter",
        ["r1"],
      );
      expect(workflows).toEqual([
        {
          datacenter: "",
          status: "failed",
          shards: "2",
          shards_failed: "1",
          error_message: 'it\'s "broken"',
        },
        { datacenter: "east", status: "failed", shards: "2", shards_failed: "1", error_message: "" },
      ]);
      const steps = await database.query<{ measure: string; kind: string; count: number; histogram: string }>(
        "select measure, kind, count, max, histogram from holdfast_reports.step_reports where report_id = $1 and datacenter = '' order by measure",
        ["r1"],
      );
      expect(steps).toMatchObject([
        { measure: "latency", kind: "histogram", count: 4, max: 40 },
        { measure: "requests", kind: "counter", count: 4, histogram: null },
      ]);
      const encoded = { ...latency.encode(), encoded: steps[0]?.histogram ?? "" };
      expect(Histogram.decode(encoded).percentile(50)).toBeCloseTo(2, 2);
    });

    it("are there though errors and labels quote what PostgreSQL cannot keep", async () => {
      const { database } = context;
      const bad = (text: string): string => `${text} \0 \ud800`;
      const good = reportOf("r0");
      const [workflow] = good.result.workflows;
      if (workflow?.error === undefined) return;
      const error = { ...workflow.error, message: bad("broke at") };
      const counters = { [bad("rows")]: 1 };
      const workflows = [{ ...workflow, error, totals: { ...workflow.totals, counters } }];
      await createSqlReporter({ database }).deliver(
        {
          ...good,
          result: { ...good.result, errors: [bad("east: it broke at")], workflows },
          labels: { team: bad("a") },
        },
        { signal },
      );
      expect(
        await database.query("select errors, labels from holdfast_reports.job_reports where report_id = $1", [
          "r0",
        ]),
      ).toEqual([{ errors: ["east: it broke at \ufffd \ufffd"], labels: { team: "a \ufffd \ufffd" } }]);
    });

    it("are there once, as the last attempt wrote them, however often they are delivered", async () => {
      const { database } = context;
      const reporter = createSqlReporter({ database });
      await reporter.deliver(reportOf("r2", 1), { signal });
      await reporter.deliver({ ...reportOf("r2", 7), attempt: 2 }, { signal });
      const rows = await database.query(
        "select count from holdfast_reports.step_reports where report_id = $1 and measure = 'requests' and datacenter = ''",
        ["r2"],
      );
      expect(rows).toEqual([{ count: 7 }]);
      expect(
        await database.query("select 1 as one from holdfast_reports.job_reports where report_id = $1", [
          "r2",
        ]),
      ).toHaveLength(1);
    });

    it("come from several gates at once into tables that nobody has made yet", async () => {
      const { database } = context;
      const schema = "made_together";
      const reporters = Array.from({ length: 4 }, () => createSqlReporter({ database, schema }));
      await Promise.all(
        reporters.map((reporter, index) => reporter.deliver(reportOf(`g${index}`), { signal })),
      );
      expect(await database.query(`select report_id from ${schema}.job_reports`)).toHaveLength(4);
    });

    it("are refused a schema that is no name", () => {
      const { database } = context;
      expect(() => createSqlReporter({ database, schema: "a; drop table x" })).toThrow(/schema/);
    });
  });
};
