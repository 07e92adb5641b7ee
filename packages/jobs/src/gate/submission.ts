import type { Peer, RequestContext } from "@holdfast/connection";
import { toWirePosition } from "@holdfast/coordination";
import { type Clock, checkPlainJson, InvalidInputError } from "@holdfast/kernel";
import { encodeValue } from "@holdfast/protocol";
import {
  JOB_MAX_BYTES,
  type JobEvent,
  type JobSpec,
  type Leader,
  type OutputOf,
  type submitJob,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import {
  IdempotencyConflictError,
  JobTooLargeError,
  NoDatacenterError,
  NodeNotReadyError,
} from "../errors.ts";
import { approximateBytes } from "../model/approximate-bytes.ts";
import { dependencyGraph } from "../model/dependency-graph.ts";
import { expandSpec } from "../model/expand-spec.ts";
import { jobStream } from "../model/job-stream.ts";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { payloadHash } from "../model/payload-hash.ts";
import type { EventFeed } from "../node/event-feed.ts";
import type { NodeLease } from "../node/node-lease.ts";
import type { Datacenter } from "./datacenter.ts";
import { choosePlacement } from "./decide/placement.ts";
import { encodeGateState, newGateJob, newPart } from "./gate-job.ts";
import type { InputValidation } from "./input-validation.ts";
import type { JobBook } from "./job-book.ts";
import type { JobCommits } from "./job-commits.ts";
import type { ReportDeliveries } from "./report-deliveries.ts";

export interface SubmissionsOptions {
  readonly store: JobStore;
  readonly lease: NodeLease;
  readonly book: JobBook;
  readonly commits: JobCommits;
  readonly datacenters: ReadonlyMap<string, Datacenter>;
  readonly validation: InputValidation;
  readonly clock: Clock;
  readonly self: { readonly nodeId: string; readonly address: string };
  /** The live gate behind an owner id, as far as this gate knows. */
  readonly leaderOf: (row: Pick<JobRow, "owner" | "fence">) => Leader;
  readonly followNew: EventFeed["followNew"];
  readonly reports: ReportDeliveries;
}

type Submission = z.output<typeof submitJob.input>;
type Answer = OutputOf<typeof submitJob>;

const NOT_READY_MS = 500;

/** Takes jobs in: checks, chooses datacenters, stores, answers. Dispatching happens afterwards. */
export class Submissions {
  readonly #options: SubmissionsOptions;

  constructor(options: SubmissionsOptions) {
    this.#options = options;
  }

  /**
   * Answers when the job is durably stored; a repeat with the same key and payload gets the same answer.
   * @throws IdempotencyConflictError, JobTooLargeError, InvalidInputError, and what the datacenter says of the
   * workflows; retryable: NodeNotReadyError, NoDatacenterError, OverloadedError.
   */
  async submit(submission: Submission, context: RequestContext): Promise<Answer> {
    const { clock } = this.#options;
    checkSubmission(submission);
    this.#options.reports.check(submission.spec);
    const hash = hashOf(submission.spec);
    try {
      const placement = this.#place(submission.spec);
      const chosen = placement.datacenters.map((name) => this.#options.datacenters.get(name) as Datacenter);
      const now = clock.monotonicNow();
      await Promise.all(
        chosen.map((datacenter) => this.#options.validation.check(submission, datacenter, { now })),
      );
      const spec = await expandSpec(submission.jobId, submission.spec, async ({ workflow }) =>
        dependsOnOf(workflow, chosen),
      );
      dependencyGraph(spec.workflows);
      if (submission.dryRun) return this.#dryAnswer(submission);
      return await this.#store({ ...submission, spec }, { hash, placement, peer: context.peer });
    } catch (error) {
      // The first attempt of this submission may have stored it, before the datacenters went away.
      const known = submission.dryRun
        ? undefined
        : await this.#known(submission, hash).catch(() => undefined);
      if (known !== undefined) return known;
      throw error;
    }
  }

  #place(spec: JobSpec): { readonly datacenters: readonly string[]; readonly fallbacks: readonly string[] } {
    const { datacenters, self } = this.#options;
    const placement = choosePlacement(
      spec,
      [...datacenters.values()].map(({ candidate }) => candidate),
    );
    switch (placement.kind) {
      case "placed":
        return placement;
      case "initializing":
        throw new NodeNotReadyError(self.nodeId, `datacenters are initializing: ${placement.why}`, {
          retryAfterMs: NOT_READY_MS,
        });
      case "none":
        throw new NoDatacenterError(placement.why, { retryAfterMs: NOT_READY_MS });
      case "unknown": {
        const known = [...datacenters.keys()].join(", ");
        throw new InvalidInputError(
          "spec.datacenters",
          placement.datacenter,
          `among the known ones (${known})`,
        );
      }
    }
  }

  async #store(
    submission: Submission,
    options: {
      readonly hash: string;
      readonly placement: { readonly datacenters: readonly string[]; readonly fallbacks: readonly string[] };
      readonly peer: Peer;
    },
  ): Promise<Answer> {
    const { lease, book, commits, clock, self, followNew } = this.#options;
    const { jobId, spec, idempotencyKey, follow } = submission;
    const { datacenters, fallbacks } = options.placement;
    const owner = lease.ownerId;
    if (owner === undefined) {
      throw new NodeNotReadyError(self.nodeId, "it holds no lease", { retryAfterMs: NOT_READY_MS });
    }
    const at = clock.wallNow();
    const eventsOf = (row: JobRow): readonly JobEvent[] => [
      { type: "job.status", at, status: "submitted" },
      { type: "job.leader", at, role: "gate", leader: { ...self, fence: row.fence.toString() } },
      { type: "job.placement", at, datacenters: [...datacenters] },
      { type: "job.status", at, status: "dispatching" },
    ];
    book.reserve(jobId);
    try {
      const result = await commits.insert({
        row: {
          jobId,
          idempotencyKey,
          payloadHash: options.hash,
          owner,
          status: "dispatching",
          name: spec.name,
          labels: spec.labels,
          spec,
          state: encodeGateState({ parts: datacenters.map(newPart), fallbacks, ending: undefined }),
        },
        eventsOf,
      });
      if (result.kind === "exists") return await this.#duplicate(result.row, submission, options.hash);
      const start = { epoch: result.first.epoch, offset: result.first.offset - 1n };
      let followed = false;
      if (lease.ownerId === owner) {
        const job = newGateJob(result.row, { datacenters, fallbacks });
        job.head = result.head;
        book.lead(job);
        followed = follow !== undefined && followNew(jobId, follow, { start, peer: options.peer });
      }
      return {
        jobId,
        status: "submitted",
        position: toWirePosition(start),
        leader: { ...self, fence: result.row.fence.toString() },
        duplicate: false,
        ...(followed ? { followed } : {}),
      };
    } finally {
      book.release(jobId);
    }
  }

  async #known(submission: Submission, hash: string): Promise<Answer | undefined> {
    const [row] = await this.#options.store.jobs.get([submission.jobId]);
    return row === undefined || row.idempotencyKey !== submission.idempotencyKey
      ? undefined
      : this.#duplicate(row, submission, hash);
  }

  async #duplicate(row: JobRow, submission: Submission, hash: string): Promise<Answer> {
    const { store, lease, book, leaderOf } = this.#options;
    if (row.idempotencyKey !== submission.idempotencyKey || row.payloadHash !== hash) {
      throw new IdempotencyConflictError(submission.idempotencyKey, row.jobId);
    }
    // Stored by an attempt of ours whose commit got no answer: it is ours, and nobody runs it yet.
    if (row.owner === lease.ownerId && !book.publishes(row.jobId)) book.reload([row.jobId]);
    const { head } = await store.coordination.log.bounds(jobStream(row.jobId));
    return {
      jobId: row.jobId,
      status: row.status,
      position: toWirePosition({ epoch: head.epoch, offset: 0n }),
      leader: leaderOf(row),
      duplicate: true,
    };
  }

  #dryAnswer(submission: Submission): Answer {
    return {
      jobId: submission.jobId,
      status: "submitted",
      position: { epoch: "0", offset: "0" },
      leader: { ...this.#options.self, fence: "0" },
      duplicate: false,
    };
  }
}

