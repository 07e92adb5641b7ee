import { toWireError } from "@holdfast/kernel";
import { DependenciesTooLargeError } from "../../errors.ts";
import { ASSIGNMENT_MAX_BYTES, sentBytes } from "../assignment-size.ts";
import { isActive, isTerminal, type JobState, type WorkflowState } from "../job-state.ts";
import type { Effects } from "./effects.ts";
import { failWorkflow } from "./fail-workflow.ts";
import { shardCounts } from "./result.ts";

/** Takes the job in: queued, and what waits for nothing is started. */
export const startJob = (job: JobState, effects: Effects, now: number): void => {
  if (job.status !== "submitted") return;
  job.status = "queued";
  effects.events.push({ type: "job.status", at: now, status: "queued" });
  effects.stateChanged = true;
  startReady(job, effects, now);
};

/**
 * Enqueues the shards of every workflow whose dependencies have completed. An exclusive workflow runs alone:
 * it starts when nothing else of the job runs, and while one waits for that nothing new starts.
 *
 * A workflow that gets more than {@link ASSIGNMENT_MAX_BYTES} fails instead, and what depends on it with it: no worker
 * could be sent its shards. The job may have ended by that: `finishIfDone` comes next.
 */
export const startReady = (job: JobState, effects: Effects, now: number): void => {
  if (job.ending !== undefined || isTerminal(job.status)) return;
  const active = job.workflows.filter(isActive);
  if (active.some(isExclusive)) return;
  failTooLarge(job, effects, now);
  if (job.ending !== undefined) return;
  const ready = job.workflows.filter((workflow) => isReady(job, workflow));
  const exclusive = ready.find(isExclusive);
  if (exclusive === undefined) {
    for (const workflow of ready) start(workflow, effects, now);
  } else if (active.length === 0) {
    start(exclusive, effects, now);
  }
};

/** A shard of the workflow is with a worker: the workflow, and the job, run. */
export const noteRunning = (job: JobState, workflow: WorkflowState, effects: Effects, now: number): void => {
  noteJobRunning(job, effects, now);
  if (workflow.status !== "assigned") return;
  workflow.status = "running";
  effects.events.push(statusEvent(workflow, now));
  effects.stateChanged = true;
};

/** Something of the job has begun. */
export const noteJobRunning = (job: JobState, effects: Effects, now: number): void => {
  if (job.status !== "queued") return;
  job.status = "running";
  job.startedAt ??= now;
  effects.events.push({ type: "job.status", at: now, status: "running" });
  effects.stateChanged = true;
};

const failTooLarge = (job: JobState, effects: Effects, now: number): void => {
  for (const workflow of job.workflows) {
    if (!isReady(job, workflow)) continue;
    const sizeBytes = receivedBytes(job, workflow);
    if (sizeBytes <= ASSIGNMENT_MAX_BYTES) continue;
    const error = new DependenciesTooLargeError(workflow.spec.name, sizeBytes, ASSIGNMENT_MAX_BYTES);
    failWorkflow(job, workflow, toWireError(error), effects, now);
  }
};

/** The input and what comes of the dependencies. Without these it is 0: the size of a job bounds its inputs. */
const receivedBytes = (job: JobState, workflow: WorkflowState): number => {
  const dependencies = job.graph.dependencies[workflow.index] ?? [];
  if (dependencies.length === 0) return 0;
  let sizeBytes = sentBytes(workflow.spec.input);
  for (const index of dependencies) {
    const dependency = job.workflows[index] as WorkflowState;
    sizeBytes += sentBytes(dependency.spec.name);
    if (!dependency.isBypassed) sizeBytes += dependency.results.sentBytes();
  }
  return sizeBytes;
};

const start = (workflow: WorkflowState, effects: Effects, now: number): void => {
  workflow.status = "assigned";
  workflow.startedAt = now;
  effects.enqueue.push(workflow.index);
  effects.events.push(statusEvent(workflow, now));
  effects.stateChanged = true;
};

const statusEvent = (workflow: WorkflowState, at: number) =>
  ({
    type: "workflow.status",
    at,
    workflowId: workflow.spec.id,
    name: workflow.spec.name,
    status: workflow.status,
    shards: shardCounts(workflow),
  }) as const;

const isExclusive = ({ spec }: WorkflowState): boolean => spec.priority === "exclusive";

const isReady = (job: JobState, workflow: WorkflowState): boolean =>
  workflow.status === "pending" &&
  (job.graph.dependencies[workflow.index] ?? []).every((index) => {
    const dependency = job.workflows[index];
    return dependency?.status === "completed" || dependency?.isBypassed === true;
  });
