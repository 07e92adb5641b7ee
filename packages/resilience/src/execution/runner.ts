import { CallScope } from "./call-scope.ts";
import type { Body, ExecuteOptions } from "./policy.ts";

/**
 * Calls a body, directly or through policies. Settles promptly once `scope` is aborted. The scope is the
 * runner's own to wait on for as long as it runs.
 */
export interface Runner {
  run<T>(body: Body<T>, scope: CallScope | undefined): T | PromiseLike<T>;
}

/** The innermost runner: calls the body itself. */
export const bodyRunner: Runner = {
  run<T>(body: Body<T>, scope: CallScope | undefined): T | PromiseLike<T> {
    const call = scope ?? new CallScope(1, Number.POSITIVE_INFINITY);
    call.throwIfAborted();
    const work = body(call.context);
    return call.mayAbort && isPromiseLike(work) ? call.guard(work) : work;
  },
};

/** A runner with at least one policy in it. */
export interface PolicyRunner extends Runner {
  run<T>(body: Body<T>, scope: CallScope | undefined): Promise<T>;
}

/** Runs `body`, tied to what the caller passed. */
export const execute = <T>(
  runner: PolicyRunner,
  body: Body<T>,
  options: ExecuteOptions | undefined,
): Promise<T> => (options === undefined ? runner.run(body, undefined) : executeTied(runner, body, options));

const executeTied = async <T>(runner: PolicyRunner, body: Body<T>, options: ExecuteOptions): Promise<T> => {
  const scope = CallScope.open(options);
  try {
    return await runner.run(body, scope);
  } finally {
    scope.close();
  }
};

export const isPromiseLike = <T>(value: T | PromiseLike<T>): value is PromiseLike<T> =>
  value !== null &&
  (typeof value === "object" || typeof value === "function") &&
  typeof (value as PromiseLike<T>).then === "function";