/** The workflow ids and the job's id are made anew by each run of a program; what is asked for stays the same. */
const hashOf = (spec: JobSpec): string =>
  payloadHash({ ...spec, workflows: spec.workflows.map(({ id: _id, ...workflow }) => workflow) });

/**
 * What the definition of a workflow depends on, as the chosen datacenters last said.
 * @throws NodeNotReadyError when none of them has said so yet (they found the input good, so our view of them is
 * old): without it a dependency would be missing in the job's result. Retryable.
 */
/** What a workflow depends on, as the workers of the datacenters say. @throws NodeNotReadyError when none is known to say it. */
const dependsOnOf = (workflow: string, datacenters: readonly Datacenter[]): readonly string[] => {
  const entries = datacenters.flatMap(({ view }) => view.workflows.filter(({ name }) => name === workflow));
  if (entries.length === 0) {
    const names = datacenters.map(({ name }) => name).join(", ");
    throw new NodeNotReadyError(names, `no worker that offers ${workflow} is known there yet`, {
      retryAfterMs: NOT_READY_MS,
    });
  }
  return [...new Set(entries.flatMap(({ dependsOn }) => dependsOn))];
};

const checkSubmission = (submission: Submission): void => {
  if (submission.gate !== undefined) {
    throw new InvalidInputError(
      "gate",
      submission.gate.nodeId,
      "absent: a gate forwards to managers, not to gates",
    );
  }
  // Before it is hashed and stored: big integers cannot be hashed, and NaN would come to the workflow as null.
  checkPlainJson("spec", submission.spec);
  dependencyGraph(submission.spec.workflows);
  // Counting exactly costs an encoding; a job far below the limit is spared it.
  if (approximateBytes(submission.spec) * 3 <= JOB_MAX_BYTES) return;
  const sizeBytes = encodeValue(submission).byteLength;
  if (sizeBytes > JOB_MAX_BYTES) throw new JobTooLargeError(sizeBytes, JOB_MAX_BYTES);
};
