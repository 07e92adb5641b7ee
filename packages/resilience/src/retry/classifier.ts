import { hasCode, isHoldfastError } from "@holdfast/kernel";

/** Says whether the same call may succeed when tried again. `attempt` is the one that failed, from 1. Must not throw. */
export type RetryClassifier = (error: unknown, attempt: number) => boolean;

/** The default: what its thrower marked `retryable`. Programming errors and foreign errors are not retried. */
export const isRetryable: RetryClassifier = (error) => isHoldfastError(error) && error.retryable;

/** Retries errors of these classes (or their subclasses) and no others. */
export const retryOn =
  (...classes: readonly (abstract new (...args: never[]) => Error)[]): RetryClassifier =>
  (error) =>
    classes.some((errorClass) => error instanceof errorClass);

/** Retries Holdfast errors with these codes, also when they came over the wire. */
export const retryOnCodes =
  (...codes: readonly string[]): RetryClassifier =>
  (error) =>
    codes.some((code) => hasCode(error, code));

const REFUSALS: readonly string[] = [
  "KERNEL_OVERLOADED",
  "RESILIENCE_CIRCUIT_OPEN",
  "RESILIENCE_RATE_LIMITED",
  "RESILIENCE_LOAD_SHED",
];

/** True for errors which prove that the call had no effect, so that even a call not safe to repeat may be repeated. */
export const isRefusal = (error: unknown): boolean => REFUSALS.some((code) => hasCode(error, code));
