import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "@holdfast/kernel";
import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { create } from "xmlbuilder2";
import { Meter } from "../model/measurements.ts";
import { renderReport } from "./render-report.ts";
import { reportName } from "./report-name.ts";
import { writeReports } from "./write-reports.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "holdfast-reports-"));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const totals = () => {
  const meter = new Meter();
  meter.count("requests", 10);
  meter.count("errors", 2);
  for (const value of [1, 2, 3]) meter.record("latency", value);
  return meter.totals();
};

const workflow = (name: string, overrides: Partial<WorkflowResult> = {}): WorkflowResult => ({
  workflowId: "wf-0123456789abcdef",
  name,
  workflow: "home-page",
  status: "completed",
  shards: { total: 4, completed: 4, failed: 0 },
  outputs: [{ shard: 0 }, null],
  totals: totals(),
  startedAt: 1_700_000_000_000,
  finishedAt: 1_700_000_005_000,
  elapsedMs: 5_000,
  ...overrides,
});

const job = (...workflows: readonly WorkflowResult[]): JobResult => ({
  jobId: "job-0123456789abcdef",
  name: "nightly",
  status: "completed",
  workflows: [...workflows],
  datacenters: {},
  errors: [],
  submittedAt: 1_700_000_000_000,
  finishedAt: 1_700_000_005_000,
  elapsedMs: 5_000,
});

const read = (name: string): Promise<string> => readFile(join(directory, name), "utf8");
const files = async (): Promise<readonly string[]> => (await readdir(directory)).sort();

