import { type Clock, Emitter, systemClock } from "@holdfast/kernel";
import { CallScope, isUnwanted } from "./execution/call-scope.ts";
import type { Body, ExecuteOptions, Policy } from "./execution/policy.ts";
import { bodyRunner, execute, type PolicyRunner, type Runner } from "./execution/runner.ts";
import { checkCount, checkNumber } from "./option-checks.ts";
import { LatencySample } from "./timeout/latency-sample.ts";

export interface HedgeOptions {
  /** Start the copy after this percentile of the observed latencies, in (0, 1). Default 0.95. */
  readonly percentile?: number;
  /** Never start a copy sooner than this, above 0. Default 20. */
  readonly delayMinMs?: number;
  /** No copies before this many latencies are known, from 1. Default 20. */
  readonly warmUpCount?: number;
  /** Copies per call over time, in (0, 1]: the most that hedging adds to the load. Default 0.05. */
  readonly share?: number;
  /** Unused copies that may be saved up for a burst, from 1. Default 10. */
  readonly burstMaxCount?: number;
  /** How many of the last latencies are looked at, from 1. Default 100. */
  readonly sampleCount?: number;
  readonly clock?: Clock;
}

export interface HedgeEvents {
  hedged: { readonly afterMs: number };
}

/**
 * Conservation: `callCount = primaryWinCount + hedgeWinCount + failureCount + abortCount + inFlightCount`, and
 * `hedgeCount <= share × callCount`.
 */
export interface HedgeStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  /** Calls answered by their first copy. */
  readonly primaryWinCount: number;
  /** Calls answered by the extra copy. */
  readonly hedgeWinCount: number;
  /** Calls of which every started copy failed. */
  readonly failureCount: number;
  readonly abortCount: number;
  /** Extra copies started. */
  readonly hedgeCount: number;
  /** Slow calls that got no extra copy because the share was used up. */
  readonly deniedCount: number;
  /** After how long the next call gets a copy; undefined while too little is known. */
  readonly delayMs: number | undefined;
}

/**
 * Cuts the slow tail of reads: a call that takes longer than most gets one extra copy, which should go to
 * another node (`context.isHedge`). The first answer wins and the other copy's signal aborts. Only for calls
 * that are safe to run twice.
 *
 * A failure of one copy waits for the other; when both fail the first failure is thrown. A call that fails
 * before its copy started fails at once: repeating is the work of a retry. The scheme is that of Dean and
 * Barroso, "The Tail at Scale", with a hard share so that an outage is not made worse.
 */
export class Hedge implements Policy {
  readonly events = new Emitter<HedgeEvents>();
  readonly #percentile: number;
  readonly #delayMinMs: number;
  readonly #warmUpCount: number;
  readonly #share: number;
  readonly #burstMaxCount: number;
  readonly #sample: LatencySample;
  readonly #clock: Clock;
  readonly #runner = this.around(bodyRunner);
  #credit = 0;
  #callCount = 0;
  #inFlightCount = 0;
  #primaryWinCount = 0;
  #hedgeWinCount = 0;
  #failureCount = 0;
  #abortCount = 0;
  #hedgeCount = 0;
  #deniedCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: HedgeOptions = {}) {
    this.#percentile = checkNumber("hedge.percentile", options.percentile ?? 0.95, { above: 0, max: 0.9999 });
    this.#delayMinMs = checkNumber("hedge.delayMinMs", options.delayMinMs ?? 20, { above: 0 });
    this.#share = checkNumber("hedge.share", options.share ?? 0.05, { above: 0, max: 1 });
    this.#burstMaxCount = checkCount("hedge.burstMaxCount", options.burstMaxCount ?? 10, { min: 1 });
    const sampleCount = checkCount("hedge.sampleCount", options.sampleCount ?? 100, { min: 1, max: 100_000 });
    this.#warmUpCount = checkCount("hedge.warmUpCount", options.warmUpCount ?? Math.min(20, sampleCount), {
      min: 1,
      max: sampleCount,
    });
    this.#sample = new LatencySample(sampleCount);
    this.#clock = options.clock ?? systemClock;
  }

  get stats(): HedgeStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      primaryWinCount: this.#primaryWinCount,
      hedgeWinCount: this.#hedgeWinCount,
      failureCount: this.#failureCount,
      abortCount: this.#abortCount,
      hedgeCount: this.#hedgeCount,
      deniedCount: this.#deniedCount,
      delayMs: this.#delayMs(),
    };
  }

  /** @throws the first failure when every started copy failed. */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return execute(this.#runner, body, options);
  }

  /** For `compose`: this policy around `inner`. */
  around(inner: Runner): PolicyRunner {
    return { run: (body, scope) => this.#run(inner, body, scope) };
  }

  async #run<T>(inner: Runner, body: Body<T>, outer: CallScope | undefined): Promise<T> {
    outer?.throwIfAborted();
    this.#callCount += 1;
    this.#credit = Math.min(this.#burstMaxCount, this.#credit + this.#share);
    this.#inFlightCount += 1;
    try {
      const winner = await this.#race(inner, body, outer);
      if (winner.isHedge) this.#hedgeWinCount += 1;
      else this.#primaryWinCount += 1;
      return winner.value;
    } catch (error) {
      if (isUnwanted(outer)) this.#abortCount += 1;
      else this.#failureCount += 1;
      throw error;
    } finally {
      this.#inFlightCount -= 1;
    }
  }

  #race<T>(
    inner: Runner,
    body: Body<T>,
    outer: CallScope | undefined,
  ): Promise<{ readonly value: T; readonly isHedge: boolean }> {
    return new Promise((resolve, reject) => {
      const copies = new Set<CallScope>();
      let hasFailed = false;
      let firstError: unknown;
      const start = async (isHedge: boolean): Promise<void> => {
        const scope = CallScope.below(outer, undefined, isHedge);
        scope.mayAbort = true;
        copies.add(scope);
        const startedAt = this.#clock.monotonicNow();
        try {
          const value = await inner.run(body, scope);
          this.#sample.add(this.#clock.monotonicNow() - startedAt);
          timer?.cancel();
          copies.delete(scope);
          for (const loser of copies) loser.abort(new LostHedge());
          resolve({ value, isHedge });
        } catch (error) {
          copies.delete(scope);
          if (!hasFailed) {
            hasFailed = true;
            firstError = error;
          }
          if (copies.size === 0) {
            timer?.cancel();
            reject(firstError);
          }
        } finally {
          scope.close();
        }
      };
      const delayMs = outer?.idempotent === false ? undefined : this.#delayMs();
      const timer =
        delayMs === undefined
          ? undefined
          : this.#clock.schedule(delayMs, () => {
              if (copies.size > 0 && this.#takeCredit(delayMs)) void start(true);
            });
      void start(false);
    });
  }

  #delayMs(): number | undefined {
    if (this.#sample.count < this.#warmUpCount) return undefined;
    const observed = this.#sample.at(this.#percentile);
    return observed === undefined ? undefined : Math.max(observed, this.#delayMinMs);
  }

  #takeCredit(afterMs: number): boolean {
    if (this.#credit < 1 - 1e-9) {
      this.#deniedCount += 1;
      return false;
    }
    this.#credit -= 1;
    this.#hedgeCount += 1;
    this.events.emit("hedged", { afterMs });
    return true;
  }
}

/** Why the slower copy's signal aborted. Nobody waits for that copy, so nobody catches this. */
class LostHedge extends Error {
  override readonly name = "LostHedge";

  constructor() {
    super("the other copy of this call answered first");
  }
}
