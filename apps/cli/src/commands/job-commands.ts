import type { WirePosition } from "@holdfast/coordination";
import type { JobSummary, JobView } from "@holdfast/protocol/contract";
import { Command, Option } from "commander";
import { duration, wholeNumber } from "../flags.ts";
import { formatAge, formatCount, formatDuration } from "../terminal/format.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";
import { statusFormat } from "../terminal/style.ts";
import { renderTable } from "../terminal/table.ts";
import { watchJob } from "../watch/watch-job.ts";
import { type ClientFlags, withClient, withClientFlags } from "./client-command.ts";
import type { ExitCode } from "./exit-code.ts";

export const jobsCommand = (session: Session): Command =>
  withClientFlags(new Command("jobs"))
    .description("list jobs, newest first")
    .addOption(new Option("--limit <n>", "how many").default(20).argParser(wholeNumber("--limit", 1, 1000)))
    .option("--search <text>", "part of the name or id")
    .action(async (flags: ClientFlags & { limit: number; search?: string }) => {
      const { jobs } = await withClient(session, flags, (client) =>
        client.list({
          limit: flags.limit,
          signal: session.signal,
          ...(flags.search === undefined ? {} : { search: flags.search }),
        }),
      );
      if (flags.json) session.printJson({ jobs });
      else if (jobs.length === 0) session.print("no jobs yet: submit one with 'holdfast submit WORKFLOW'");
      else session.print(renderJobs(session, jobs));
    });

const renderJobs = (session: Session, jobs: readonly JobSummary[]): string =>
  renderTable(
    jobs,
    [
      { title: "job", value: (job) => job.jobId },
      { title: "name", value: (job) => job.name, maxWidth: 28 },
      { title: "status", value: (job) => session.style(statusFormat(job.status), job.status) },
      { title: "done", value: (job) => formatCount(job.progress.done), align: "right" },
      { title: "datacenters", value: (job) => job.datacenters.join(", ") || "-", maxWidth: 30 },
      {
        title: "submitted",
        value: (job) => formatAge(session.clock.wallNow() - job.submittedAt),
        align: "right",
      },
      { title: "took", value: (job) => formatDuration(job.elapsedMs), align: "right" },
    ],
    session.style,
  );

export const jobCommand = (session: Session): Command =>
  withClientFlags(new Command("job"))
    .description("show one job")
    .argument("<id>")
    .action(async (jobId: string, flags: ClientFlags) => {
      const job = await withClient(session, flags, (client) => client.get(jobId, { signal: session.signal }));
      if (flags.json) session.printJson(job);
      else session.print(renderJob(session, job));
    });

const renderJob = (session: Session, job: JobView): string => {
  const { style } = session;
  const lines = [
    `${style("bold", job.jobId)}  ${job.name}  ${style(statusFormat(job.status), job.status)}  ${style("dim", formatDuration(job.elapsedMs))}`,
    `led by ${job.leader.nodeId} with fence ${job.leader.fence}; log at ${job.head.epoch}:${job.head.offset}`,
    "",
    renderTable(
      job.workflows,
      [
        { title: "workflow", value: (workflow) => workflow.name, maxWidth: 28 },
        { title: "status", value: (workflow) => style(statusFormat(workflow.status), workflow.status) },
        { title: "after", value: (workflow) => workflow.dependsOn.join(", ") || "-", maxWidth: 30 },
        { title: "shards", value: ({ shards }) => `${shards.completed}/${shards.total}`, align: "right" },
        { title: "running", value: ({ shards }) => String(shards.running), align: "right" },
        { title: "failed", value: ({ shards }) => String(shards.failed), align: "right" },
        { title: "done", value: ({ progress }) => formatCount(progress.done), align: "right" },
      ],
      style,
    ),
  ];
  for (const [datacenter, cell] of Object.entries(job.datacenters)) {
    const led =
      cell.leader === undefined ? "" : `, led by ${cell.leader.nodeId} with fence ${cell.leader.fence}`;
    lines.push(`${datacenter}: ${style(statusFormat(cell.status), cell.status)}${led}`);
  }
  for (const { reporter, status, attempts, error } of job.reports ?? []) {
    const format = status === "delivered" ? "green" : status === "failed" ? "red" : "yellow";
    const tries = attempts > 1 ? ` after ${attempts} attempts` : "";
    lines.push(
      `report to ${reporter}: ${style(format, status)}${tries}${error === undefined ? "" : ` (${error})`}`,
    );
  }
  for (const error of job.errors) lines.push(`${style("red", "✗")} ${error}`);
  return lines.join("\n");
};

/** @throws UsageError for anything but two decimal numbers, as `holdfast job` shows them. */
const positionOf = (text: string): WirePosition => {
  const [, epoch, offset] = /^(\d{1,19}):(\d{1,19})$/.exec(text) ?? [];
  if (epoch === undefined || offset === undefined)
    throw new UsageError(`--after must be epoch:offset, two whole numbers, got ${JSON.stringify(text)}`);
  return { epoch, offset };
};

export const watchCommand = (session: Session, exit: ExitCode): Command =>
  withClientFlags(new Command("watch"))
    .description("show a job live until its result; survives reconnects")
    .argument("<id>")
    .addOption(new Option("--after <epoch:offset>", "go on from this position").argParser(positionOf))
    .action(async (jobId: string, flags: ClientFlags & { after?: WirePosition }) => {
      const { after } = flags;
      const result = await withClient(session, flags, (client) =>
        watchJob(session, client, jobId, {
          json: flags.json ?? false,
          ...(after === undefined ? {} : { after }),
        }),
      );
      exit.code = result?.status === "completed" ? 0 : 1;
    });

export const cancelCommand = (session: Session, exit: ExitCode): Command =>
  withClientFlags(new Command("cancel"))
    .description("cancel a job, or one workflow of it and what depends on it")
    .argument("<id>")
    .option("--workflow <id>", "only this workflow (its id, see 'holdfast job ID --json')")
    .option("--reason <text>", "kept in the job's log", "cancelled from the command line")
    .action(async (jobId: string, flags: ClientFlags & { workflow?: string; reason: string }) => {
      const answer = await withClient(session, flags, (client) =>
        client.cancel(jobId, {
          signal: session.signal,
          reason: flags.reason,
          ...(flags.workflow === undefined ? {} : { workflowId: flags.workflow }),
        }),
      );
      if (flags.json) session.printJson({ jobId, ...answer });
      else session.print(`${jobId} ${answer.outcome}`);
      exit.code = answer.outcome === "not-found" ? 1 : 0;
    });

export const resultCommand = (session: Session, exit: ExitCode): Command =>
  withClientFlags(new Command("result"))
    .description("wait for a job's final result and print it as JSON")
    .argument("<id>")
    .addOption(
      new Option("--timeout <time>", "give up waiting after this; the job goes on").argParser(
        duration("--timeout"),
      ),
    )
    .action(async (jobId: string, flags: ClientFlags & { timeout?: number }) => {
      const result = await withClient(session, flags, (client) =>
        client.result(jobId, {
          signal: session.signal,
          ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
        }),
      );
      if (flags.json) session.printJson(result);
      else session.print(JSON.stringify(result, null, 2));
      exit.code = result.status === "completed" ? 0 : 1;
    });
