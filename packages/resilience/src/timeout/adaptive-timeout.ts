import { type Clock, Emitter, systemClock } from "@holdfast/kernel";
import { type CallScope, isUnwanted } from "../execution/call-scope.ts";
import { Engine, type Gate } from "../execution/engine.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { checkCount, checkDurationMs, checkNumber } from "../option-checks.ts";
import { LatencySample } from "./latency-sample.ts";
import type { TimeoutEvents, TimeoutStats } from "./timeout.ts";

export interface AdaptiveTimeoutOptions {
  /** The limit before the first sample, within min and max. Default 5_000. */
  readonly initialMs?: number;
  /** The limit is never below this, above 0. Default 100. */
  readonly minMs?: number;
  /** The limit is never above this. Default 60_000. */
  readonly maxMs?: number;
  /** Which share of the calls should fit, in (0, 1]. Default 0.95. */
  readonly percentile?: number;
  /** Room above the percentile, at least 1. Default 1.2. */
  readonly headroom?: number;
  /** How many of the last calls are looked at, from 1. Default 100. */
  readonly sampleCount?: number;
  /** Named in the error. Default `operation`. */
  readonly name?: string;
  readonly clock?: Clock;
}

export interface AdaptiveTimeoutStats extends TimeoutStats {
  /** The limit that the next call gets. */
  readonly currentMs: number;
  /** Calls in the sample: the last successes and time-outs, at most `sampleCount`. */
  readonly sampledCount: number;
}

/**
 * A time limit that follows the dependency: headroom × the percentile of the last calls, within min and max.
 *
 * A call that timed out is in the sample too, or the limit would only ever learn from the fast ones. How long it
 * would have taken is not known, so it enters as the time that asks for the limit it had, or for the initial
 * limit if that was longer. An outage therefore brings the limit back to the initial one but never ratchets it
 * further; beyond that it grows only by calls that really took so long and succeeded. Failures and calls that
 * their caller ended say nothing about the duration and are not sampled.
 */
export class AdaptiveTimeout implements Policy, Gate {
  readonly events = new Emitter<TimeoutEvents>();
  readonly #initialMs: number;
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #percentile: number;
  readonly #headroom: number;
  readonly #sample: LatencySample;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #engine = new Engine([this]);
  #callCount = 0;
  #inFlightCount = 0;
  #successCount = 0;
  #failureCount = 0;
  #timedOutCount = 0;
  #abortCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: AdaptiveTimeoutOptions = {}) {
    this.#minMs = checkDurationMs("adaptiveTimeout.minMs", options.minMs ?? 100);
    this.#maxMs = checkNumber("adaptiveTimeout.maxMs", options.maxMs ?? 60_000, { min: this.#minMs });
    this.#initialMs = checkNumber(
      "adaptiveTimeout.initialMs",
      options.initialMs ?? Math.min(Math.max(5_000, this.#minMs), this.#maxMs),
      { min: this.#minMs, max: this.#maxMs },
    );
    this.#percentile = checkNumber("adaptiveTimeout.percentile", options.percentile ?? 0.95, {
      above: 0,
      max: 1,
    });
    this.#headroom = checkNumber("adaptiveTimeout.headroom", options.headroom ?? 1.2, { min: 1 });
    this.#sample = new LatencySample(
      checkCount("adaptiveTimeout.sampleCount", options.sampleCount ?? 100, { min: 1, max: 100_000 }),
    );
    this.#name = options.name ?? "operation";
    this.#clock = options.clock ?? systemClock;
  }

  /** The limit that the next call gets, in milliseconds. */
  get currentMs(): number {
    const atPercentile = this.#sample.at(this.#percentile);
    if (atPercentile === undefined) return this.#initialMs;
    return Math.min(Math.max(this.#headroom * atPercentile, this.#minMs), this.#maxMs);
  }

  get stats(): AdaptiveTimeoutStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      successCount: this.#successCount,
      failureCount: this.#failureCount,
      timedOutCount: this.#timedOutCount,
      abortCount: this.#abortCount,
      currentMs: this.currentMs,
      sampledCount: this.#sample.count,
    };
  }

  /** @throws TimeoutError at the limit that held when the call began; retryable. The body's signal aborts with it. */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return this.#engine.execute(body, options);
  }

  enter(call: CallScope): undefined {
    call.throwIfAborted();
    const timeoutMs = this.currentMs;
    call.mayAbort = true;
    call.timeoutEnteredAt = this.#clock.monotonicNow();
    call.expiresAt = call.timeoutEnteredAt + timeoutMs;
    call.deadlineAt = Math.min(call.deadlineAt, call.expiresAt);
    // Limits differ from call to call, so they cannot share one queue.
    call.timer = this.#clock.schedule(timeoutMs, () => call.expireAfter(this.#name, timeoutMs));
    this.#callCount += 1;
    this.#inFlightCount += 1;
  }

  succeeded(call: CallScope): void {
    this.#successCount += 1;
    this.#leave(call);
    this.#sample.add(this.#clock.monotonicNow() - call.timeoutEnteredAt);
  }

  failed(call: CallScope): void {
    this.#leave(call);
    if (call.timedOut) {
      const timeoutMs = call.expiresAt - call.timeoutEnteredAt;
      this.#timedOutCount += 1;
      this.#sample.add(Math.max(timeoutMs, this.#initialMs) / this.#headroom);
      this.events.emit("timedOut", { timeoutMs });
    } else if (isUnwanted(call)) this.#abortCount += 1;
    else this.#failureCount += 1;
  }

  #leave(call: CallScope): void {
    this.#inFlightCount -= 1;
    call.timer?.cancel();
    call.timer = undefined;
  }
}
