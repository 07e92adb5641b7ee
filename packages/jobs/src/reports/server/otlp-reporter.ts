import type { Gauge } from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider, MetricReader, type ResourceMetrics } from "@opentelemetry/sdk-metrics";
import type { JobReport, JobReporter } from "../../model/job-reporter.ts";
import { figuresOf, METRICS } from "./metric-figures.ts";
import {
  checkHeaders,
  checkTimeout,
  checkUrl,
  type RequestLimit,
  type ServerReporterOptions,
  TIMEOUT_DEFAULT_MS,
} from "./reporter-options.ts";

export interface OtlpOptions extends ServerReporterOptions, RequestLimit {
  /** The metrics endpoint of a collector: `http://host:4318/v1/metrics`. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The resource attribute `service.name`. Default `holdfast`. */
  readonly serviceName?: string;
}

/**
 * Exports the figures of each result over OTLP/HTTP through the OpenTelemetry library, as gauges, so a repeat
 * changes nothing. The library itself repeats short failures within `timeoutMs`.
 * @throws InvalidInputError naming the option.
 */
export const createOtlpReporter = (options: OtlpOptions): JobReporter => {
  const { name = "otlp", when = "always", serviceName = "holdfast" } = options;
  const url = checkUrl("url", options.url);
  const timeoutMillis = checkTimeout(options.timeoutMs ?? TIMEOUT_DEFAULT_MS);
  const headers = { ...checkHeaders(options.headers ?? {}) };
  return {
    name,
    when,
    deliver: async (report, { signal }) => {
      signal.throwIfAborted();
      const metrics = await collect(report, serviceName);
      const exporter = new OTLPMetricExporter({ url: url.href, headers, timeoutMillis });
      try {
        await new Promise<void>((resolve, reject) => {
          exporter.export(metrics, ({ code, error }) => {
            if (code === 0) resolve();
            else reject(error ?? new Error(`the collector at ${url.host} did not take the metrics`));
          });
        });
      } finally {
        await exporter.shutdown();
      }
    },
    close: async () => undefined,
  };
};

/** Reads only when asked: one delivery is one collection. */
class OnDemandReader extends MetricReader {
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }

  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
}

const collect = async ({ result, labels }: JobReport, serviceName: string): Promise<ResourceMetrics> => {
  const reader = new OnDemandReader();
  const provider = new MeterProvider({
    resource: resourceFromAttributes({ "service.name": serviceName }),
    readers: [reader],
  });
  try {
    const meter = provider.getMeter("holdfast");
    const gauges = new Map<string, Gauge>();
    const own = Object.fromEntries(
      Object.entries(labels).map(([label, value]) => [`holdfast.label.${label}`, value]),
    );
    for (const { metric, labels: attributes, value } of figuresOf(result)) {
      let gauge = gauges.get(metric);
      if (gauge === undefined) {
        gauge = meter.createGauge(`holdfast.${metric}`, { description: METRICS[metric] ?? metric });
        gauges.set(metric, gauge);
      }
      gauge.record(value, { ...own, ...attributes });
    }
    const { resourceMetrics, errors } = await reader.collect();
    if (errors.length > 0) throw errors[0];
    return resourceMetrics;
  } finally {
    await provider.shutdown();
  }
};
