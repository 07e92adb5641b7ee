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

/** The first extension; each further one is half of the one before. */
const EXTENSION_FIRST_MS = 30_000;
const EXTENSIONS_MAX_COUNT = 5;

/**
 * Watches over one attempt from outside: stops it at its timeout or when asked to, and ends it by force when
 * it ignores that for 5 s. The first reason to stop counts, except that being forced is said of a timeout.
 */
export class AttemptWatch {
  readonly #options: AttemptWatchOptions;
  #timer: Timer | undefined;
  /** On the monotonic clock; undefined until it begins. */
  #endsAt: number | undefined;
  #extendedMs = 0;
  #extensionCount = 0;
  #doneAtExtension = 0;
  #reason: HoldfastError | undefined;
  #ended = false;

  constructor(options: AttemptWatchOptions) {
    this.#options = options;
  }

  /** The attempt begins now: its limit counts from here. Called once. */
  begin(): void {
    if (this.#ended || this.#reason !== undefined) return;
    const { clock, timeoutMs } = this.#options;
    this.#endsAt = clock.monotonicNow() + timeoutMs;
    this.#plan();
  }

  /**
   * More time for work that gets on: 30 s, 15 s, 7.5 s …, at most five times, each only when `done` grew since the
   * one before (at first: since nothing). Returns the milliseconds granted, 0 when refused.
   */
  extend(done: number): number {
    if (this.#ended || this.#reason !== undefined || this.#endsAt === undefined) return 0;
    if (this.#extensionCount >= EXTENSIONS_MAX_COUNT || !(done > this.#doneAtExtension)) return 0;
    const grantedMs = EXTENSION_FIRST_MS / 2 ** this.#extensionCount;
    this.#extensionCount += 1;
    this.#doneAtExtension = done;
    this.#extendedMs += grantedMs;
    this.#endsAt += grantedMs;
    this.#plan();
    return grantedMs;
  }

  #plan(): void {
    const { clock, what } = this.#options;
    this.#timer?.cancel();
    const leftMs = Math.max(0, (this.#endsAt ?? 0) - clock.monotonicNow());
    this.#timer = clock.schedule(leftMs, () => this.stop(new ShardTimeoutError(what, this.#limitMs)));
  }

  get #limitMs(): number {
    return this.#options.timeoutMs + this.#extendedMs;
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
    const { what, onForce } = this.#options;
    if (this.#reason instanceof ShardTimeoutError) {
      this.#reason = new ShardTimeoutError(what, this.#limitMs, STOP_GRACE_MS);
    }
    onForce(this.#reason as HoldfastError);
  }
}
