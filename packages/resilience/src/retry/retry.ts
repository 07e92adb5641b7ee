import { type Clock, Emitter, type Random, systemClock, systemRandom } from "@holdfast/kernel";
import type { Backoff } from "../backoff/backoff.ts";
import { exponentialBackoff } from "../backoff/exponential.ts";
import { askedPauseMs } from "../execution/asked-pause.ts";
import { CallScope, isUnwanted } from "../execution/call-scope.ts";
import { Engine, type Gate, type Recovery } from "../execution/engine.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { bodyRunner, execute, type PolicyRunner, type Runner } from "../execution/runner.ts";
import { checkCount, checkDurationMs, checkFunction, checkNumber } from "../option-checks.ts";
import { Timeout } from "../timeout/timeout.ts";
import { isRefusal, isRetryable, type RetryClassifier } from "./classifier.ts";
import type { RetryBudget } from "./retry-budget.ts";

export interface RetryOptions {
  /** Attempts in total, the first included, at least 1. Default 4. */
  readonly maxAttempts?: number;
  /** Default: exponential from 1 s, doubling up to 60 s, full jitter. */
  readonly backoff?: Backoff;
  /** Which errors may succeed when tried again. Default: Holdfast errors marked `retryable`. */
  readonly shouldRetry?: RetryClassifier;
  /**
   * Whether the bodies are safe to repeat after they may have had an effect. Default true; false repeats only
   * calls that were refused before they began (see `isRefusal`). A single call may say otherwise.
   */
  readonly idempotent?: boolean;
  /** Limits retries over many calls; share one per dependency. Default none. */
  readonly budget?: RetryBudget;
  /** Milliseconds for the whole call, pauses included, above 0. Default none. */
  readonly deadlineMs?: number;
  /** No attempt starts with less than this left before the deadline. Default 0. */
  readonly attemptMinMs?: number;
  /** The longest pause that a server may ask for by `retryAfterMs`; a longer one ends the call. Default 60_000. */
  readonly hintMaxMs?: number;
  /** Named in the error when the deadline passes. Default `retry`. */
  readonly name?: string;
  /** Called before each pause with the attempt that failed (from 1). Not called after the last failure. */
  readonly onRetry?: (attempt: number, error: unknown) => void;
  /** Called with the result of a call that ended well. */
  readonly onSuccess?: (result: unknown) => void;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Why a call was not tried again. */
export type GiveUpReason =
  /** The classifier says that trying again is useless. */
  | "not-retryable"
  /** `maxAttempts` is reached. */
  | "attempts"
  /** The call may have had an effect and is not safe to repeat. */
  | "not-idempotent"
  /** The server asked for a longer pause than `hintMaxMs`. */
  | "hint"
  /** The next attempt could not finish in time. */
  | "deadline"
  /** The budget is empty. */
  | "budget";

export interface RetryEvents {
  retrying: { readonly attempt: number; readonly error: unknown; readonly delayMs: number };
  gaveUp: { readonly attempt: number; readonly error: unknown; readonly reason: GiveUpReason };
}

/**
 * Conservation: `callCount = successCount + failureCount + abortCount + inFlightCount`,
 * `failureCount = Σ gaveUpCounts + deadlineCount`, `attemptCount = callCount - unstartedCount + retryCount`.
 */
export interface RetryStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly successCount: number;
  /** Calls that ended with an error other than the caller's abort. */
  readonly failureCount: number;
  /** Calls that the caller ended. */
  readonly abortCount: number;
  /** Calls that were aborted before their first attempt. */
  readonly unstartedCount: number;
  readonly attemptCount: number;
  readonly retryCount: number;
  /** Calls that ended by a deadline, this policy's or an outer one. */
  readonly deadlineCount: number;
  readonly gaveUpCounts: Readonly<Record<GiveUpReason, number>>;
}

/** One failed attempt, as far as the decision on the next one needs it. */
interface Failure {
  readonly attempt: number;
  readonly previousMs: number | undefined;
  readonly scope: CallScope | undefined;
}

/**
 * Calls a function again when it fails in a way that may pass.
 *
 * Each attempt gets a context of its own. The last error is rethrown itself. A pause is cut short by the
 * caller's abort, and a call whose next attempt could not start before its deadline fails at once with the
 * error at hand instead of waiting. A server's `retryAfterMs` replaces the computed pause.
 */
