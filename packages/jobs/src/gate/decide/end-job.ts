import { toWireError } from "@holdfast/kernel";
import type { JobEvent, JobResult, JobStatus } from "@holdfast/protocol/contract";
import {
  type ContractError,
  type DatacenterPart,
  type GateEnding,
  type GateJob,
  isTerminal,
} from "../gate-job.ts";
import { mergeJobResult } from "../merge/job-result.ts";
import { mergeReadyWorkflows } from "./datacenter-event.ts";

/** The status that a job shows while it is being ended. */
const CANCELLING: JobStatus = "cancelling";

/**
 * Begins to end a job early. The datacenters must be told (see the part runners); the job ends when they have
 * confirmed. The first reason counts; a job that has ended stays as it is.
 */
export const beginEnding = (job: GateJob, ending: GateEnding, at: number): readonly JobEvent[] => {
  if (job.ending !== undefined || isTerminal(job.status)) return [];
  job.ending = ending;
  job.status = CANCELLING;
  return [{ type: "job.status", at, status: CANCELLING, message: ending.reason }];
};

/** Ends a part whose datacenter cannot be asked any more, or never had it. */
export const endPartAs = (
  part: DatacenterPart,
  outcome: {
    readonly status: "cancelled" | "timeout" | "failed";
    readonly reason?: unknown;
    readonly at: number;
  },
): readonly JobEvent[] => {
  if (part.phase === "ended") return [];
  const { status, reason, at } = outcome;
  part.phase = "ended";
  part.status = status;
  const error = reason === undefined || typeof reason === "string" ? undefined : toWireError(reason);
  const message = typeof reason === "string" ? reason : error?.message;
  if (error !== undefined) part.error = error as ContractError;
  if (message !== undefined) part.errors = [...part.errors, message];
  const { datacenter } = part;
  return [{ type: "job.status", at, datacenter, status, ...(message === undefined ? {} : { message }) }];
};

/** Gives a part that was never sent to another datacenter. */
export const replacePart = (
  job: GateJob,
  part: DatacenterPart,
  options: { readonly replacement: DatacenterPart; readonly at: number },
): readonly JobEvent[] => {
  const { replacement, at } = options;
  job.parts = job.parts.map((other) => (other === part ? replacement : other));
  job.fallbacks = job.fallbacks.filter((datacenter) => datacenter !== replacement.datacenter);
  return [{ type: "job.placement", at, datacenters: job.parts.map(({ datacenter }) => datacenter) }];
};

/**
 * What follows from the state of the parts, to be called after each change: with `require-all` one failed
 * datacenter ends the others; when all parts have ended, the last workflow results and the job's result.
 */
export const settleJob = (job: GateJob, at: number): readonly JobEvent[] => {
  if (isTerminal(job.status)) return [];
  if (job.parts.every(({ phase }) => phase === "ended")) return finish(job, at);
  const failed = job.parts.find(
    ({ phase, status }) => phase === "ended" && status !== "completed" && status !== "partial",
  );
  if (failed === undefined || job.spec.policy !== "require-all") return [];
  const reason = `${failed.datacenter} ended as ${failed.status}, and the job requires all datacenters`;
  return beginEnding(job, { kind: "failed", reason }, at);
};

/** Gives up waiting: parts that have not ended count as missing. */
export const finishWithout = (job: GateJob, at: number): readonly JobEvent[] => {
  const missing = job.parts.flatMap((part) =>
    endPartAs(part, { status: "timeout", reason: "missing final result", at }),
  );
  return [...missing, ...settleJob(job, at)];
};

const finish = (job: GateJob, at: number): readonly JobEvent[] => {
  const workflows = mergeReadyWorkflows(job, at);
  const result = resultOf(job, at);
  job.status = result.status;
  job.finishedAt = result.finishedAt;
  return [
    ...workflows,
    { type: "job.status", at, status: result.status, ...messageOf(result) },
    { type: "job.result", at, result },
  ];
};

const resultOf = (job: GateJob, at: number): JobResult => {
  const { ending } = job;
  return mergeJobResult({
    jobId: job.jobId,
    spec: job.spec,
    parts: job.parts.map((part) => ({
      datacenter: part.datacenter,
      status: outcomeOf(part.status, ending),
      results: part.results,
      elapsedMs: part.elapsedMs,
      error: part.error,
      errors: part.errors,
    })),
    errors: ending === undefined || ending.kind === "cancelled" ? [] : [ending.reason],
    submittedAt: job.submittedAt,
    finishedAt: Math.max(job.submittedAt, at),
  });
};

/** A datacenter that was cancelled because the job ran out of time did not have the time: it timed out. */
const outcomeOf = (status: JobStatus, ending: GateEnding | undefined): JobStatus =>
  status === "cancelled" && ending?.kind === "timeout" ? "timeout" : status;

const messageOf = (result: JobResult): { readonly message?: string } => {
  const [first] = result.errors;
  return first === undefined ? {} : { message: first };
};
