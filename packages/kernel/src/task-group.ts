import type { Logger } from "./logger.ts";

/**
 * Owns background loops: starts them, hands them one signal, and on `stop` aborts and awaits them all.
 * Nothing it started outlives `stop`. A loop that fails is reported to `onFailure` (default: logged as an
 * error) and does not stop its siblings; what `onFailure` throws is dropped.
 */
export class TaskGroup implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #onFailure: (name: string, error: unknown) => void;

  constructor(options: {
    readonly logger: Logger;
    readonly onFailure?: (name: string, error: unknown) => void;
  }) {
    this.#onFailure =
      options.onFailure ??
      ((name, error) => options.logger.error({ err: error, task: name }, `background task ${name} failed`));
  }

  /** Aborts when `stop` is called. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get size(): number {
    return this.#running.size;
  }

  /** Starts `body` at once. After `stop` it does nothing: the owner is going away. */
  spawn(name: string, body: (signal: AbortSignal) => Promise<void>): void {
    if (this.#controller.signal.aborted) return;
    const run = async (): Promise<void> => {
      try {
        await body(this.#controller.signal);
      } catch (error) {
        if (!this.#controller.signal.aborted) this.#report(name, error);
      }
    };
    const promise: Promise<void> = run().finally(() => this.#running.delete(promise));
    this.#running.add(promise);
  }

  /** Aborts every task and waits until the last has ended. Idempotent. */
  async stop(reason: unknown = new Error("stopped")): Promise<void> {
    if (!this.#controller.signal.aborted) this.#controller.abort(reason);
    while (this.#running.size > 0) await Promise.all([...this.#running]);
  }

  /** A rejection here would be nobody's, and end the process. */
  #report(name: string, error: unknown): void {
    try {
      this.#onFailure(name, error);
    } catch {
      // Who is told of failures has failed; there is nobody left to tell.
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
