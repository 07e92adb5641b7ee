import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { isHoldfastError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobResult } from "@holdfast/protocol/contract";
import { afterEach, describe, expect, it } from "vitest";
import { Histogram } from "../../model/histogram.ts";
import type { JobReport } from "../../model/job-reporter.ts";
import { createOtlpReporter } from "./otlp-reporter.ts";
import { createPrometheusReporter } from "./prometheus-reporter.ts";
import { createStatsdReporter } from "./statsd-reporter.ts";
import { createWebhookReporter, verifyWebhook } from "./webhook-reporter.ts";

const SECRET = "a secret that is long enough";
const signal = new AbortController().signal;

const histogramOf = (...values: readonly number[]) => {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram.encode();
};

const result: JobResult = {
  jobId: "job-0123456789abcdef",
  name: "nightly: größe 中",
  status: "completed",
  workflows: [
    {
      workflowId: "wf-1",
      name: "get",
      workflow: "load-test",
      status: "completed",
      shards: { total: 2, completed: 2, failed: 0 },
      outputs: [],
      totals: { counters: { requests: 4 }, histograms: { latency: histogramOf(1, 2, 3, 40) } },
      elapsedMs: 1_500,
    },
  ],
  datacenters: {},
  errors: [],
  submittedAt: 1_700_000_000_000,
  finishedAt: 1_700_000_002_000,
  elapsedMs: 2_000,
};
const report: JobReport = {
  deliveryId: "report-1",
  result,
  labels: { team: "a" },
  config: undefined,
  attempt: 1,
};

interface Received {
  readonly method: string | undefined;
  readonly path: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** A receiver that answers with the given statuses, the last one for good. */
const startReceiver = async (...statuses: readonly number[]) => {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method, url: path, headers } = request;
    received.push({ method, path, headers, body: Buffer.concat(chunks) });
    response.writeHead(statuses[received.length - 1] ?? statuses.at(-1) ?? 200, { location: "/elsewhere" });
    response.end("x".repeat(1_000));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { received, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
};

const failureOf = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
};

const isFinal = (error: unknown): boolean => isHoldfastError(error) && error.code === "JOBS_PERMANENT";

describe("a webhook", () => {
  const clock = new VirtualClock();

  it("posts the whole result, signed so that the receiver can tell it from any other", async () => {
    const { received, url } = await startReceiver(204);
    await createWebhookReporter({ url: `${url}/hook`, secret: SECRET, clock }).deliver(report, { signal });
    const [request] = received;
    expect(request).toMatchObject({ method: "POST", path: "/hook" });
    expect(JSON.parse(String(request?.body))).toEqual({
      type: "job.result",
      deliveryId: "report-1",
      labels: { team: "a" },
      result,
    });
    if (request === undefined) throw new Error("nothing was received");
    expect(verifyWebhook(request, { secret: SECRET, clock })).toBe(true);
    expect(verifyWebhook(request, { secret: `${SECRET}!`, clock })).toBe(false);
    const forged = { ...request, body: Buffer.from(`${request.body} `) };
    expect(verifyWebhook(forged, { secret: SECRET, clock })).toBe(false);
    const renamed = { ...request, headers: { ...request.headers, "webhook-id": "report-2" } };
    expect(verifyWebhook(renamed, { secret: SECRET, clock })).toBe(false);
    expect(verifyWebhook({ headers: {}, body: "" }, { secret: SECRET, clock })).toBe(false);
  });

  it("is not believed long after it was signed", async () => {
    const { received, url } = await startReceiver(200);
    await createWebhookReporter({ url, secret: SECRET, clock }).deliver(report, { signal });
    const [request] = received;
    if (request === undefined) throw new Error("nothing was received");
    await clock.advance(301_000);
    expect(verifyWebhook(request, { secret: SECRET, clock })).toBe(false);
    expect(verifyWebhook(request, { secret: SECRET, clock, toleranceMs: 600_000 })).toBe(true);
  });

  it.each([408, 425, 429, 500, 503])("is worth trying again after %i", async (status) => {
    const { url } = await startReceiver(status);
    const error = await failureOf(
      createWebhookReporter({ url, secret: SECRET, clock }).deliver(report, { signal }),
    );
    expect(isFinal(error)).toBe(false);
    expect(String(error)).toContain(String(status));
  });

  it.each([301, 307, 400, 401, 404, 410])("is over after %i, and follows it nowhere", async (status) => {
    const { received, url } = await startReceiver(status);
    const error = await failureOf(
      createWebhookReporter({ url, secret: SECRET, clock }).deliver(report, { signal }),
    );
    expect(isFinal(error)).toBe(true);
    expect(received).toHaveLength(1);
  });

  it("is worth trying again when nobody listens, and says nothing of the secret", async () => {
    const { url } = await startReceiver(200);
    await Promise.all(open.splice(0).map((close) => close()));
    const error = await failureOf(
      createWebhookReporter({ url, secret: SECRET, clock }).deliver(report, { signal }),
    );
    expect(isFinal(error)).toBe(false);
    expect(String(error)).not.toContain(SECRET);
  });

  it.each([
    ["url", { url: "ftp://host/x", secret: SECRET }],
    ["url", { url: "http://user:hidden@host/", secret: SECRET }],
    ["secret", { url: "http://host/", secret: "hidden" }],
    ["timeoutMs", { url: "http://host/", secret: SECRET, timeoutMs: 0 }],
    ["headers", { url: "http://host/", secret: SECRET, headers: { "bad name": "hidden" } }],
    ["headers.x", { url: "http://host/", secret: SECRET, headers: { x: "hidden\r\ny: z" } }],
  ])("refuses a wrong %s without showing what is secret", (field, options) => {
    expect(() => createWebhookReporter(options)).toThrow(field);
    try {
      createWebhookReporter(options);
    } catch (error) {
      expect(String(error)).not.toContain("hidden");
    }
  });
});

