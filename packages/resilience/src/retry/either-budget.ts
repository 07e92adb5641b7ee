import type { RetryBudget, RetryBudgetStats } from "./retry-budget.ts";

/**
 * Grants a retry when either of two budgets does, the first one first. With a few tokens for quiet times and a share of
 * the calls for busy ones a node that takes hundreds of calls with it when it dies exhausts neither, and an outage
 * still costs little: at most what the two grant together.
 */
export class EitherBudget implements RetryBudget {
  readonly #first: RetryBudget;
  readonly #second: RetryBudget;
  #withdrawnCount = 0;
  #deniedCount = 0;

  constructor(first: RetryBudget, second: RetryBudget) {
    this.#first = first;
    this.#second = second;
  }

  callStarted(): void {
    this.#first.callStarted();
    this.#second.callStarted();
  }

  attemptSucceeded(): void {
    this.#first.attemptSucceeded();
    this.#second.attemptSucceeded();
  }

  attemptFailed(): void {
    this.#first.attemptFailed();
    this.#second.attemptFailed();
  }

  tryWithdraw(): boolean {
    const isGranted = this.#first.tryWithdraw() || this.#second.tryWithdraw();
    if (isGranted) this.#withdrawnCount += 1;
    else this.#deniedCount += 1;
    return isGranted;
  }

  get stats(): RetryBudgetStats {
    return {
      withdrawnCount: this.#withdrawnCount,
      deniedCount: this.#deniedCount,
      availableCount: this.#first.stats.availableCount + this.#second.stats.availableCount,
    };
  }
}
