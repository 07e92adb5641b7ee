import type { WirePosition } from "@holdfast/coordination";
import { keepNewest } from "@holdfast/kernel";

/** Most jobs remembered; the one submitted longest ago is forgotten first. */
const TRACKED_MAX_COUNT = 10_000;

/** Where the logs of the jobs that this client submitted begin, so that waiting for a result reads nothing twice. */
export class TrackedJobs {
  readonly #starts = new Map<string, { readonly position: WirePosition; readonly at: number }>();

  add(jobId: string, position: WirePosition, at: number): void {
    this.#starts.delete(jobId);
    this.#starts.set(jobId, { position, at });
    keepNewest(this.#starts, TRACKED_MAX_COUNT);
  }

  get(jobId: string): { readonly position: WirePosition; readonly at: number } | undefined {
    return this.#starts.get(jobId);
  }

  delete(jobId: string): void {
    this.#starts.delete(jobId);
  }
}
