import { type Clock, hasCode, TimeoutError, type Timer } from "@holdfast/kernel";
import { BodyContext } from "./body-context.ts";
import type { ExecuteOptions } from "./policy.ts";
import type { Expiring, TimeoutQueue } from "./timeout-queue.ts";

/**
 * The life of one call: who may end it early and who must hear of that. It does the work of an AbortController; a
 * real one is made only when the wrapped function reads `signal` of its {@link BodyContext} (a controller and its
 * listeners cost more than everything else in a call).
 *
 * A scope hears from above, by its parent or a caller's signal, and tells below: its body's context, its children,
 * and the one wait that is going on in it (a scope has at most one at a time). `close` ends all that.
 */
export class CallScope implements Expiring {
  /**
   * One scope that lives for ever. V8 drops the shape of a class, and with it the optimised code of everything
   * that uses it, when a full collection finds no instance; a quiet moment would make the next calls ten times as
   * slow. For the same reason instants start as NaN: a field that starts as 0 changes shape with its first fraction.
   */
  static readonly kept = new CallScope(1, Number.POSITIVE_INFINITY);
  attempt: number;
  isHedge: boolean;
  deadlineAt: number;
  /** True when something may end this call early, so that waiting for its body needs a guard. */
  mayAbort = false;
  /** True once the call was ended early; `reason` says why. */
  aborted = false;
  reason: unknown = undefined;
  /** True when a time limit of this very scope ended it. */
  timedOut = false;
  /** What the caller says of repeating this call. */
  idempotent: boolean | undefined = undefined;

  /** How many gates this call is inside of. */
  enteredCount = 0;
  // Notes of the gates that this call passes; each is read only by the gate that wrote it.
  breakerGeneration = 0;
  breakerEnteredAt = Number.NaN;
  limitRound = 0;
  limitEnteredAt = Number.NaN;
  timeoutEnteredAt = Number.NaN;
  timer: Timer | undefined = undefined;

  /** How old `startedAt` can be when the call ends. Infinity when nobody read the clock, or nothing limits the call. */
  startedWithinMs = Number.POSITIVE_INFINITY;
  startedAt = Number.NaN;

  expiresAt = Number.NaN;
  queuePrevious: Expiring | undefined = undefined;
  queueNext: Expiring | undefined = undefined;

  #parent: CallScope | undefined = undefined;
  #source: AbortSignal | undefined = undefined;
  #context: BodyContext | undefined = undefined;
  #wait: ((reason: unknown) => void) | undefined = undefined;
  // Almost every scope has one child at a time; only hedges have more.
  #child: CallScope | undefined = undefined;
  #moreChildren: Set<CallScope> | undefined = undefined;

  constructor(attempt: number, deadlineAt: number, isHedge = false) {
    this.attempt = attempt;
    this.deadlineAt = deadlineAt;
    this.isHedge = isHedge;
  }

  /** A scope below what a caller passed: the context of an outer call, or options with a signal. */
  static open(options: ExecuteOptions): CallScope {
    const outer = options instanceof BodyContext ? options.scope : undefined;
    const scope = new CallScope(1, outer?.deadlineAt ?? Number.POSITIVE_INFINITY);
    scope.idempotent = options.idempotent;
    if (outer !== undefined) scope.#follow(outer);
    else if (!(options instanceof BodyContext) && options.signal !== undefined) scope.#listen(options.signal);
    return scope;
  }

  /** A scope below another one inside the same execution. */
  static below(parent: CallScope | undefined, attempt?: number, isHedge?: boolean): CallScope {
    if (parent === undefined) return new CallScope(attempt ?? 1, Number.POSITIVE_INFINITY, isHedge ?? false);
    const scope = new CallScope(attempt ?? parent.attempt, parent.deadlineAt, isHedge ?? parent.isHedge);
    scope.idempotent = parent.idempotent;
    scope.#follow(parent);
    return scope;
  }

  /** What the body is given. */
  get context(): BodyContext {
    this.#context ??= new BodyContext(this);
    return this.#context;
  }

  /** Ends the call early. The reason of the first caller stays. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const wait = this.#wait;
    this.#wait = undefined;
    // The wait first: whoever waits must see this reason, not what the body makes of its signal.
    wait?.(reason);
    this.#child?.abort(reason);
    if (this.#moreChildren !== undefined) for (const child of [...this.#moreChildren]) child.abort(reason);
    this.#context?.abort(reason);
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  expire(queue: TimeoutQueue): void {
    this.expireAfter(queue.operation, queue.timeoutMs);
  }

  /** Ends the call by a time limit of this very scope. */
  expireAfter(operation: string, timeoutMs: number): void {
    if (this.aborted) return;
    this.timedOut = true;
    this.abort(new TimeoutError(operation, timeoutMs));
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

  /**
   * Starts this scope's next life, below `parent`. Only for one that was closed and then retired.
   */
  reopen(parent: CallScope | undefined): void {
    this.mayAbort = false;
    this.startedWithinMs = Number.POSITIVE_INFINITY;
    if (parent === undefined) {
      this.attempt = 1;
      this.isHedge = false;
      this.deadlineAt = Number.POSITIVE_INFINITY;
      this.idempotent = undefined;
      return;
    }
    this.attempt = parent.attempt;
    this.isHedge = parent.isHedge;
    this.deadlineAt = parent.deadlineAt;
    this.idempotent = parent.idempotent;
    this.#follow(parent);
  }

  /** Parts from the body's context, which may live on. False when others still hold on to this scope. */
  retire(): boolean {
    if (this.aborted || this.#child !== undefined || (this.#moreChildren?.size ?? 0) > 0) return false;
    if (this.#context !== undefined) {
      this.#context.scope = undefined;
      this.#context = undefined;
    }
    return true;
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
    this.mayAbort = true;
    if (source.aborted) {
      this.abort(source.reason);
      return;
    }
    this.#source = source;
    source.addEventListener("abort", this);
  }

  #follow(parent: CallScope): void {
    this.mayAbort = parent.mayAbort;
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

/** True when the call ended because nobody wants its result any more, as opposed to a time limit. */
export const isUnwanted = (scope: CallScope | undefined): boolean =>
  scope?.aborted === true && !hasCode(scope.reason, "KERNEL_TIMEOUT");
