import type { CallScope } from "./call-scope.ts";
import type { CallContext } from "./policy.ts";

/**
 * What a body holds of its call. It is an object of its own because a body may keep it for longer than its call lasts,
 * while scopes serve one call after the other: when the call has ended well the two part, and the context stands for
 * nothing any more: its signal will not abort, and it has no deadline.
 */
export class BodyContext implements CallContext {
  readonly attempt: number;
  readonly isHedge: boolean;
  /** The call, for as long as it lasts. For the policies. */
  scope: CallScope | undefined;
  #controller: AbortController | undefined = undefined;

  constructor(scope: CallScope) {
    this.attempt = scope.attempt;
    this.isHedge = scope.isHedge;
    this.scope = scope;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.scope?.aborted === true) this.#controller.abort(this.scope.reason);
    }
    return this.#controller.signal;
  }

  get deadlineAt(): number {
    return this.scope?.deadlineAt ?? Number.POSITIVE_INFINITY;
  }

  /** What the caller of the outer policy said holds for the inner one too. */
  get idempotent(): boolean | undefined {
    return this.scope?.idempotent;
  }

  abort(reason: unknown): void {
    this.#controller?.abort(reason);
  }
}
