import { Attempt, type AttemptOwner } from "./attempt.ts";
import type { CallScope } from "./call-scope.ts";
import type { Body, ExecuteOptions } from "./policy.ts";
import { bodyRunner, execute, isPromiseLike, type PolicyRunner, type Runner } from "./runner.ts";

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
 * The machine behind every policy: one attempt through the gates in order, and a recovery when it fails. The way of
 * a call that goes well has no async function in it, because each costs as much as a policy's own work.
 */
export class Engine implements PolicyRunner, AttemptOwner {
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

  run<T>(body: Body<T>, scope: CallScope | undefined): Promise<T> {
    this.#recovery?.callStarted(scope);
    const attempt = Attempt.begin(scope);
    try {
      attempt.throwIfAborted();
      const wait = this.#enter(attempt);
      if (wait !== undefined) return this.#startAfter(wait, attempt, body, scope);
    } catch (error) {
      return this.fail(error, attempt, body, scope);
    }
    return this.#start(attempt, body, scope);
  }

  /** For the attempt. */
  succeed(attempt: Attempt, value: unknown): void {
    while (attempt.enteredCount > 0) {
      attempt.enteredCount -= 1;
      this.#gates[attempt.enteredCount]?.succeeded(attempt);
    }
    this.#recovery?.callSucceeded(value);
    attempt.close();
    attempt.free();
  }

  /** For the attempt. */
  async fail<T>(error: unknown, attempt: Attempt, body: Body<T>, outer: CallScope | undefined): Promise<T> {
    while (attempt.enteredCount > 0) {
      attempt.enteredCount -= 1;
      this.#gates[attempt.enteredCount]?.failed(attempt, error);
    }
    attempt.close();
    if (this.#recovery === undefined) throw error;
    return await this.#recovery.recover(error, this.#again, body, outer);
  }

  #start<T>(attempt: Attempt, body: Body<T>, outer: CallScope | undefined): Promise<T> {
    const isBody = this.#inner === bodyRunner;
    try {
      attempt.throwIfAborted();
      const work = isBody ? body(attempt.context) : this.#inner.run(body, attempt);
      if (isPromiseLike(work)) return attempt.follow(work, this, body, outer, isBody);
      this.succeed(attempt, work);
      return Promise.resolve(work);
    } catch (error) {
      return this.fail(error, attempt, body, outer);
    }
  }

  async #startAfter<T>(
    wait: Promise<void>,
    attempt: Attempt,
    body: Body<T>,
    outer: CallScope | undefined,
  ): Promise<T> {
    try {
      await wait;
    } catch (error) {
      return this.fail(error, attempt, body, outer);
    }
    return this.#start(attempt, body, outer);
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
}
