import { InvalidInputError } from "@holdfast/kernel";
import type { CircuitBreaker } from "./circuit-breaker/circuit-breaker.ts";
import type { Bulkhead } from "./concurrency/bulkhead.ts";
import type { ConcurrencyLimit } from "./concurrency/concurrency-limit.ts";
import { Engine, type Gate } from "./execution/engine.ts";
import type { Body, ExecuteOptions, Policy } from "./execution/policy.ts";
import { bodyRunner, execute, type PolicyRunner } from "./execution/runner.ts";
import type { Fallback } from "./fallback.ts";
import type { Hedge } from "./hedge.ts";
import type { RateLimiter } from "./rate-limit/rate-limiter.ts";
import type { Retry } from "./retry/retry.ts";
import type { AdaptiveTimeout } from "./timeout/adaptive-timeout.ts";
import type { Timeout } from "./timeout/timeout.ts";

/** Listed from the outermost to the innermost. Each part is optional and keeps its own statistics and events. */
export interface ComposeOptions<F> {
  /** Answers when everything inside has failed. */
  readonly fallback?: Fallback<F>;
  /** Limits the whole call, all attempts and pauses included. */
  readonly deadline?: Timeout;
  readonly retry?: Retry;
  readonly hedge?: Hedge;
  readonly breaker?: CircuitBreaker;
  readonly rateLimit?: RateLimiter;
  readonly concurrency?: Bulkhead | ConcurrencyLimit;
  /** Limits each attempt. */
  readonly timeout?: Timeout | AdaptiveTimeout;
}

/**
 * One policy out of several, in the one order that makes sense whatever the order of the options:
 * fallback → total deadline → retry → hedge → breaker → rate limit → concurrency → timeout per attempt.
 *
 * So a retry sees the breaker's refusals and stops early by the deadline; the breaker judges each attempt, with
 * its own timeout, and never takes a refusal of our own limits for a failure of the dependency; and waiting for a
 * permit counts against the deadline but not against the attempt.
 *
 * @throws InvalidInputError when no policy is given.
 */
export const compose = <F = never>(options: ComposeOptions<F>): Policy<F> => {
  if (Object.values(options).every((policy) => policy === undefined)) {
    throw new InvalidInputError("compose", options, "at least one policy");
  }
  const { fallback, deadline, retry, hedge, breaker, rateLimit, concurrency, timeout } = options;
  const gates = [breaker, rateLimit, concurrency, timeout].filter((gate) => gate !== undefined);
  const runner = withFallback(fallback, withDeadline(deadline, withAttempts(retry, hedge, gates)));
  return {
    execute: <T>(body: Body<T>, executeOptions?: ExecuteOptions) =>
      execute<T | F>(runner, body, executeOptions),
  };
};

/** A hedge stands between the retry and the gates, so that each copy passes the gates for itself. */
const withAttempts = (
  retry: Retry | undefined,
  hedge: Hedge | undefined,
  gates: readonly Gate[],
): PolicyRunner => {
  if (hedge === undefined) return retry?.around(gates, bodyRunner) ?? new Engine(gates);
  const copies = hedge.around(new Engine(gates));
  return retry?.around([], copies) ?? copies;
};

const withDeadline = (deadline: Timeout | undefined, inner: PolicyRunner): PolicyRunner =>
  deadline === undefined ? inner : new Engine([deadline], inner);

const withFallback = (fallback: Fallback<unknown> | undefined, inner: PolicyRunner): PolicyRunner =>
  fallback?.around(inner) ?? inner;
