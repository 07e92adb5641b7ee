import type { Peer } from "@holdfast/connection";
import { checkPlainJson, InvalidInputError, newId } from "@holdfast/kernel";
import { encodeValue } from "@holdfast/protocol";
import {
  type InputOf,
  JOB_MAX_BYTES,
  type JobSpecInput,
  jobSpec,
  submitJob,
} from "@holdfast/protocol/contract";
import type { Caller } from "../caller/caller.ts";
import { JobTooLargeError } from "../errors.ts";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { ResolvedClientOptions } from "./client-options.ts";
import type { SubmitOptions, SubmittedJob } from "./jobs-client.ts";
import type { TrackedJobs } from "./tracked-jobs.ts";

/** Makes job ids, workflow ids and one idempotency key per call, and submits until a node has the job or the deadline passes. */
export class Submitter {
  readonly #options: ResolvedClientOptions;
  readonly #caller: Caller;
  readonly #tracked: TrackedJobs;
  #sequence = 0;

  constructor(options: ResolvedClientOptions, caller: Caller, tracked: TrackedJobs) {
    this.#options = options;
    this.#caller = caller;
    this.#tracked = tracked;
  }

  async submit(options: SubmitOptions): Promise<SubmittedJob> {
    const { job } = await this.submitAndFollow(options, undefined);
    return job;
  }

  /** The same; a subscription of this id is opened for the job's result where the node can do so at once. */
  async submitAndFollow(
    options: SubmitOptions,
    subscriptionId: string | undefined,
  ): Promise<{ readonly job: SubmittedJob; readonly followedAt: Peer | undefined }> {
    options.signal?.throwIfAborted();
    const { clock, random, clientId } = this.#options;
    this.#sequence += 1;
    const jobId = newId("job", random);
    const input: InputOf<typeof submitJob> = {
      jobId,
      idempotencyKey: options.idempotencyKey ?? `${clientId}:${this.#sequence}:${newId("key", random)}`,
      spec: this.#spec(options),
      dryRun: options.dryRun ?? false,
      ...(subscriptionId === undefined ? {} : { follow: { subscriptionId, want: "result" as const } }),
    };
    checkSize(input);
    const { output, peer } = await this.#caller.ask(submitJob, input, {
      signal: options.signal,
      jobId,
      ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    });
    this.#tracked.add(output.jobId, output.position, clock.monotonicNow());
    const { status, position, duplicate } = output;
    const job = { jobId: output.jobId, status, position, duplicate };
    return { job, followedAt: output.followed === true ? peer : undefined };
  }

  #spec(options: SubmitOptions): JobSpecInput {
    checkList(options.workflows);
    const workflows = options.workflows.map((workflow) => ({
      ...workflow,
      name: workflow.name ?? workflow.workflow,
      id: newId("wf", this.#options.random),
    }));
    const spec = withoutUndefined({
      name: options.name ?? workflows[0]?.name ?? "",
      workflows,
      vus: options.vus,
      timeoutMs: options.timeoutMs,
      durationMs: options.durationMs,
      datacenters: options.datacenters === undefined ? undefined : [...options.datacenters],
      datacenterCount: options.datacenterCount ?? options.datacenters?.length,
      policy: options.policy,
      retryBudget: options.retryBudget,
      labels: options.labels,
      reporting: options.reporting,
    }) as JobSpecInput;
    const checked = jobSpec.safeParse(spec);
    const issue = checked.error?.issues[0];
    if (issue !== undefined) {
      const path = issue.path.map(String).join(".");
      throw new InvalidInputError(path || "job", valueAt(spec, issue.path), `acceptable (${issue.message})`);
    }
    // The wire would make objects of maps, lists of sets and errors, and something else of bytes, without a word.
    checkPlainJson("spec", checked.data);
    return spec;
  }
}

/** What comes over HTTP has no types. @throws InvalidInputError unless it is a list of objects. */
const checkList = (workflows: unknown): void => {
  if (!Array.isArray(workflows)) throw new InvalidInputError("workflows", workflows, "a list of workflows");
  for (const [index, workflow] of workflows.entries()) {
    if (typeof workflow !== "object" || workflow === null)
      throw new InvalidInputError(`workflows.${index}`, workflow, "an object that names a workflow");
  }
};

/** @throws JobTooLargeError when the message, encoded as it goes over the wire, is over the limit. */
const checkSize = (message: InputOf<typeof submitJob>): void => {
  // Counting exactly costs an encoding; a job far below the limit is spared it.
  if (approximateBytes(message) * 3 <= JOB_MAX_BYTES) return;
  const sizeBytes = encodeValue(message).byteLength;
  if (sizeBytes > JOB_MAX_BYTES) throw new JobTooLargeError(sizeBytes, JOB_MAX_BYTES);
};

const withoutUndefined = (record: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (inner, key) =>
      typeof inner === "object" && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  );
