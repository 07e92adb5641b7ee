export type { JobReport, JobReporter } from "../../model/job-reporter.ts";
export { createOtlpReporter, type OtlpOptions } from "./otlp-reporter.ts";
export { createPrometheusReporter, type PrometheusOptions } from "./prometheus-reporter.ts";
export type { RequestLimit, ServerReporterOptions } from "./reporter-options.ts";
export { createSqlReporter, type SqlReporterOptions } from "./sql-reporter.ts";
export { createStatsdReporter, type StatsdOptions } from "./statsd-reporter.ts";
export { createWebhookReporter, verifyWebhook, type WebhookOptions } from "./webhook-reporter.ts";
