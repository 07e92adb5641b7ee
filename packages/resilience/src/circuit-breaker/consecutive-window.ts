import type { OutcomeWindow } from "./outcome-window.ts";

/** Opens after so many failures in a row; any success in between starts the count anew. */
export class ConsecutiveWindow implements OutcomeWindow {
  readonly resolutionMs = Number.POSITIVE_INFINITY;
  readonly #failureMaxCount: number;
  #failureCount = 0;

  constructor(failureMaxCount: number) {
    this.#failureMaxCount = failureMaxCount;
  }

  record(outcome: { readonly isFailure: boolean; readonly isSlow: boolean }): boolean {
    this.#failureCount = outcome.isFailure || outcome.isSlow ? this.#failureCount + 1 : 0;
    return this.#failureCount >= this.#failureMaxCount;
  }

  reset(): void {
    this.#failureCount = 0;
  }
}