describe("reports", () => {
  it("are JSON, under the lower-cased name, when nothing was asked for", async () => {
    const outcomes = await writeReports(job(workflow("Home Page")), [], { directory });
    expect(await files()).toEqual(["home page_step_results.json", "home page_workflow_results.json"]);
    expect(outcomes).toMatchObject([{ type: "json", workflow: "Home Page", error: undefined }]);
    expect(JSON.parse(await read("home page_workflow_results.json"))).toMatchObject({
      job: { jobId: "job-0123456789abcdef", status: "completed" },
      name: "Home Page",
      status: "completed",
      outputs: [{ shard: 0 }, null],
      totals: {
        counters: { requests: 10 },
        histograms: { latency: { count: 3, encoded: expect.any(String) } },
      },
    });
    expect(JSON.parse(await read("home page_step_results.json"))).toMatchObject({
      steps: [
        { measure: "errors", kind: "counter", count: 2 },
        { measure: "requests", kind: "counter", count: 10 },
        { measure: "latency", kind: "histogram", count: 3, min: 1, max: 3, p50: 2 },
      ],
    });
  });

  it("are written by every reporter that was asked for, and by no unknown one", async () => {
    const configs = [{ type: "JSON" }, { type: "csv" }, { type: "Xml" }, { type: "statsd" }];
    const outcomes = await writeReports(job(workflow("load")), configs, { directory });
    expect(outcomes.map(({ type }) => type)).toEqual(["json", "csv", "xml"]);
    expect((await files()).length).toBe(6);
    const onlyRemote = await writeReports(job(workflow("other")), [{ type: "statsd" }], { directory });
    expect(onlyRemote.map(({ type }) => type)).toEqual(["json"]);
  });

  it("come from the workflow's own reporters too", async () => {
    const outcomes = await writeReports(job(workflow("a"), workflow("b")), [{ type: "csv" }], {
      directory,
      workflowConfigs: { b: [{ type: "xml" }] },
    });
    expect(outcomes.map(({ type, workflow: name }) => `${name} ${type}`)).toEqual([
      "a csv",
      "b csv",
      "b xml",
    ]);
  });

  it("as JSON never replace a file; as CSV and XML they do", async () => {
    const configs = [{ type: "json" }, { type: "csv" }, { type: "xml" }];
    for (let round = 0; round < 3; round += 1)
      await writeReports(job(workflow("load")), configs, { directory });
    expect(await files()).toEqual([
      "load_step_results.csv",
      "load_step_results.json",
      "load_step_results.xml",
      "load_step_results_1.json",
      "load_step_results_2.json",
      "load_workflow_results.csv",
      "load_workflow_results.json",
      "load_workflow_results.xml",
      "load_workflow_results_1.json",
      "load_workflow_results_2.json",
    ]);
  });

  it("of ten jobs at once each get their own file", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () => writeReports(job(workflow("load")), [], { directory })),
    );
    expect(new Set(outcomes.flat().flatMap(({ paths }) => paths)).size).toBe(20);
    expect((await files()).length).toBe(20);
    for (const name of await files()) JSON.parse(await read(name));
  });

  it("of two workflows whose names differ only by case stay apart", async () => {
    await writeReports(job(workflow("Load"), workflow("load")), [{ type: "csv" }], { directory });
    expect((await files()).filter((name) => name.includes("workflow_results"))).toEqual([
      "load_workflow_results.csv",
      "load_workflow_results_1.csv",
    ]);
  });

  it("hold the parts of each datacenter", async () => {
    const part = {
      status: "failed" as const,
      shards: { total: 2, completed: 1, failed: 1 },
      totals: totals(),
      elapsedMs: 4_000,
      error: { code: "JOBS_SHARD_CRASHED", message: "=1+1 out of memory", retryable: true },
    };
    const result = job(workflow("load", { datacenters: { east: part } }));
    await writeReports(result, [{ type: "csv" }, { type: "xml" }], { directory });
    const rows = (await read("load_workflow_results.csv")).trim().split("\n");
    expect(rows.length).toBe(3);
    expect(rows[0]?.split(",").slice(0, 6)).toEqual([
      "jobId",
      "workflowId",
      "name",
      "workflow",
      "datacenter",
      "status",
    ]);
    expect(rows[2]).toContain(",east,failed,2,1,1,4000,");
    // A spreadsheet must not run what a workflow said.
    expect(rows[2]).toContain("'=1+1 out of memory");
    const xml = create(await read("load_workflow_results.xml")).toObject() as never;
    expect(xml).toMatchObject({
      workflowResults: {
        workflow: [
          { "@status": "completed", name: "load" },
          { "@datacenter": "east", "@status": "failed", error: { "@code": "JOBS_SHARD_CRASHED" } },
        ],
      },
    });
    expect((await read("load_step_results.csv")).trim().split("\n").length).toBe(7);
  });

  it("of a workflow without measurements are fine", async () => {
    const empty = workflow("quiet", { totals: { counters: {}, histograms: {} }, outputs: [] });
    const outcomes = await writeReports(job(empty), [{ type: "json" }, { type: "csv" }, { type: "xml" }], {
      directory,
    });
    expect(outcomes.every(({ error }) => error === undefined)).toBe(true);
    expect((await read("quiet_step_results.csv")).trim().split("\n").length).toBe(1);
  });

  it("that cannot be written are told and logged, and the others are written", async () => {
    // A file where the directory of one reporter should be, and a directory where a file should be.
    await writeFile(join(directory, "blocked"), "");
    await mkdir(join(directory, "load_workflow_results.csv"));
    const logged: object[] = [];
    const logger: Logger = {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: (fields) => logged.push(fields),
      child: () => logger,
    };
    const outcomes = await writeReports(
      job(workflow("load")),
      [{ type: "json", path: "blocked" }, { type: "csv" }, { type: "xml" }],
      { directory, logger },
    );
    expect(outcomes).toMatchObject([
      { type: "json", error: { message: expect.stringContaining("open") }, paths: [] },
      {
        type: "csv",
        error: { message: expect.stringContaining("write workflow results") },
        paths: [expect.any(String)],
      },
      { type: "xml", error: undefined },
    ]);
    expect(logged).toMatchObject([
      { reporter: "json", workflow: "load" },
      { reporter: "csv", workflow: "load" },
    ]);
    expect((await files()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("go where the configuration says, below the directory only", async () => {
    const [good] = await writeReports(
      job(workflow("load")),
      [{ type: "xml", path: "deep/er", options: { workflowResults: "w.xml", stepResults: "s.xml" } }],
      { directory },
    );
    expect(good?.paths).toEqual([join(directory, "deep/er/w.xml"), join(directory, "deep/er/s.xml")]);
    for (const path of ["../out", "/tmp/out", "a/../../out"]) {
      const [refused] = await writeReports(job(workflow("load")), [{ type: "xml", path }], { directory });
      expect(refused?.error?.message).toContain("a path inside");
    }
    const [sneaky] = await writeReports(
      job(workflow("load")),
      [{ type: "xml", options: { workflowResults: "../w.xml" } }],
      { directory },
    );
    expect(sneaky?.error?.message).toContain("a path inside");
  });

  it("keep every text that XML and CSV can carry", async () => {
    const wild = "a & <b> \"c\" 'd' ]]> ñ 中文 🚀 \u0001 \ud800 ,;\n\t=cmd()";
    const result = job(
      workflow("wild", {
        name: "wild",
        totals: { counters: { [wild]: 1 }, histograms: {} },
        status: "failed",
        error: { code: "X", message: wild, retryable: false },
      }),
    );
    const outcomes = await writeReports(result, [{ type: "xml" }, { type: "csv" }], { directory });
    expect(outcomes.map(({ error }) => error)).toEqual([undefined, undefined]);
    const xml = await read("wild_step_results.xml");
    const text = /<measure>(.*?)<\/measure>/s.exec(xml)?.[1] ?? "";
    expect(text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")).toBe(
      wild.replace("\u0001", "\ufffd").replace("\ud800", "\ufffd"),
    );
    expect(() => create(xml)).not.toThrow();
  });
});

describe("a rendered report", () => {
  const result = job(workflow("Load: a/b"), workflow("other", { status: "failed" }));

  it("holds all workflows in one document of the wanted format", () => {
    const json = renderReport(result, "json");
    expect(JSON.parse(json?.body ?? "")).toEqual(JSON.parse(JSON.stringify(result)));
    const csv = renderReport(result, "CSV");
    expect(csv?.body.trim().split("\n").length).toBe(7);
    expect(csv?.contentType).toContain("text/csv");
    const xml = renderReport(result, "xml");
    expect(create(xml?.body ?? "").toObject()).toMatchObject({
      job: {
        "@status": "completed",
        workflowReport: [{}, { workflowResults: { workflow: { "@status": "failed" } } }],
      },
    });
    expect(xml?.fileName).toBe("nightly_job-0123456789abcdef.xml");
  });

  it("does not exist for other formats", () => {
    expect(renderReport(result, "pdf")).toBeUndefined();
  });
});

describe("a report's name", () => {
  it("fits any file system and stays in its directory, whatever the workflow is called", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1, maxLength: 512 }), (name) => {
        const file = reportName(name);
        expect(Buffer.byteLength(file)).toBeLessThanOrEqual(180);
        expect(["/", "\\", "\0"].some((character) => file.includes(character))).toBe(false);
        expect(file.startsWith(".")).toBe(false);
        expect(file.length).toBeGreaterThan(0);
      }),
    );
  });

  it("keeps Unicode and replaces separators", () => {
    expect(reportName("Año/中文\\Test")).toBe("año_中文_test");
    expect(reportName("../../etc/passwd")).toBe("___.._etc_passwd");
  });

  it("keeps two long names apart", () => {
    const long = "ß".repeat(400);
    expect(reportName(`${long}1`)).not.toBe(reportName(`${long}2`));
  });
});
