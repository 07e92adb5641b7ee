import type { Position } from "@holdfast/coordination";
import type { Abortable } from "@holdfast/kernel";
import type { JobEvent, WorkflowResult } from "@holdfast/protocol/contract";
import { jobStream } from "../model/job-stream.ts";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { decodeGateJob, type GateJob } from "./gate-job.ts";
import { foldProgress, NO_PROGRESS } from "./merge/progress.ts";

const PAGE_COUNT = 1_000;

/** The job of a row as its last leader committed it: state from the row, results and progress from its log. */
export const restoreJob = async (store: JobStore, row: JobRow, options: Abortable = {}): Promise<GateJob> => {
  const job = decodeGateJob(row);
  let after: Position | undefined;
  for (;;) {
    const read = await store.coordination.log.read(jobStream(row.jobId), {
      ...options,
      after,
      limit: PAGE_COUNT,
    });
    job.head = read.bounds.head;
    if (read.kind === "reset") {
      after = { epoch: read.bounds.head.epoch, offset: read.bounds.trimmedTo };
      continue;
    }
    for (const { payload } of read.entries) takeBack(job, payload as unknown as JobEvent);
    const last = read.entries.at(-1)?.position;
    if (last === undefined || last.offset >= read.bounds.head.offset) break;
    after = last;
  }
  return job;
};

/** What an event of the job's own log says that its row does not. */
const takeBack = (job: GateJob, event: JobEvent): void => {
  if (event.type !== "workflow.result" && event.type !== "window" && event.type !== "workflow.status") return;
  if (event.type === "workflow.result" && event.datacenter === undefined) {
    job.merged.add(event.result.workflowId);
    const [only] = job.parts;
    if (job.parts.length === 1 && only !== undefined) {
      only.results.set(event.result.workflowId, partOf(event.result, only.datacenter));
      const before = only.live.get(event.result.workflowId) ?? NO_PROGRESS;
      only.live.set(event.result.workflowId, foldProgress(before, event));
    }
    return;
  }
  const part = job.parts.find(({ datacenter }) => datacenter === event.datacenter);
  if (part === undefined) return;
  const workflowId = event.type === "workflow.result" ? event.result.workflowId : event.workflowId;
  part.live.set(workflowId, foldProgress(part.live.get(workflowId) ?? NO_PROGRESS, event));
  if (event.type === "workflow.result") part.results.set(workflowId, event.result);
};

/** What the only datacenter said, from the result that was merged of it alone. */
const partOf = (merged: WorkflowResult, datacenter: string): WorkflowResult => {
  const { datacenters, error: _merged, ...result } = merged;
  const part = datacenters?.[datacenter];
  if (part === undefined) return merged;
  return {
    ...result,
    status: part.status,
    shards: part.shards,
    elapsedMs: part.elapsedMs,
    ...(part.error === undefined ? {} : { error: part.error }),
  };
};
