import type { Database, Transaction } from "@holdfast/data";
import { InvalidInputError } from "@holdfast/kernel";
import type { WorkflowResult } from "@holdfast/protocol/contract";
import type { JobReport, JobReporter } from "../../model/job-reporter.ts";
import { workflowRows } from "../report-format.ts";
import { stepRows } from "../step-rows.ts";
import type { ServerReporterOptions } from "./reporter-options.ts";

export interface SqlReporterOptions extends ServerReporterOptions {
  /** The reporter does not close it. */
  readonly database: Database;
  /** Holds the three tables; made when missing. Default `holdfast_reports`. */
  readonly schema?: string;
}

/**
 * Writes each result into `job_reports`, `workflow_reports` and `step_reports` of a PostgreSQL schema, for
 * dashboards and queries: one row per job, per workflow and datacenter, per measure. A result is one transaction
 * and replaces what an earlier attempt wrote, so it is there whole and once. Histograms keep their encoded form,
 * which merges without loss.
 * @throws InvalidInputError naming the option.
 */
export const createSqlReporter = (options: SqlReporterOptions): JobReporter => {
  const { name = "sql", when = "always", database, schema = "holdfast_reports" } = options;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    throw new InvalidInputError("schema", schema, "a lower-case SQL name of up to 63 characters");
  }
  let ready: Promise<void> | undefined;
  return {
    name,
    when,
    deliver: async (report, { signal }) => {
      ready ??= createTables(database, schema).catch((error: unknown) => {
        ready = undefined;
        throw error;
      });
      await ready;
      await database.transaction((tx) => writeReport(tx, schema, report), { signal });
    },
    close: async () => undefined,
  };
};

/** Two gates may come at the same time: the second waits for the first. */
const createTables = (database: Database, schema: string): Promise<void> =>
  database.transaction(async (tx) => {
    await tx.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`reports:${schema}`]);
    await tx.query(`
      create schema if not exists ${schema};
      create table if not exists ${schema}.job_reports (
        report_id text primary key,
        job_id text not null,
        name text not null,
        status text not null,
        labels jsonb not null,
        submitted_at timestamptz not null,
        finished_at timestamptz not null,
        elapsed_ms double precision not null,
        errors text[] not null
      );
      create index if not exists job_reports_by_name on ${schema}.job_reports (left(name, 500), finished_at);
      create table if not exists ${schema}.workflow_reports (
        report_id text not null references ${schema}.job_reports on delete cascade,
        workflow_id text not null,
        name text not null,
        workflow text not null,
        datacenter text not null,
        status text not null,
        shards bigint not null,
        shards_completed bigint not null,
        shards_failed bigint not null,
        elapsed_ms double precision not null,
        error_code text not null,
        error_message text not null
      );
      create index if not exists workflow_reports_by_report on ${schema}.workflow_reports (report_id);
      create table if not exists ${schema}.step_reports (
        report_id text not null references ${schema}.job_reports on delete cascade,
        workflow_id text not null,
        datacenter text not null,
        measure text not null,
        kind text not null,
        count double precision not null,
        min double precision, mean double precision, max double precision,
        p50 double precision, p90 double precision, p95 double precision,
        p99 double precision, p999 double precision,
        histogram text
      );
      create index if not exists step_reports_by_report on ${schema}.step_reports (report_id)`);
  });

/** PostgreSQL keeps neither NUL nor half a surrogate pair, and errors quote what workflows choked on. */
const storable = (text: string): string =>
  text.replaceAll("\0", "\ufffd").replace(/\p{Surrogate}/gu, "\ufffd");

const jsonOf = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "string" ? storable(inner) : inner));

const writeReport = async (tx: Transaction, schema: string, report: JobReport): Promise<void> => {
  const { deliveryId, result } = report;
  const labels = Object.fromEntries(
    Object.entries(report.labels).map(([label, text]) => [storable(label), storable(text)]),
  );
  await tx.query(`delete from ${schema}.job_reports where report_id = $1`, [deliveryId]);
  await tx.query(
    `insert into ${schema}.job_reports values ($1, $2, $3, $4, $5, to_timestamp($6 / 1000.0), to_timestamp($7 / 1000.0), $8, $9)`,
    [
      deliveryId,
      storable(result.jobId),
      storable(result.name),
      result.status,
      labels,
      result.submittedAt,
      result.finishedAt,
      result.elapsedMs,
      result.errors.map(storable),
    ],
  );
  const workflows = result.workflows.flatMap((workflow) => workflowRows({ job: result, workflow }));
  await tx.query(
    `insert into ${schema}.workflow_reports
     select $1, "workflowId", name, workflow, datacenter, status, shards, "shardsCompleted", "shardsFailed",
       "elapsedMs", "errorCode", "errorMessage"
     from jsonb_to_recordset($2::jsonb) as row ("workflowId" text, name text, workflow text, datacenter text,
       status text, shards bigint, "shardsCompleted" bigint, "shardsFailed" bigint, "elapsedMs" double precision,
       "errorCode" text, "errorMessage" text)`,
    [deliveryId, jsonOf(workflows)],
  );
  const steps = result.workflows.flatMap((workflow) =>
    stepRows(workflow).map((row) => ({
      ...row,
      workflowId: workflow.workflowId,
      histogram: encodedOf(workflow, row.datacenter, row.measure),
    })),
  );
  await tx.query(
    `insert into ${schema}.step_reports
     select $1, "workflowId", datacenter, measure, kind, count, min, mean, max, p50, p90, p95, p99, p999, histogram
     from jsonb_to_recordset($2::jsonb) as row ("workflowId" text, datacenter text, measure text, kind text,
       count double precision, min double precision, mean double precision, max double precision,
       p50 double precision, p90 double precision, p95 double precision, p99 double precision,
       p999 double precision, histogram text)`,
    [deliveryId, jsonOf(steps)],
  );
};

const encodedOf = (workflow: WorkflowResult, datacenter: string, measure: string): string | undefined => {
  const totals = datacenter === "" ? workflow.totals : workflow.datacenters?.[datacenter]?.totals;
  return totals?.histograms[measure]?.encoded;
};
