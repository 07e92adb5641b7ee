import type { WirePosition } from "@holdfast/coordination";
import type { JobEvent, JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { type DatacenterPart, type GateJob, isTerminal } from "../gate-job.ts";
import { fitWorkflowResults } from "../merge/fit-result.ts";
import { foldProgress, NO_PROGRESS } from "../merge/progress.ts";
import { type MergedWorkflow, partsOf, workflowsOf } from "../merge/workflow-list.ts";
import { mergeWorkflowResults } from "../merge/workflow-result.ts";

/**
 * Takes in one event of a datacenter's log and returns what goes into the global log for it. Events at or
 * before the part's position, and those of a part that has ended, change nothing.
 */
export const applyDatacenterEvent = (
  job: GateJob,
  part: DatacenterPart,
  input: { readonly position: WirePosition; readonly event: JobEvent },
): readonly JobEvent[] => {
  if (part.phase === "ended" || isTerminal(job.status) || isBehind(part.position, input.position)) return [];
  part.position = input.position;
  const event: JobEvent = { ...input.event, datacenter: part.datacenter };
  switch (event.type) {
    case "job.status":
      if (!isTerminal(event.status)) part.status = event.status;
      return [event, ...startRunning(job, event)];
    case "job.leader":
      if (event.role !== "manager" || isOlderFence(event.leader.fence, part.leader?.fence)) return [];
      part.leader = event.leader;
      return [event];
    case "job.placement":
      return [];
    case "window":
    case "workflow.status":
      part.live.set(event.workflowId, foldProgress(part.live.get(event.workflowId) ?? NO_PROGRESS, event));
      return [event];
    case "workflow.result":
      return takeResult(job, part, event);
    case "job.result":
      return endPartWith(job, part, event.result);
    default:
      return [event];
  }
};

/** The merged results of workflows that all datacenters have reported by now, as events. */
export const mergeReadyWorkflows = (job: GateJob, at: number): readonly JobEvent[] =>
  workflowsOf(job.spec, job.parts).flatMap((workflow) =>
    isReady(job, workflow) ? mergeWorkflow(job, workflow, at) : [],
  );

const isReady = (job: GateJob, workflow: MergedWorkflow): boolean =>
  job.parts.every((part) => part.results.has(workflow.id) || part.phase === "ended");

const takeResult = (
  job: GateJob,
  part: DatacenterPart,
  event: Extract<JobEvent, { type: "workflow.result" }>,
): readonly JobEvent[] => {
  const { result } = event;
  part.live.set(result.workflowId, foldProgress(part.live.get(result.workflowId) ?? NO_PROGRESS, event));
  part.results.set(result.workflowId, result);
  const workflow = workflowsOf(job.spec, job.parts).find(({ id }) => id === result.workflowId);
  // With one datacenter the merged result says all that its own would.
  const own = job.parts.length === 1 && workflow !== undefined ? [] : [event];
  return workflow === undefined || !isReady(job, workflow)
    ? own
    : [...own, ...mergeWorkflow(job, workflow, event.at)];
};

const mergeWorkflow = (job: GateJob, workflow: MergedWorkflow, at: number): readonly JobEvent[] => {
  if (job.merged.has(workflow.id)) return [];
  job.merged.add(workflow.id);
  const merged = mergeWorkflowResults(workflow, partsOf(workflow, job.parts), job.spec.policy);
  const [result] = fitWorkflowResults([merged]).workflows;
  return result === undefined ? [] : [{ type: "workflow.result", at, result }];
};

/** Takes in how the job ended in a datacenter, where its log does not say it any more. */
export const endPartWith = (job: GateJob, part: DatacenterPart, result: JobResult): readonly JobEvent[] => {
  part.phase = "ended";
  part.status = isTerminal(result.status) ? result.status : "failed";
  part.elapsedMs = result.elapsedMs;
  part.error = Object.values(result.datacenters)[0]?.error;
  part.errors = result.errors;
  // A workflow that never started has no event of its own; the job's result names it all the same.
  for (const workflow of result.workflows) addMissingResult(part.results, workflow);
  return startRunning(job, { status: part.status, at: result.finishedAt });
};

const addMissingResult = (results: Map<string, WorkflowResult>, workflow: WorkflowResult): void => {
  if (!results.has(workflow.workflowId)) results.set(workflow.workflowId, workflow);
};

/** The job runs as soon as one datacenter runs it. */
const startRunning = (
  job: GateJob,
  event: { readonly status: DatacenterPart["status"]; readonly at: number },
): readonly JobEvent[] => {
  const wasWaiting = job.status === "submitted" || job.status === "queued" || job.status === "dispatching";
  if (!wasWaiting || event.status === "submitted" || event.status === "queued") return [];
  job.status = "running";
  return [{ type: "job.status", at: event.at, status: "running" }];
};

const isBehind = (current: WirePosition | undefined, next: WirePosition): boolean =>
  current !== undefined && current.epoch === next.epoch && BigInt(next.offset) <= BigInt(current.offset);

const isOlderFence = (given: string, known: string | undefined): boolean =>
  known !== undefined && BigInt(given) < BigInt(known);
