import { keepNewest } from "@holdfast/kernel";

/** Outcomes remembered, so that a worker which missed the answer is told the same again. */
const KEPT_MAX_COUNT = 20_000;

/** Which claims' outcomes were accepted lately. */
export class RecentOutcomes {
  /** Oldest first. */
  readonly #tokens = new Map<string, bigint>();

  add(taskId: string, token: bigint): void {
    this.#tokens.delete(taskId);
    this.#tokens.set(taskId, token);
    keepNewest(this.#tokens, KEPT_MAX_COUNT);
  }

  has(taskId: string, token: bigint): boolean {
    return this.#tokens.get(taskId) === token;
  }
}
