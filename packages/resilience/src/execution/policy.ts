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
  /** True for the extra copy of a slow call: it should go to another node. */
  readonly isHedge: boolean;
  /** The instant on the policy's monotonic clock after which the answer is useless; Infinity when there is none. */
  readonly deadlineAt: number;
}

/**
 * The caller's side of one execution. A {@link CallContext} given to an outer body may be passed as it is: that
 * ties the inner call to the outer one's end and deadline without creating a signal.
 */
export interface ExecuteOptions extends Abortable {
  /**
   * Whether the body may run again after it may have had an effect. False keeps a retry to calls that were
   * refused before they began, and a hedge from starting a copy. Default: what the policies say.
   */
  readonly idempotent?: boolean | undefined;
}

/** The function that a policy guards. It may be called several times. */
export type Body<T> = (context: CallContext) => T | PromiseLike<T>;

/**
 * A rule for how a function is called: how often, how long, how many at once, or not at all.
 * `F` is what the policy may answer in place of the body's result.
 */
export interface Policy<F = never> {
  /**
   * Calls `body` under this policy.
   * @throws signal.reason as soon as the caller aborts, also when `body` ignores its signal.
   */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T | F>;
}