export class Retry implements Policy, Recovery {
  readonly events = new Emitter<RetryEvents>();
  readonly #maxAttempts: number;
  readonly #backoff: Backoff;
  readonly #shouldRetry: RetryClassifier;
  readonly #idempotent: boolean;
  readonly #budget: RetryBudget | undefined;
  readonly #deadline: Timeout | undefined;
  readonly #attemptMinMs: number;
  readonly #hintMaxMs: number;
  readonly #onSuccess: ((result: unknown) => void) | undefined;
  readonly #clock: Clock;
  readonly #runner: PolicyRunner;
  readonly #random: Random;
  #callCount = 0;
  #inFlightCount = 0;
  #successCount = 0;
  #failureCount = 0;
  #abortCount = 0;
  #unstartedCount = 0;
  #attemptCount = 0;
  #retryCount = 0;
  #deadlineCount = 0;
  readonly #gaveUpCounts: Record<GiveUpReason, number> = {
    "not-retryable": 0,
    attempts: 0,
    "not-idempotent": 0,
    hint: 0,
    deadline: 0,
    budget: 0,
  };

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: RetryOptions = {}) {
    this.#maxAttempts = checkCount("retry.maxAttempts", options.maxAttempts ?? 4, { min: 1 });
    this.#backoff = options.backoff ?? exponentialBackoff();
    this.#shouldRetry = checkFunction("retry.shouldRetry", options.shouldRetry ?? isRetryable);
    this.#idempotent = options.idempotent ?? true;
    this.#budget = options.budget;
    this.#attemptMinMs = checkNumber("retry.attemptMinMs", options.attemptMinMs ?? 0, { min: 0 });
    this.#hintMaxMs = checkNumber("retry.hintMaxMs", options.hintMaxMs ?? 60_000, { min: 0 });
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    if (options.deadlineMs !== undefined) {
      this.#deadline = new Timeout({
        clock: this.#clock,
        name: options.name ?? "retry",
        timeoutMs: checkDurationMs("retry.deadlineMs", options.deadlineMs),
      });
    }
    const { onRetry } = options;
    if (onRetry !== undefined) this.events.on("retrying", ({ attempt, error }) => onRetry(attempt, error));
    this.#onSuccess = options.onSuccess;
    this.#runner = this.around([], bodyRunner);
  }

  get stats(): RetryStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      successCount: this.#successCount,
      failureCount: this.#failureCount,
      abortCount: this.#abortCount,
      unstartedCount: this.#unstartedCount,
      attemptCount: this.#attemptCount,
      retryCount: this.#retryCount,
      deadlineCount: this.#deadlineCount,
      gaveUpCounts: { ...this.#gaveUpCounts },
    };
  }

  /**
   * @throws the last error of `body`, itself, when it is not tried again; see `events` for why.
   * @throws TimeoutError when the deadline passes during an attempt; retryable, and whether that attempt had an
   *   effect is not known.
   * @throws signal.reason when the caller aborts; the attempt's own signal aborts with it.
   */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return execute(this.#runner, body, options);
  }

  /** For `compose`: this policy around `inner`, with `gates` around each attempt. */
  around(gates: readonly Gate[], inner: Runner): PolicyRunner {
    const attempts = new Engine(gates, inner, this);
    return this.#deadline === undefined ? attempts : new Engine([this.#deadline], attempts);
  }

  callStarted(scope: CallScope | undefined): void {
    this.#callCount += 1;
    this.#inFlightCount += 1;
    this.#budget?.callStarted();
    if (scope?.aborted) this.#unstartedCount += 1;
    else this.#attemptCount += 1;
  }

  callSucceeded(value: unknown): void {
    this.#inFlightCount -= 1;
    this.#successCount += 1;
    this.#budget?.attemptSucceeded();
    if (this.#onSuccess !== undefined) this.#reportSuccess(value);
  }

  async recover<T>(
    firstError: unknown,
    again: Runner,
    body: Body<T>,
    scope: CallScope | undefined,
  ): Promise<T> {
    try {
      let error = firstError;
      let previousMs: number | undefined;
      for (let attempt = 1; ; attempt += 1) {
        scope?.throwIfAborted();
        previousMs = this.#pauseAfter(error, { attempt, previousMs, scope });
        if (previousMs === undefined) throw error;
        await this.#pause(previousMs, scope);
        const next = CallScope.below(scope, attempt + 1);
        try {
          const value = await again.run(body, next);
          this.callSucceeded(value);
          return value;
        } catch (nextError) {
          error = nextError;
        } finally {
          next.close();
        }
      }
    } catch (error) {
      this.#callFailed(scope);
      throw error;
    }
  }

  /** Undefined when the error is final. The budget is asked last, so that it is taken only by a retry that happens. */
  #pauseAfter(error: unknown, failure: Failure): number | undefined {
    const { attempt, scope } = failure;
    if (!this.#shouldRetry(error, attempt)) return this.#giveUp("not-retryable", attempt, error);
    this.#budget?.attemptFailed();
    if (attempt >= this.#maxAttempts) return this.#giveUp("attempts", attempt, error);
    const isRepeatable = (scope?.idempotent ?? this.#idempotent) || isRefusal(error);
    if (!isRepeatable) return this.#giveUp("not-idempotent", attempt, error);
    const hintMs = askedPauseMs(error);
    if (hintMs !== undefined && hintMs > this.#hintMaxMs) return this.#giveUp("hint", attempt, error);
    const delayMs = hintMs ?? this.#backoff.delayMs(attempt, failure.previousMs, this.#random);
    const finishAt = this.#clock.monotonicNow() + delayMs + this.#attemptMinMs;
    if (scope !== undefined && finishAt >= scope.deadlineAt) return this.#giveUp("deadline", attempt, error);
    if (this.#budget?.tryWithdraw() === false) return this.#giveUp("budget", attempt, error);
    this.events.emit("retrying", { attempt, error, delayMs });
    return delayMs;
  }

  async #pause(ms: number, scope: CallScope | undefined): Promise<void> {
    await (scope === undefined ? this.#clock.sleep(ms) : scope.sleep(this.#clock, ms));
    scope?.throwIfAborted();
    this.#retryCount += 1;
    this.#attemptCount += 1;
  }

  #callFailed(scope: CallScope | undefined): void {
    this.#inFlightCount -= 1;
    if (isUnwanted(scope)) {
      this.#abortCount += 1;
      return;
    }
    this.#failureCount += 1;
    if (scope?.aborted) this.#deadlineCount += 1;
  }

  #giveUp(reason: GiveUpReason, attempt: number, error: unknown): undefined {
    this.#gaveUpCounts[reason] += 1;
    this.events.emit("gaveUp", { attempt, error, reason });
  }

  #reportSuccess(value: unknown): void {
    try {
      this.#onSuccess?.(value);
    } catch {
      // A listener must not turn a success into a failure; the events behave the same way.
    }
  }
}
