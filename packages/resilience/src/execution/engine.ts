import { CallScope } from "./call-scope.ts";
import type { Body, ExecuteOptions } from "./policy.ts";
import { bodyRunner, execute, type PolicyRunner, type Runner } from "./runner.ts";

/**
 * A policy that stands before and after each attempt. `enter` may refuse by throwing, or make the call wait; a
 * call that did not enter does not leave. What a gate must remember of a call it notes on the call's scope.
 */
export interface Gate {
  /** Undefined lets the call in at once. */
  enter(call: CallScope): Promise<void> | undefined;
  /** The attempt ended well. Must not throw. */
  succeeded(call: CallScope): void;
  /** The attempt failed with `error`. Must not throw. */
  failed(call: CallScope, error: unknown): void;
}

/** What a retry policy decides and counts around the attempts of one call. None of it may throw but `pause`. */
export interface RetryRule {
  callStarted(): void;
  attemptStarted(): void;
  /** The pause before the next attempt in milliseconds, or undefined when the error is final. */
  pauseAfter(error: unknown, failure: Failure): number | undefined;
  /** Waits for `ms`, or rejects as soon as the scope is aborted. */
  pause(ms: number, scope: CallScope | undefined): Promise<void>;
  callSucceeded(value: unknown): void;
  callFailed(scope: CallScope | undefined, attempt: number): void;
}

export interface Failure {
  readonly attempt: number;
  readonly previousMs: number | undefined;
  readonly scope: CallScope | undefined;
}

/**
 * The one loop behind every policy: attempts with pauses between them, each through the same gates in order. One
 * async function for all of it, because each further one costs as much as a policy's own work.
 */
export class Engine implements PolicyRunner {
  readonly #retry: RetryRule | undefined;
  readonly #gates: readonly Gate[];
  readonly #inner: Runner;

  constructor(
    parts: { readonly retry?: RetryRule | undefined; readonly gates?: readonly Gate[] },
    inner: Runner = bodyRunner,
  ) {
    this.#retry = parts.retry;
    this.#gates = parts.gates ?? [];
    this.#inner = inner;
  }

  execute<T>(body: Body<T>, options: ExecuteOptions | undefined): Promise<T> {
    return execute(this, body, options);
  }

  async run<T>(body: Body<T>, scope: CallScope | undefined): Promise<T> {
    const retry = this.#retry;
    const gates = this.#gates;
    let attempt = 0;
    let pauseMs: number | undefined;
    retry?.callStarted();
    try {
      for (;;) {
        scope?.throwIfAborted();
        attempt += 1;
        retry?.attemptStarted();
        const call = CallScope.below(scope, retry === undefined ? undefined : attempt);
        let enteredCount = 0;
        try {
          for (; enteredCount < gates.length; enteredCount += 1) {
            const wait = gates[enteredCount]?.enter(call);
            if (wait !== undefined) await wait;
          }
          const value = await this.#inner.run(body, call);
          while (enteredCount > 0) gates[--enteredCount]?.succeeded(call);
          retry?.callSucceeded(value);
          return value;
        } catch (error) {
          while (enteredCount > 0) gates[--enteredCount]?.failed(call, error);
          if (retry === undefined) throw error;
          scope?.throwIfAborted();
          pauseMs = retry.pauseAfter(error, { attempt, previousMs: pauseMs, scope });
          if (pauseMs === undefined) throw error;
        } finally {
          call.close();
        }
        await retry.pause(pauseMs, scope);
      }
    } catch (error) {
      retry?.callFailed(scope, attempt);
      throw error;
    }
  }
}
