import type { Clock, HoldfastError, Timer } from "@holdfast/kernel";
import { ShardTimeoutError } from "../errors.ts";
import { STOP_GRACE_MS } from "./executor.ts";

export interface AttemptWatchOptions {
  readonly clock: Clock;
  /** Names the attempt in errors. */
  readonly what: string;
  readonly timeoutMs: number;
  /** Tell the workflow to stop. Called once. */
  readonly onStop: (reason: HoldfastError) => void;
  /** The workflow did not stop within the grace: end it by force. Called at most once. */
  readonly onForce: (reason: HoldfastError) => void;
}

/**
 * Watches over one attempt from outside: stops it at its timeout or when asked to, and ends it by force when
 * it ignores that for 5 s. The first reason to stop counts, except that being forced is said of a timeout.
 */
export class AttemptWatch {
  readonly #options: AttemptWatchOptions;
  #timer: Timer | undefined;
  #reason: HoldfastError | undefined;
  #ended = false;

  constructor(options: AttemptWatchOptions) {
    this.#options = options;
  }

  /** The attempt begins now: its limit counts from here. */
  begin(): void {
    if (this.#ended || this.#reason !== undefined) return;
    const { clock, what, timeoutMs } = this.#options;
    this.#timer = clock.schedule(timeoutMs, () => this.stop(new ShardTimeoutError(what, timeoutMs)));
  }

  /** Why the attempt was stopped; undefined while nothing stopped it. */
  get reason(): HoldfastError | undefined {
    return this.#reason;
  }

  stop(reason: HoldfastError): void {
    if (this.#ended || this.#reason !== undefined) return;
    this.#reason = reason;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.schedule(STOP_GRACE_MS, () => this.#force());
    this.#options.onStop(reason);
  }

  /** The attempt is over: no timer is left. */
  end(): void {
    this.#ended = true;
    this.#timer?.cancel();
  }

  #force(): void {
    if (this.#ended) return;
    const { what, timeoutMs, onForce } = this.#options;
    if (this.#reason instanceof ShardTimeoutError) {
      this.#reason = new ShardTimeoutError(what, timeoutMs, STOP_GRACE_MS);
    }
    onForce(this.#reason as HoldfastError);
  }
}
