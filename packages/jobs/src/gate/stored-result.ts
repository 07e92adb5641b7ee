import type { Position } from "@holdfast/coordination";
import type { JobEvent, JobResult } from "@holdfast/protocol/contract";
import { jobStream } from "../model/job-stream.ts";
import type { JobStore } from "../model/job-table.ts";

/** The result of a job that has ended is the last entry of its log. */
export const storedResult = async (
  store: JobStore,
  jobId: string,
  signal: AbortSignal,
): Promise<{ readonly head: Position; readonly result: JobResult | undefined }> => {
  const { log } = store.coordination;
  const { head } = await log.bounds(jobStream(jobId), { signal });
  if (head.offset === 0n) return { head, result: undefined };
  const after = { epoch: head.epoch, offset: head.offset - 1n };
  const read = await log.read(jobStream(jobId), { after, limit: 1, signal });
  const event = read.kind === "entries" ? (read.entries[0]?.payload as unknown as JobEvent) : undefined;
  return { head, result: event?.type === "job.result" ? event.result : undefined };
};
