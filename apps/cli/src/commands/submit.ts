import type { JobsClient, SubmitOptions } from "@holdfast/jobs/client";
import { writeReports } from "@holdfast/jobs/reports";
import type { JobResult } from "@holdfast/protocol/contract";
import { Command, Option } from "commander";
import { duration, nameList, readJsonArgument, wholeNumber } from "../flags.ts";
import { formatDuration } from "../terminal/format.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";
import { statusFormat } from "../terminal/style.ts";
import { watchJob } from "../watch/watch-job.ts";
import { type ClientFlags, withClient, withClientFlags } from "./client-command.ts";
import type { ExitCode } from "./exit-code.ts";

const REPORT_TYPES = ["json", "csv", "xml"];

interface SubmitFlags extends ClientFlags {
  readonly input: string;
  readonly dc?: string[];
  readonly shards?: number;
  readonly vus?: number;
  readonly duration?: number;
  readonly timeout?: number;
  readonly watch?: boolean;
  readonly report?: string[];
  readonly reportDir: string;
  readonly key?: string;
  readonly dryRun?: boolean;
}

export const submitCommand = (session: Session, exit: ExitCode): Command =>
  withClientFlags(new Command("submit"))
    .description("submit a job that runs one workflow (and what it depends on)")
    .argument("<workflow>", "the name under which workers registered it")
    .option("--input <json|@file>", "input of the workflow", "{}")
    .addOption(new Option("--dc <name,...>", "datacenters to run in").argParser(nameList("--dc")))
    .addOption(
      new Option("--shards <n>", "parts to split the work into").argParser(
        wholeNumber("--shards", 1, 10_000),
      ),
    )
    .addOption(
      new Option("--vus <n>", "virtual users per datacenter").argParser(wholeNumber("--vus", 1, 1_000_000)),
    )
    .addOption(
      new Option("--duration <time>", "how long a load test runs, e.g. 30s").argParser(
        duration("--duration"),
      ),
    )
    .addOption(
      new Option("--timeout <time>", "longest time to the result (default 5m)").argParser(
        duration("--timeout"),
      ),
    )
    .option("--watch", "show the job until its result")
    .addOption(
      new Option("--report <json,csv,xml>", "write reports when it ends (implies waiting)").argParser(
        nameList("--report"),
      ),
    )
    .option("--report-dir <dir>", "where reports are written", ".")
    .option("--key <text>", "idempotency key: the same key submits the job once")
    .option("--dry-run", "check name and input, store nothing")
    .action(async (workflow: string, flags: SubmitFlags) => {
      exit.code = await submit(session, workflow, flags);
    });

const submit = async (session: Session, workflow: string, flags: SubmitFlags): Promise<number> => {
  const unknown = flags.report?.find((type) => !REPORT_TYPES.includes(type));
  if (unknown !== undefined)
    throw new UsageError(`--report knows ${REPORT_TYPES.join(", ")}, got ${JSON.stringify(unknown)}`);
  const options: SubmitOptions = {
    workflows: [
      {
        workflow,
        input: await readJsonArgument("--input", flags.input),
        ...(flags.shards === undefined ? {} : { shards: flags.shards }),
      },
    ],
    signal: session.signal,
    ...(flags.wait === undefined ? {} : { deadlineMs: flags.wait }),
    ...(flags.vus === undefined ? {} : { vus: flags.vus }),
    ...(flags.duration === undefined ? {} : { durationMs: flags.duration }),
    ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
    ...(flags.dc === undefined ? {} : { datacenters: flags.dc, datacenterCount: flags.dc.length }),
    ...(flags.key === undefined ? {} : { idempotencyKey: flags.key }),
    ...(flags.dryRun === undefined ? {} : { dryRun: flags.dryRun }),
  };
  return withClient(session, flags, async (client) => {
    const job = await client.submit(options);
    if (flags.json) session.printJson(job);
    else if (flags.dryRun) session.print(`${workflow} would be accepted`);
    else session.print(`${job.jobId} ${job.status}${job.duplicate ? " (was submitted before)" : ""}`);
    if (flags.dryRun || (!flags.watch && flags.report === undefined)) return 0;
    return await follow(session, client, job.jobId, flags);
  });
};

const follow = async (
  session: Session,
  client: JobsClient,
  jobId: string,
  flags: SubmitFlags,
): Promise<number> => {
  const result = flags.watch
    ? await watchJob(session, client, jobId, { json: flags.json ?? false })
    : await client.result(jobId, { signal: session.signal });
  if (result === undefined) return 1;
  const isReported = flags.report === undefined || (await report(session, result, flags));
  if (!flags.json) {
    session.print(
      `${jobId} ${session.style(statusFormat(result.status), result.status)} in ${formatDuration(result.elapsedMs)}`,
    );
    for (const error of result.errors.slice(0, 5))
      session.printError(`${session.errorStyle("red", "✗")} ${error}`);
  } else if (!flags.watch) session.printJson({ jobId, status: result.status, result });
  return result.status === "completed" && isReported ? 0 : 1;
};

/** Whether every report that was asked for is written. */
const report = async (session: Session, result: JobResult, flags: SubmitFlags): Promise<boolean> => {
  const outcomes = await writeReports(
    result,
    (flags.report ?? []).map((type) => ({ type })),
    { directory: flags.reportDir },
  );
  for (const outcome of outcomes) {
    if (flags.json) session.printJson({ report: outcome });
    else if (outcome.error !== undefined)
      session.printError(
        `${session.errorStyle("red", "✗")} ${outcome.type} report: ${outcome.error.message}`,
      );
    else for (const path of outcome.paths) session.print(`wrote ${path}`);
  }
  return outcomes.every(({ error }) => error === undefined);
};
