import { type Clock, TimeoutError } from "@holdfast/kernel";
import { type Body, type CallContext, type ExecuteOptions, isPromiseLike } from "./policy.ts";
import type { Expiring, TimeoutQueue } from "./timeout-queue.ts";

/**
 * The life of one call: who may end it early and who must hear of that. It does the work of an AbortController
 * and makes a real one only when the wrapped function reads `signal` (a controller and its listeners cost more
 * than everything else in a call).
 *
 * A scope hears from above through `link` and tells below: its signal, its children, and the one wait that is
 * going on in it (`guard`, `sleep` or what `onAbort` was given; a scope has at most one at a time). `close` ends all that.
 */
export class CallScope implements CallContext, Expiring {
  readonly attempt: number;
  deadlineAt: number;
  /** True once the call was ended early; `reason` says why. */
  aborted = false;
  reason: unknown = undefined;
  /** True when a time limit of this very scope ended it. */
  timedOut = false;

  expiresAt = 0;
  queuePrevious: Expiring | undefined = undefined;
  queueNext: Expiring | undefined = undefined;

  #parent: CallScope | undefined;
  #source: AbortSignal | undefined;
  #controller: AbortController | undefined;
  #wait: ((reason: unknown) => void) | undefined;
  // Almost every scope has one child at a time; only hedges have more.
  #child: CallScope | undefined;
  #moreChildren: Set<CallScope> | undefined;

  constructor(attempt: number, deadlineAt: number) {
    this.attempt = attempt;
    this.deadlineAt = deadlineAt;
  }

  /** Opens a scope below `options`, which is the context of an outer call or what a caller passed in. */
  static open(options: ExecuteOptions | undefined, attempt?: number): CallScope {
    if (options === undefined) return new CallScope(attempt ?? 1, Number.POSITIVE_INFINITY);
    const inherited = options instanceof CallScope ? options.attempt : 1;
    const scope = new CallScope(attempt ?? inherited, options.deadlineAt ?? Number.POSITIVE_INFINITY);
    if (options instanceof CallScope) scope.#follow(options);
    else if (options.signal !== undefined) scope.#listen(options.signal);
    return scope;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.aborted) this.#controller.abort(this.reason);
    }
    return this.#controller.signal;
  }

  /** True when something above may end this scope. */
  get isLinked(): boolean {
    return this.#parent !== undefined || this.#source !== undefined;
  }

  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const wait = this.#wait;
    this.#wait = undefined;
    this.#controller?.abort(reason);
    this.#child?.abort(reason);
    if (this.#moreChildren !== undefined) for (const child of [...this.#moreChildren]) child.abort(reason);
    wait?.(reason);
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  expire(queue: TimeoutQueue): void {
    if (this.aborted) return;
    this.timedOut = true;
    this.abort(new TimeoutError(queue.operation, queue.timeoutMs));
  }

  /** Calls `body` with this scope; settles early only when something may end the scope early. */
  run<T>(body: Body<T>): T | PromiseLike<T> {
    const work = body(this);
    return this.isLinked && isPromiseLike(work) ? this.guard(work) : work;
  }

  /** Settles like `work`, or with `reason` as soon as the scope is aborted; `work` then goes on unheard. */
  guard<T>(work: PromiseLike<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.aborted) reject(this.reason);
      else this.#wait = reject;
      work.then(resolve, reject);
    });
  }

  /** Resolves after `ms`, or rejects with `reason` as soon as the scope is aborted; no timer stays behind. */
  sleep(clock: Clock, ms: number): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      if (this.aborted) {
        reject(this.reason);
        return;
      }
      const timer = clock.schedule(ms, () => {
        this.#wait = undefined;
        resolve();
      });
      this.#wait = (reason) => {
        timer.cancel();
        reject(reason);
      };
    });
  }

  /** Sets what is told when the scope is aborted: the one wait that goes on in it. */
  onAbort(wait: ((reason: unknown) => void) | undefined): void {
    this.#wait = wait;
  }

  /** Lets go of what is above. The signal stays as it is: an ended call is not an aborted one. */
  close(): void {
    this.#wait = undefined;
    if (this.#parent !== undefined) {
      this.#parent.#forget(this);
      this.#parent = undefined;
    }
    if (this.#source !== undefined) {
      this.#source.removeEventListener("abort", this);
      this.#source = undefined;
    }
  }

  /** The caller's signal aborted (a scope is its own event listener). */
  handleEvent(): void {
    this.abort(this.#source?.reason);
  }

  #listen(source: AbortSignal): void {
    if (source.aborted) {
      this.abort(source.reason);
      return;
    }
    this.#source = source;
    source.addEventListener("abort", this);
  }

  #follow(parent: CallScope): void {
    if (parent.aborted) {
      this.abort(parent.reason);
      return;
    }
    this.#parent = parent;
    if (parent.#child === undefined) {
      parent.#child = this;
      return;
    }
    parent.#moreChildren ??= new Set();
    parent.#moreChildren.add(this);
  }

  #forget(child: CallScope): void {
    if (this.#child === child) this.#child = undefined;
    else this.#moreChildren?.delete(child);
  }
}
