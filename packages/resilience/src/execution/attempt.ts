import { CallScope } from "./call-scope.ts";
import type { Body } from "./policy.ts";

/** What an attempt needs of the engine that makes it. */
export interface AttemptOwner {
  /** The work ended well: tells the gates, and gives the scope back. */
  succeed(attempt: Attempt, value: unknown): void;
  /** The work failed: tells the gates, and gives what comes of the call after all. */
  fail(error: unknown, attempt: Attempt, body: Body<unknown>, outer: CallScope | undefined): Promise<unknown>;
}

/** More attempts at once than this are served too, by scopes that are made for them; the size of one is half a kilobyte. */
const KEPT_MAX_COUNT = 256;

const ignore = (): void => undefined;

/**
 * The scope of one attempt, and the bridge from the promise of its body to the one that the caller holds. Attempts
 * that ended well are used again, with the functions that hear of the body's end: making those for each call would
 * cost more memory than all else in it, and collecting that memory more time than the call takes.
 */
export class Attempt extends CallScope {
  static readonly #free: Attempt[] = [new Attempt(1, Number.POSITIVE_INFINITY)];

  #owner: AttemptOwner | undefined = undefined;
  #body: Body<unknown> | undefined = undefined;
  #outer: CallScope | undefined = undefined;
  #resolve: (value: unknown) => void = ignore;
  #reject: (reason: unknown) => void = ignore;
  /** Whether the work is the body itself, which may never hear that its call was aborted. */
  #isGuarded = false;

  readonly #keepSettlers = (resolve: (value: unknown) => void, reject: (reason: unknown) => void): void => {
    this.#resolve = resolve;
    this.#reject = reject;
  };

  readonly #onValue = (value: unknown): void => {
    if (this.#isGuarded && this.aborted) return;
    const resolve = this.#resolve;
    const reject = this.#reject;
    try {
      this.#owner?.succeed(this, value);
      resolve(value);
    } catch (error) {
      reject(error);
    }
  };

  readonly #onError = (error: unknown): void => {
    if (this.#isGuarded && this.aborted) return;
    this.#end(error);
  };

  /** A turn later, so that whoever aborts has finished doing so before the gates hear of it. */
  readonly #onAborted = (reason: unknown): void => queueMicrotask(() => this.#end(reason));

  static begin(outer: CallScope | undefined): Attempt {
    const attempt = Attempt.#free.pop() ?? new Attempt(1, Number.POSITIVE_INFINITY);
    attempt.reopen(outer);
    return attempt;
  }

  /** Settles as `work` does and the owner makes of it; at once when the attempt is aborted and `work` is the body itself. */
  follow<T>(
    work: PromiseLike<T>,
    owner: AttemptOwner,
    body: Body<T>,
    outer: CallScope | undefined,
    isBody: boolean,
  ): Promise<T> {
    this.#owner = owner;
    this.#body = body;
    this.#outer = outer;
    this.#isGuarded = isBody;
    const promise = new Promise<unknown>(this.#keepSettlers);
    if (isBody) {
      if (this.aborted) this.#onAborted(this.reason);
      else this.onAbort(this.#onAborted);
    }
    work.then(this.#onValue, this.#onError);
    return promise as Promise<T>;
  }

  /** The attempt is over and closed: it may serve another call, unless someone still holds on to it. */
  free(): void {
    this.#owner = undefined;
    this.#body = undefined;
    this.#outer = undefined;
    this.#resolve = ignore;
    this.#reject = ignore;
    if (this.retire() && Attempt.#free.length < KEPT_MAX_COUNT) Attempt.#free.push(this);
  }

  #end(error: unknown): void {
    const resolve = this.#resolve;
    const reject = this.#reject;
    if (this.#owner === undefined || this.#body === undefined) return;
    this.#owner.fail(error, this, this.#body, this.#outer).then(resolve, reject);
  }
}