describe("Prometheus", () => {
  it("gets the figures as gauges, in the group of the job's name", async () => {
    const { received, url } = await startReceiver(200);
    await createPrometheusReporter({ url: `${url}/gateway/` }).deliver(report, { signal });
    const [request] = received;
    const group = Buffer.from(result.name).toString("base64url");
    expect(request).toMatchObject({
      method: "PUT",
      path: `/gateway/metrics/job/holdfast/holdfast_job@base64/${group}`,
    });
    const lines = String(request?.body).split("\n");
    expect(lines).toContain(`holdfast_job_elapsed_seconds{holdfast_job="${result.name}"} 2`);
    const own = `holdfast_job="${result.name}",workflow="get",datacenter=""`;
    expect(lines).toContain(`holdfast_measure_total{${own},measure="requests"} 4`);
    expect(lines).toContain(`holdfast_measure{${own},measure="latency",figure="max"} 40`);
    expect(lines).toContain(`holdfast_measure{${own},measure="latency",figure="p50"} 2`);
  });

  it("is told apart: busy from wrong", async () => {
    const { url } = await startReceiver(503, 400);
    const reporter = createPrometheusReporter({ url });
    expect(isFinal(await failureOf(reporter.deliver(report, { signal })))).toBe(false);
    expect(isFinal(await failureOf(reporter.deliver(report, { signal })))).toBe(true);
  });
});

describe("StatsD", () => {
  const startListener = async () => {
    const socket = createSocket("udp4");
    const lines: string[] = [];
    let longest = 0;
    socket.on("message", (message) => {
      longest = Math.max(longest, message.length);
      lines.push(...String(message).split("\n"));
    });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    open.push(async () => socket.close());
    return { lines, port: socket.address().port, longest: () => longest };
  };

  it("gets gauges whose names hold no mark of the protocol", async () => {
    const { lines, port } = await startListener();
    await createStatsdReporter({ host: "127.0.0.1", port }).deliver(report, { signal });
    await expect.poll(() => lines).toContain("holdfast.job_elapsed_seconds.nightly_größe_中:2|g");
    expect(lines).toContain("holdfast.measure.nightly_größe_中.get.latency.max:40|g");
    for (const line of lines) expect(line).toMatch(/^[^:|@#\s]+:\d+(\.\d+)?\|g$/);
  });

  it("gets labels as tags where that is wished, in packets that no network cuts", async () => {
    const { lines, port, longest } = await startListener();
    const counters = Object.fromEntries(
      Array.from({ length: 200 }, (_, index) => [`counter-${index}`, index]),
    );
    const [workflow] = result.workflows;
    if (workflow === undefined) throw new Error("the result has no workflow");
    const large = { ...result, workflows: [{ ...workflow, totals: { counters, histograms: {} } }] };
    const reporter = createStatsdReporter({ host: "127.0.0.1", port, labels: "datadog", prefix: "ours" });
    await reporter.deliver({ ...report, result: large }, { signal });
    await expect
      .poll(() => lines)
      .toContain("ours.measure_total:199|g|#job:nightly_größe_中,workflow:get,measure:counter-199");
    expect(lines.filter((line) => line.startsWith("ours.measure_total"))).toHaveLength(200);
    expect(longest()).toBeLessThanOrEqual(1_432);
  });
});

describe("an address that is none", () => {
  it.each([
    "ftp://ops:hunter2@hooks.example/jobs",
    "https//ops:hunter2@hooks.example",
    "ops:hunter2@hooks.example",
  ])("is refused without the password in it: %s", (url) => {
    expect(() => createWebhookReporter({ url, secret: SECRET })).toThrow(/hooks\.example/);
    expect(() => createWebhookReporter({ url, secret: SECRET })).not.toThrow(/hunter2/);
  });
});

describe("OTLP", () => {
  it("gets the figures through the OpenTelemetry library", async () => {
    const { received, url } = await startReceiver(200);
    await createOtlpReporter({ url: `${url}/v1/metrics`, serviceName: "shop" }).deliver(report, { signal });
    const body = JSON.parse(String(received[0]?.body)) as {
      resourceMetrics: {
        resource: { attributes: { key: string; value: { stringValue?: string } }[] };
        scopeMetrics: { metrics: { name: string; gauge: { dataPoints: unknown[] } }[] }[];
      }[];
    };
    const [resource] = body.resourceMetrics;
    expect(resource?.resource.attributes).toContainEqual({
      key: "service.name",
      value: { stringValue: "shop" },
    });
    const metrics = resource?.scopeMetrics[0]?.metrics ?? [];
    const elapsed = metrics.find(({ name }) => name === "holdfast.job_elapsed_seconds");
    expect(elapsed?.gauge.dataPoints).toMatchObject([{ asDouble: 2 }]);
    expect(metrics.map(({ name }) => name)).toContain("holdfast.measure");
  });

  it("fails when the collector refuses", async () => {
    const { url } = await startReceiver(400);
    const reporter = createOtlpReporter({ url: `${url}/v1/metrics` });
    await expect(reporter.deliver(report, { signal })).rejects.toThrow();
  });
});
