import type { Abortable } from "@holdfast/kernel";

/** What a wrapped function gets. Hand the whole context to an inner policy, or its `signal` to whatever waits. */
export interface CallContext {
  /**
   * Aborts when the caller aborts, when a time limit around this call passes, or when its result is no longer
   * wanted. Made at the first reading, so a function that never asks pays nothing for it.
   */
  readonly signal: AbortSignal;
  /** Which try this is, counted from 1. */
  readonly attempt: number;
  /** The instant on the policy's monotonic clock after which the answer is useless; Infinity when there is none. */
  readonly deadlineAt: number;
}

export interface ExecuteOptions extends Abortable {
  /** An instant on the policy's monotonic clock; the earlier of this and the policy's own limits holds. */
  readonly deadlineAt?: number | undefined;
}

/** The function that a policy guards. May be called several times, and must not be called outside the policy's rules. */
export type Body<T> = (context: CallContext) => T | PromiseLike<T>;

/** A rule for how a function is called: how often, how long, how many at once, or not at all. */
export interface Policy {
  /**
   * Calls `body` under this policy. A context given to an outer body may be passed as `options`, which ties the
   * inner call to the outer one's signal and deadline without creating a signal.
   * @throws signal.reason as soon as the caller aborts, also when `body` ignores its signal.
   */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T>;
}

export const isPromiseLike = <T>(value: T | PromiseLike<T>): value is PromiseLike<T> =>
  value !== null &&
  (typeof value === "object" || typeof value === "function") &&
  typeof (value as PromiseLike<T>).then === "function";
