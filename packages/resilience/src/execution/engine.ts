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

/** What stands around all attempts of one call: it may answer a failed first attempt by further ones. */
export interface Recovery {
  callStarted(scope: CallScope | undefined): void;
  callSucceeded(value: unknown): void;
  /**
   * Gives the value of a later attempt through `again`, or rejects; counts the call's end either way. Called at
   * most once for each call.
   */
  recover<T>(error: unknown, again: Runner, body: Body<T>, scope: CallScope | undefined): Promise<T>;
}

/**
 * The machine behind every policy: one attempt through the gates in order, and a recovery when it fails. The
 * whole way of a call that goes well is one async function, because each further one costs as much as a policy's
 * own work (60 ns; a call through retry, breaker and timeout takes 0.3 µs).
 */
export class Engine implements PolicyRunner {
  readonly #gates: readonly Gate[];
  readonly #inner: Runner;
  readonly #recovery: Recovery | undefined;
  /** The same gates without the recovery: what a recovery tries again. */
  readonly #again: Runner;

  constructor(gates: readonly Gate[], inner: Runner = bodyRunner, recovery?: Recovery) {
    this.#gates = gates;
    this.#inner = inner;
    this.#recovery = recovery;
    this.#again = recovery === undefined ? this : new Engine(gates, inner);
  }

  execute<T>(body: Body<T>, options: ExecuteOptions | undefined): Promise<T> {
    return execute(this, body, options);
  }

  async run<T>(body: Body<T>, scope: CallScope | undefined): Promise<T> {
    const recovery = this.#recovery;
    recovery?.callStarted(scope);
    const call = CallScope.below(scope);
    try {
      call.throwIfAborted();
      const wait = this.#enter(call);
      if (wait !== undefined) await wait;
      const value = await this.#inner.run(body, call);
      this.#succeeded(call);
      recovery?.callSucceeded(value);
      return value;
    } catch (error) {
      this.#failed(call, error);
      if (recovery === undefined) throw error;
      return await recovery.recover(error, this.#again, body, scope);
    }
  }

  #enter(call: CallScope): Promise<void> | undefined {
    const gates = this.#gates;
    for (; call.enteredCount < gates.length; call.enteredCount += 1) {
      const wait = gates[call.enteredCount]?.enter(call);
      if (wait !== undefined) return this.#enterAfter(wait, call);
    }
    return undefined;
  }

  async #enterAfter(wait: Promise<void>, call: CallScope): Promise<void> {
    await wait;
    call.enteredCount += 1;
    await this.#enter(call);
  }

  #succeeded(call: CallScope): void {
    while (call.enteredCount > 0) {
      call.enteredCount -= 1;
      this.#gates[call.enteredCount]?.succeeded(call);
    }
    call.close();
  }

  #failed(call: CallScope, error: unknown): void {
    while (call.enteredCount > 0) {
      call.enteredCount -= 1;
      this.#gates[call.enteredCount]?.failed(call, error);
    }
    call.close();
  }
}
