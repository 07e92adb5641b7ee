import type { Position } from "@holdfast/coordination";
import type { Clock } from "@holdfast/kernel";
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
/** Whoever asks later reads the store. Events of the job, which cost much more than its result, are kept as long. */
const KEPT_MS = 10_000;

interface Kept {
  readonly job: FinishedJob;
  readonly sizeBytes: number;
  readonly addedAt: number;
}

/**
 * The jobs that ended here last, so that those who ask right after the end cost no read. The oldest fall out first, and
 * all of them after ten seconds: what a gate holds depends on how fast jobs end, not on how many have ended.
 */
export class FinishedJobs {
  /** Oldest first. */
  readonly #jobs = new Map<string, Kept>();
  readonly #clock: Clock;
  readonly #onForgotten: (jobId: string) => void;
  #sizeBytes = 0;

  constructor(options: { readonly clock: Clock; readonly onForgotten: (jobId: string) => void }) {
    this.#clock = options.clock;
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
    this.#jobs.set(job.jobId, { job, sizeBytes, addedAt: this.#clock.monotonicNow() });
    this.#sizeBytes += sizeBytes;
    for (const jobId of this.#jobs.keys()) {
      if (this.#jobs.size <= COUNT_MAX && this.#sizeBytes <= BYTES_MAX) break;
      this.delete(jobId);
    }
  }

  get size(): number {
    return this.#jobs.size;
  }

  /** To be called now and then. */
  forgetOld(): void {
    const now = this.#clock.monotonicNow();
    for (const [jobId, { addedAt }] of this.#jobs) {
      if (now - addedAt < KEPT_MS) return;
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
