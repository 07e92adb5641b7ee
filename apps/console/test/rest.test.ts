import type { SubmitOptions } from "@holdfast/jobs/client";
import type { JobComparison } from "@holdfast/jobs/compare";
import {
  type HoldfastError,
  InvalidInputError,
  OverloadedError,
  RemoteError,
  TimeoutError,
} from "@holdfast/kernel";
import type { JobView } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { emptyCluster, jobView, result, runOf, setUp } from "./fixture.ts";

const remote = (code: string, retryable = false, retryAfterMs?: number): HoldfastError =>
  new RemoteError({
    code,
    message: `${code} happened`,
    retryable,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });

describe("the REST interface", () => {
  it("passes questions on to the cluster and its answers back", async () => {
    const asked: unknown[] = [];
    await using server = await setUp({
      get: async (jobId) => {
        asked.push(["get", jobId]);
        return jobView;
      },
      list: async (options) => {
        const { signal: _signal, ...rest } = options ?? {};
        asked.push(["list", rest]);
        return { jobs: [] };
      },
      cancel: async (jobId, options) => {
        asked.push(["cancel", jobId, options?.reason, options?.workflowId]);
        return { outcome: "cancelling", status: "cancelling" };
      },
    });
    expect(await (await server.ask("/api/cluster")).json()).toEqual(emptyCluster);
    expect(await (await server.ask("/api/jobs/job%2F1")).json()).toEqual(jobView);
    await server.ask("/api/jobs?limit=5000&search=import&status=running,failed&cursor=c");
    await server.ask("/api/jobs?limit=nonsense");
    const cancelled = await server.ask("/api/jobs/job-1/cancel", {
      method: "POST",
      body: JSON.stringify({ reason: "no longer wanted", workflowId: "wf-1" }),
    });
    expect(await cancelled.json()).toEqual({ outcome: "cancelling", status: "cancelling" });
    await server.ask("/api/jobs/job-1/cancel", { method: "POST" });
    expect(asked).toEqual([
      ["get", "job/1"],
      ["list", { limit: 1000, search: "import", cursor: "c", statuses: ["running", "failed"] }],
      ["list", { limit: 50 }],
      ["cancel", "job-1", "no longer wanted", "wf-1"],
      ["cancel", "job-1", "cancelled from the console", undefined],
    ]);
  });

  it("finds a job by an id as long as an id may be", async () => {
    const asked: string[] = [];
    await using server = await setUp({
      get: async (jobId) => {
        asked.push(jobId);
        return jobView;
      },
    });
    const ids = ["j".repeat(101), "j".repeat(10_000)];
    for (const id of ids) expect((await server.ask(`/api/jobs/${id}`)).status).toBe(200);
    expect(asked).toEqual(ids);
  });

  it("takes a question that is asked twice for one that it does not understand", async () => {
    await using server = await setUp();
    for (const name of ["status", "search", "cursor", "limit"]) {
      const answer = await server.ask(`/api/jobs?${name}=1&${name}=2`);
      expect([name, answer.status]).toEqual([name, 422]);
      expect(await answer.text()).toContain(name);
    }
  });

  it("answers 201 for a job that was accepted, with what was submitted", async () => {
    let submitted: SubmitOptions | undefined;
    const job = {
      jobId: "job-1",
      status: "submitted",
      position: { epoch: "1", offset: "0" },
      duplicate: false,
    } as const;
    await using server = await setUp({
      submit: async (options) => {
        submitted = options;
        return job;
      },
    });
    const body = { workflows: [{ workflow: "import", input: { shards: 2 } }] };
    const answer = await server.ask("/api/jobs", { method: "POST", body: JSON.stringify(body) });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toEqual(job);
    expect(submitted).toMatchObject(body);
    expect(submitted?.signal).toBeInstanceOf(AbortSignal);
  });

  it.each<{ readonly status: number; readonly error: HoldfastError }>([
    { status: 404, error: remote("JOBS_NOT_FOUND") },
    { status: 422, error: remote("JOBS_UNKNOWN_WORKFLOW") },
    { status: 422, error: remote("JOBS_INVALID_INPUT") },
    { status: 409, error: remote("JOBS_IDEMPOTENCY_CONFLICT") },
    { status: 413, error: remote("JOBS_TOO_LARGE") },
    { status: 429, error: remote("JOBS_RATE_LIMITED", true, 1_200) },
    { status: 422, error: new InvalidInputError("workflows", [], "at least one") },
    { status: 504, error: new TimeoutError("asking", 100) },
    { status: 503, error: new OverloadedError("the gate", 10) },
    { status: 422, error: remote("JOBS_SOMETHING_ELSE") },
  ])("answers $status for $error.code, with the code and whether to try again", async ({ status, error }) => {
    await using server = await setUp({ get: () => Promise.reject(error) });
    const answer = await server.ask("/api/jobs/job-1");
    expect(answer.status).toBe(status);
    const { code, message, retryable, retryAfterMs } = error;
    expect(await answer.json()).toMatchObject({ error: { code, message, retryable } });
    expect(answer.headers.get("retry-after")).toBe(
      retryAfterMs === undefined ? null : String(Math.ceil(retryAfterMs / 1000)),
    );
  });

  it("answers 504, retryable, when the cluster does not answer in time", async () => {
    await using server = await setUp({
      get: () => Promise.reject(new DOMException("The operation was aborted due to timeout", "TimeoutError")),
    });
    const answer = await server.ask("/api/jobs/job-1");
    expect(answer.status).toBe(504);
    expect(await answer.json()).toMatchObject({ error: { code: "CONSOLE_TIMEOUT", retryable: true } });
  });

  it("answers 400 for a body that is not JSON, 413 for one that is too large, 404 for no such path", async () => {
    await using server = await setUp();
    const post = (body: string) => server.ask("/api/jobs", { method: "POST", body });
    expect((await post("{")).status).toBe(400);
    expect((await post(`"${"x".repeat(6 * 1024 * 1024)}"`)).status).toBe(413);
    const missing = await server.ask("/api/nothing");
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ error: { code: "CONSOLE_NOT_FOUND" } });
  });

  it("tells a live process from one that can reach its cluster", async () => {
    await using server = await setUp({ cluster: () => Promise.reject(remote("CONNECTION_REFUSED", true)) });
    expect((await server.ask("/health/live")).status).toBe(200);
    const ready = await server.ask("/health/ready");
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({ error: { code: "CONNECTION_REFUSED" } });
    await using well = await setUp();
    expect((await well.ask("/health/ready")).status).toBe(200);
  });

  it("shows process and cluster to Prometheus, and the process alone without the cluster", async () => {
    const dc = {
      datacenter: "east",
      health: "healthy",
      managers: [],
      workers: [],
      totalCores: 8,
      availableCores: 3,
      activeJobs: 2,
      pendingTasks: 5,
      workflows: [],
    } as const;
    let reachable = true;
    await using server = await setUp({
      cluster: () =>
        reachable
          ? Promise.resolve({
              ...emptyCluster,
              datacenters: [{ ...dc, managers: [], workers: [], workflows: [] }],
            })
          : Promise.reject(remote("CONNECTION_REFUSED", true)),
    });
    const text = await (await server.ask("/metrics")).text();
    expect(text).toContain('holdfast_cores{datacenter="east"} 8');
    expect(text).toContain('holdfast_tasks_pending{datacenter="east"} 5');
    reachable = false;
    const alone = await (await server.ask("/metrics")).text();
    expect(alone).toContain("process_cpu_seconds_total");
    expect(alone).not.toContain('datacenter="east"');
  });
});

