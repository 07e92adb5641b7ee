import type { Leader } from "@holdfast/protocol/contract";

interface Entry {
  leader: Leader;
  holdCount: number;
}

/** Who leads the jobs that this worker has claims of. A leader is replaced only by one with a larger fence. */
export class JobLeaders {
  readonly #entries = new Map<string, Entry>();
  readonly #onChanged: (jobId: string) => void;

  constructor(onChanged: (jobId: string) => void) {
    this.#onChanged = onChanged;
  }

  /** Remembers the job until as many `release` as `hold`. */
  hold(jobId: string, leader: Leader): void {
    const entry = this.#entries.get(jobId);
    if (entry === undefined) this.#entries.set(jobId, { leader, holdCount: 1 });
    else {
      entry.holdCount += 1;
      this.update(jobId, leader);
    }
  }

  release(jobId: string): void {
    const entry = this.#entries.get(jobId);
    if (entry === undefined) return;
    entry.holdCount -= 1;
    if (entry.holdCount === 0) this.#entries.delete(jobId);
  }

  of(jobId: string): Leader | undefined {
    return this.#entries.get(jobId)?.leader;
  }

  /** False when the job is not held or the fence is not larger than what is known; nothing changed then. */
  update(jobId: string, leader: Leader): boolean {
    const entry = this.#entries.get(jobId);
    if (entry === undefined || BigInt(leader.fence) <= BigInt(entry.leader.fence)) return false;
    entry.leader = leader;
    this.#onChanged(jobId);
    return true;
  }
}
