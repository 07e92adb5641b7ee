import type { Json, Position, WirePosition } from "@holdfast/coordination";
import {
  JOB_STATUSES,
  type JobSpec,
  type JobStatus,
  type Leader,
  type WorkflowResult,
  type wireError,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import { type JobRow, TERMINAL_STATUSES } from "../model/job-table.ts";
import { type LiveProgress, sumProgress } from "./merge/progress.ts";

/** An error as the contract carries it. */
export type ContractError = z.output<typeof wireError>;

/**
 * How far a datacenter is with its part of a job:
 * - `new`: nothing was sent there; it may still be given to another datacenter;
 * - `uncertain`: it was sent and no answer came; it may run there, so it stays there;
 * - `accepted`: the datacenter has it, and its log is followed;
 * - `ended`: its result is known, or it will never come.
 */
export type PartPhase = "new" | "uncertain" | "accepted" | "ended";

/** One datacenter's part of a job, as the gate that leads the job knows it. */
export interface DatacenterPart {
  readonly datacenter: string;
  phase: PartPhase;
  status: JobStatus;
  leader: Leader | undefined;
  /** Up to where the datacenter's log is merged into the global one. */
  position: WirePosition | undefined;
  elapsedMs: number;
  error: ContractError | undefined;
  errors: readonly string[];
  /** By workflow id. Not in the stored state: the global log has them. */
  readonly results: Map<string, WorkflowResult>;
  /** By workflow id. Not in the stored state. */
  readonly live: Map<string, LiveProgress>;
}

/** Why the gate ends a job before its datacenters do. */
export interface GateEnding {
  readonly kind: "cancelled" | "timeout" | "failed";
  readonly reason: string;
}

/**
 * A job as its gate knows it. Only the functions in `decide/` change it, in place; when a commit fails, the
 * whole of it is dropped and read again from the store.
 */
export interface GateJob {
  readonly jobId: string;
  readonly idempotencyKey: string;
  readonly spec: JobSpec;
  readonly fence: bigint;
  readonly submittedAt: number;
  status: JobStatus;
  /** In the order of preference. */
  parts: DatacenterPart[];
  /** Datacenters that may take the place of one that cannot take its part. */
  fallbacks: readonly string[];
  ending: GateEnding | undefined;
  /** Workflows whose merged result is in the log. Not in the stored state. */
  readonly merged: Set<string>;
  /** The newest committed position of the global log. */
  head: Position | undefined;
  finishedAt: number | undefined;
}

export const isTerminal = (status: JobStatus): boolean =>
  (TERMINAL_STATUSES as readonly JobStatus[]).includes(status);

export const newPart = (datacenter: string): DatacenterPart => ({
  datacenter,
  phase: "new",
  status: "submitted",
  leader: undefined,
  position: undefined,
  elapsedMs: 0,
  error: undefined,
  errors: [],
  results: new Map(),
  live: new Map(),
});

/** A job that was just stored. */
export const newGateJob = (
  row: Pick<JobRow, "jobId" | "idempotencyKey" | "spec" | "fence" | "submittedAt" | "status">,
  placement: { readonly datacenters: readonly string[]; readonly fallbacks: readonly string[] },
): GateJob => ({
  jobId: row.jobId,
  idempotencyKey: row.idempotencyKey,
  spec: row.spec,
  fence: row.fence,
  submittedAt: row.submittedAt,
  status: row.status,
  parts: placement.datacenters.map(newPart),
  fallbacks: placement.fallbacks,
  ending: undefined,
  merged: new Set(),
  head: undefined,
  finishedAt: undefined,
});

interface StoredPart {
  readonly d: string;
  readonly f: PartPhase;
  readonly s: JobStatus;
  readonly p?: WirePosition;
  readonly l?: Leader;
  readonly ms?: number;
  readonly e?: ContractError;
  readonly er?: readonly string[];
  /** Units done and expected when the job ended. */
  readonly pr?: readonly [done: number, total: number];
}

interface StoredState {
  readonly version: 1;
  readonly parts: readonly StoredPart[];
  readonly fallbacks: readonly string[];
  readonly ending?: GateEnding;
}

/** The JSON of the `state` column: small, because it is written with every batch of events. */
export const encodeGateState = (
  job: Pick<GateJob, "parts" | "fallbacks" | "ending"> & { readonly status?: JobStatus },
): Json => {
  const isEnded = job.status !== undefined && isTerminal(job.status);
  const stored: StoredState = {
    version: 1,
    parts: job.parts.map((part) => ({
      d: part.datacenter,
      f: part.phase,
      s: part.status,
      ...(part.position === undefined ? {} : { p: part.position }),
      ...(part.leader === undefined ? {} : { l: part.leader }),
      ...(part.elapsedMs === 0 ? {} : { ms: part.elapsedMs }),
      ...(part.error === undefined ? {} : { e: part.error }),
      ...(part.errors.length === 0 ? {} : { er: part.errors }),
      ...(isEnded ? { pr: progressOf(part) } : {}),
    })),
    fallbacks: job.fallbacks,
    ...(job.ending === undefined ? {} : { ending: job.ending }),
  };
  return stored as unknown as Json;
};

const progressOf = (part: DatacenterPart): readonly [number, number] => {
  const { done, total } = sumProgress([...part.live.values()]);
  return [done, total];
};

/** The job that a row holds, without results: those are in the log. */
export const decodeGateJob = (row: JobRow): GateJob => {
  const stored = row.state as unknown as StoredState;
  const job = newGateJob(row, { datacenters: [], fallbacks: stored.fallbacks });
  job.ending = stored.ending;
  if (job.ending !== undefined && !isTerminal(job.status)) job.status = "cancelling";
  job.finishedAt = row.finishedAt;
  job.parts = stored.parts.map((part) => ({
    ...newPart(part.d),
    // The former leader may have sent it and died before it could say so.
    phase: part.f === "new" ? "uncertain" : part.f,
    status: JOB_STATUSES.includes(part.s) ? part.s : "running",
    leader: part.l,
    position: part.p,
    elapsedMs: part.ms ?? 0,
    error: part.e,
    errors: part.er ?? [],
  }));
  return job;
};

/** How far the datacenters of a job were when it ended, by name; before that zero. */
export const storedProgress = (
  state: Json,
): ReadonlyMap<string, { readonly done: number; readonly total: number }> =>
  new Map(
    (state as unknown as StoredState).parts.map(({ d, pr }) => [
      d,
      { done: pr?.[0] ?? 0, total: pr?.[1] ?? 0 },
    ]),
  );