describe("a comparison", () => {
  const ended = async (jobId: string): Promise<JobView> => ({ ...jobView, jobId, finishedAt: 2 });

  it("of two jobs that have ended says what differs by more than chance, at the level asked for", async () => {
    await using server = await setUp({
      get: ended,
      result: async (jobId) => runOf(jobId, jobId === "job/1" ? 5_000 : 5_230),
    });
    const compare = async (level: string): Promise<JobComparison> =>
      (await server.ask(`/api/compare?a=job%2F1&b=job-2${level}`)).json() as Promise<JobComparison>;
    const comparison = await compare("");
    expect(comparison).toMatchObject({ a: { jobId: "job/1" }, b: { jobId: "job-2" }, level: 0.01 });
    expect(comparison.workflows[0]?.counters[0]).toMatchObject({
      name: "requests",
      perSecond: { a: 500, b: 523, isSignificant: false },
    });
    expect((await compare("&level=0.05")).workflows[0]?.counters[0]?.perSecond.isSignificant).toBe(true);
  });

  it("with a job that still runs is refused at once, naming it, instead of waiting for its end", async () => {
    await using server = await setUp({
      get: async (jobId) => (jobId === "job-1" ? jobView : ended(jobId)),
      result: () => new Promise(() => undefined),
    });
    const answer = await server.ask("/api/compare?a=job-2&b=job-1");
    expect(answer.status).toBe(409);
    const message = expect.stringContaining("job-1 is running") as string;
    expect(await answer.json()).toMatchObject({
      error: { code: "CONSOLE_NOT_ENDED", message, retryable: true },
    });
  });

  it.each([
    ["without one of the two", "?a=job-1", 422, /b .*the id of a job/],
    ["of the same side twice", "?a=job-1&a=job-2&b=job-3", 422, /a .*the id of a job/],
    ["at a level that is none", "?a=job-1&b=job-2&level=high", 422, /level/],
    ["with a job that is not known", "?a=job-1&b=job-9", 404, /JOBS_NOT_FOUND/],
  ])("%s is refused", async (_name, query, status, message) => {
    await using server = await setUp({
      get: (jobId) => (jobId === "job-9" ? Promise.reject(remote("JOBS_NOT_FOUND")) : ended(jobId)),
      result: async (jobId) => runOf(jobId, 1),
    });
    const answer = await server.ask(`/api/compare${query}`);
    expect(answer.status).toBe(status);
    expect(JSON.stringify(await answer.json())).toMatch(message);
  });
});

describe("a report", () => {
  it.each([
    ["json", "application/json; charset=utf-8"],
    ["csv", "text/csv; charset=utf-8"],
    ["xml", "application/xml; charset=utf-8"],
  ])("as %s is a download with a name that every system can store", async (format, contentType) => {
    await using server = await setUp({ result: async () => result });
    const answer = await server.ask(`/api/jobs/job-1/report/${format}`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe(contentType);
    const disposition = answer.headers.get("content-disposition") ?? "";
    expect(disposition).toMatch(/^attachment; filename\*=UTF-8''[^"/\\\s]+$/);
    expect(disposition).toMatch(new RegExp(`\\.${format}$`));
    expect((await answer.text()).length).toBeGreaterThan(10);
  });

  it("does not exist in other formats, nor for a job that is not known", async () => {
    await using server = await setUp({ result: async () => result });
    const answer = await server.ask("/api/jobs/job-1/report/pdf");
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ error: { code: "CONSOLE_NOT_FOUND" } });
    await using other = await setUp({ result: () => Promise.reject(remote("JOBS_NOT_FOUND")) });
    expect((await other.ask("/api/jobs/job-9/report/json")).status).toBe(404);
  });
});
