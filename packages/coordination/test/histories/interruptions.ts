import type { HeldTask } from "./kills-store.ts";

interface Interruption {
  readonly id: string;
  /** The claim that was cut short. */
  readonly token: bigint;
  readonly attempt: number;
  /** When its holder was killed or frozen, and when the first of several was. */
  readonly at: number;
  readonly firstAt: number;
}

export interface InterruptionsReport {
  /** Claims of killed and frozen workers, begun or not, that had not ended. */
  readonly interrupted: number;
  /** How many of them others began, and how long after the holder of the claim was killed or frozen, milliseconds. */
  readonly again: number;
  readonly againP50Ms: number;
  readonly againP99Ms: number;
  readonly againMaxMs: number;
  /** Claims whose task went to a worker that was killed or frozen before it had begun it, or said so. */
  readonly handedOn: number;
  /** From the first of several such to the task's begin. */
  readonly againFromFirstMaxMs: number;
  /** Ended by what their holder had sent already. */
  readonly endedAfterAll: number;
}

/** How soon tasks begin again whose worker was killed, claim by claim. Times are `performance.now()`. */
export class Interruptions {
  readonly #open = new Map<string, Interruption>();
  readonly #againMs: number[] = [];
  #fromFirstMaxMs = 0;
  #count = 0;
  #handedOn = 0;
  #endedAfterAll = 0;

  /** What a worker held that was killed or frozen then. */
  cut(held: readonly HeldTask[], at: number): void {
    for (const { id, token, attempt } of held) {
      const former = this.#open.get(id);
      if (former !== undefined && former.token >= token) continue;
      this.#count += 1;
      if (former !== undefined) this.#handedOn += 1;
      this.#open.set(id, { id, token, attempt, at, firstAt: former?.firstAt ?? at });
    }
  }

  begun(id: string, token: bigint, now: number): void {
    const former = this.#open.get(id);
    // One that was frozen may begin a task after all; that does not count.
    if (former === undefined || token <= former.token) return;
    this.#open.delete(id);
    this.#againMs.push(now - former.at);
    this.#fromFirstMaxMs = Math.max(this.#fromFirstMaxMs, now - former.firstAt);
  }

  ended(id: string, token: bigint): void {
    if (this.#open.get(id)?.token !== token) return;
    this.#open.delete(id);
    this.#endedAfterAll += 1;
  }

  /** Those that nobody is known to have begun again. */
  get open(): readonly { readonly id: string; readonly attempt: number; readonly token: bigint }[] {
    return [...this.#open.values()];
  }

  report(): InterruptionsReport {
    const sorted = [...this.#againMs].sort((a, b) => a - b);
    const share = (of: number): number => Math.round(sorted[Math.ceil(of * sorted.length) - 1] ?? 0);
    return {
      interrupted: this.#count,
      again: sorted.length,
      againP50Ms: share(0.5),
      againP99Ms: share(0.99),
      againMaxMs: share(1),
      handedOn: this.#handedOn,
      againFromFirstMaxMs: Math.round(this.#fromFirstMaxMs),
      endedAfterAll: this.#endedAfterAll,
    };
  }
}
