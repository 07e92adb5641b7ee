import { Emitter } from "@holdfast/kernel";
import { type CallScope, isUnwanted } from "./execution/call-scope.ts";
import type { Body, ExecuteOptions, Policy } from "./execution/policy.ts";
import { bodyRunner, execute, type PolicyRunner, type Runner } from "./execution/runner.ts";
import { checkFunction } from "./option-checks.ts";

export interface FallbackOptions<F> {
  /** Gives the answer in place of the failed one. May throw or reject; that error is then the call's. */
  readonly fallback: (error: unknown) => F | PromiseLike<F>;
  /** Which errors are answered by the fallback. Default: every one. The caller's abort never is. */
  readonly shouldHandle?: (error: unknown) => boolean;
}

export interface FallbackEvents {
  fellBack: { readonly error: unknown };
}

/** Conservation: `callCount = successCount + fallbackCount + failureCount + abortCount + inFlightCount`. */
export interface FallbackStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly successCount: number;
  /** Calls answered by the fallback. */
  readonly fallbackCount: number;
  /** Calls that failed: the error was not handled, or the fallback failed too. */
  readonly failureCount: number;
  readonly abortCount: number;
}

/** Answers a failed call with something else, such as the last known value. Not asked when the call succeeds. */
export class Fallback<F> implements Policy<F> {
  readonly events = new Emitter<FallbackEvents>();
  readonly #fallback: (error: unknown) => F | PromiseLike<F>;
  readonly #shouldHandle: (error: unknown) => boolean;
  readonly #runner = this.around(bodyRunner);
  #callCount = 0;
  #inFlightCount = 0;
  #successCount = 0;
  #fallbackCount = 0;
  #failureCount = 0;
  #abortCount = 0;

  /** @throws InvalidInputError naming the option that is no function. */
  constructor(options: FallbackOptions<F>) {
    this.#fallback = checkFunction("fallback.fallback", options.fallback);
    this.#shouldHandle = checkFunction("fallback.shouldHandle", options.shouldHandle ?? (() => true));
  }

  get stats(): FallbackStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      successCount: this.#successCount,
      fallbackCount: this.#fallbackCount,
      failureCount: this.#failureCount,
      abortCount: this.#abortCount,
    };
  }

  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T | F> {
    return execute<T | F>(this.#runner, body, options);
  }

  /** For `compose`: this policy around `inner`. */
  around(inner: Runner): PolicyRunner {
    // The fallback widens the result type, which every other runner keeps; hence the cast.
    return {
      run: <R>(body: Body<R>, scope: CallScope | undefined) => this.#run(inner, body, scope) as Promise<R>,
    };
  }

  async #run<T>(inner: Runner, body: Body<T>, scope: CallScope | undefined): Promise<T | F> {
    this.#callCount += 1;
    this.#inFlightCount += 1;
    try {
      const value = await inner.run(body, scope);
      this.#successCount += 1;
      return value;
    } catch (error) {
      return await this.#answer(error, scope);
    } finally {
      this.#inFlightCount -= 1;
    }
  }

  async #answer(error: unknown, scope: CallScope | undefined): Promise<F> {
    if (isUnwanted(scope)) {
      this.#abortCount += 1;
      throw error;
    }
    try {
      if (!this.#shouldHandle(error)) throw error;
      const value = await this.#fallback(error);
      this.#fallbackCount += 1;
      this.events.emit("fellBack", { error });
      return value;
    } catch (failure) {
      this.#failureCount += 1;
      throw failure;
    }
  }
}
