import { Gauge, Registry } from "prom-client";
import { request } from "undici";
import type { JobReporter } from "../../model/job-reporter.ts";
import { type Figure, figuresOf, METRICS } from "./metric-figures.ts";
import {
  checkAnswer,
  checkHeaders,
  checkTimeout,
  checkUrl,
  type RequestLimit,
  type ServerReporterOptions,
  TIMEOUT_DEFAULT_MS,
} from "./reporter-options.ts";

export interface PrometheusOptions extends ServerReporterOptions, RequestLimit {
  /** Where a Prometheus Pushgateway, or what speaks like one, is: `http://host:9091`. */
  readonly url: string;
  /** Sent along, for example an `authorization` header. */
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Pushes the figures of each result in the Prometheus text format. All are gauges `holdfast_…`; those of the
 * newest run of a job name replace those of the one before, so a repeat changes nothing.
 * @throws InvalidInputError naming the option.
 */
export const createPrometheusReporter = (options: PrometheusOptions): JobReporter => {
  const { name = "prometheus", when = "always" } = options;
  const url = checkUrl("url", options.url);
  const timeoutMs = checkTimeout(options.timeoutMs ?? TIMEOUT_DEFAULT_MS);
  const headers = checkHeaders(options.headers ?? {});
  return {
    name,
    when,
    deliver: async ({ result }, { signal }) => {
      const registry = registryOf(figuresOf(result));
      const group = Buffer.from(result.name === "" ? "-" : result.name).toString("base64url");
      const target = new URL(
        `${url.pathname.replace(/\/$/, "")}/metrics/job/holdfast/holdfast_job@base64/${group}`,
        url,
      );
      const answer = await request(target, {
        method: "PUT",
        headers: { ...headers, "content-type": registry.contentType },
        body: await registry.metrics(),
        signal,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      });
      await answer.body.dump();
      checkAnswer(`the Pushgateway at ${url.host}`, answer.statusCode);
    },
    close: async () => undefined,
  };
};

const registryOf = (figures: readonly Figure[]): Registry => {
  const registry = new Registry();
  const gauges = new Map<string, Gauge>();
  for (const { metric, labels, value } of figures) {
    // `job` is the Pushgateway's own label for the group.
    const { job = "", ...rest } = labels;
    const own = { holdfast_job: job, ...rest };
    let gauge = gauges.get(metric);
    if (gauge === undefined) {
      gauge = new Gauge({
        name: `holdfast_${metric}`,
        help: METRICS[metric] ?? metric,
        labelNames: Object.keys(own),
        registers: [registry],
      });
      gauges.set(metric, gauge);
    }
    gauge.set(own, value);
  }
  return registry;
};
