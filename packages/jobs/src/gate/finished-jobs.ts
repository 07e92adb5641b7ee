import type { Position } from "@holdfast/coordination";
import type { JobResult, JobStatus, Leader } from "@holdfast/protocol/contract";
import { approximateBytes } from "../model/approximate-bytes.ts";

/** A job that ended here a moment ago. */
export interface FinishedJob {
  readonly jobId: string;
  readonly status: JobStatus;
  readonly leader: Leader;
  readonly head: Position;
  readonly result: JobResult;
}

const COUNT_MAX = 2_000;
const BYTES_MAX = 16 * 1024 * 1024;

/** The jobs that ended here last, so that those who ask right after the end cost no read. The oldest fall out first. */
export class FinishedJobs {
  readonly #jobs = new Map<string, { readonly job: FinishedJob; readonly sizeBytes: number }>();
  readonly #onForgotten: (jobId: string) => void;
  #sizeBytes = 0;

  constructor(options: { readonly onForgotten: (jobId: string) => void }) {
    this.#onForgotten = options.onForgotten;
  }

  has(jobId: string): boolean {
    return this.#jobs.has(jobId);
  }

  get(jobId: string): FinishedJob | undefined {
    return this.#jobs.get(jobId)?.job;
  }

  add(job: FinishedJob): void {
    this.delete(job.jobId);
    const sizeBytes = approximateBytes(job.result);
    this.#jobs.set(job.jobId, { job, sizeBytes });
    this.#sizeBytes += sizeBytes;
    for (const jobId of this.#jobs.keys()) {
      if (this.#jobs.size <= COUNT_MAX && this.#sizeBytes <= BYTES_MAX) break;
      this.delete(jobId);
    }
  }

  delete(jobId: string): void {
    const found = this.#jobs.get(jobId);
    if (found === undefined) return;
    this.#jobs.delete(jobId);
    this.#sizeBytes -= found.sizeBytes;
    this.#onForgotten(jobId);
  }
}
