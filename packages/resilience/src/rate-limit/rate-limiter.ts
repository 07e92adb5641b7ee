import { type Clock, Emitter, systemClock, type Timer } from "@holdfast/kernel";
import { RateLimitedError } from "../errors.ts";
import { CallScope } from "../execution/call-scope.ts";
import { Engine, type Gate } from "../execution/engine.ts";
import { markLocalRefusal } from "../execution/local-refusal.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { bodyRunner } from "../execution/runner.ts";
import { WaitLine } from "../execution/wait-line.ts";
import { checkCount, checkNumber } from "../option-checks.ts";

/** What a limiter counts with: a {@link SlidingWindow} or a {@link TokenBucket}. */
export interface PermitSource {
  /** The most permits that one call can take. */
  readonly limit: number;
  /** Takes `count` permits at the instant `now`, or none. Returns 0 when taken, else milliseconds until it can succeed. */
  take(now: number, count?: number): number;
  /** What `take` would return, without taking. */
  waitMs(now: number, count?: number): number;
  /** Whole permits that are free at `now`. */
  freeCount(now: number): number;
}

export interface RateLimiterOptions {
  readonly source: PermitSource;
  /** Named in refusals. Default `rate limit`. */
  readonly name?: string;
  /** Callers of `acquire` and `execute` that may wait at once; one more is refused. Default 0: nobody waits. */
  readonly waiterMaxCount?: number;
  /** The longest wait for a permit in milliseconds; a caller that would wait longer is refused at once. Default 10_000. */
  readonly waitMaxMs?: number;
  readonly clock?: Clock;
}

export interface RateLimiterEvents {
  refused: { readonly permitCount: number; readonly retryAfterMs: number };
}

/**
 * Conservation: `askedCount = grantedCount + refusedCount + abortedCount + waitingCount`, counted per call, not per permit.
 */
export interface RateLimiterStats {
  readonly askedCount: number;
  readonly grantedCount: number;
  readonly refusedCount: number;
  /** Calls that ended by their signal while they waited. */
  readonly abortedCount: number;
  readonly waitingCount: number;
  readonly freePermitCount: number;
}

export interface PermitOptions {
  /** Permits that the call costs, 1 up to the source's limit. Default 1. */
  readonly permitCount?: number;
}

/**
 * Limits how often something happens. `tryTake` answers at once; `acquire` and `execute` may wait, in the order
 * of their coming: while somebody waits, a newcomer never passes.
 */
export class RateLimiter implements Policy, Gate {
  readonly events = new Emitter<RateLimiterEvents>();
  readonly #source: PermitSource;
  readonly #name: string;
  readonly #waiterMaxCount: number;
  readonly #waitMaxMs: number;
  readonly #clock: Clock;
  readonly #line: WaitLine;
  readonly #engine = new Engine([this]);
  #timer: Timer | undefined;
  #askedCount = 0;
  #grantedCount = 0;
  #refusedCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: RateLimiterOptions) {
    this.#source = options.source;
    this.#name = options.name ?? "rate limit";
    this.#waiterMaxCount = checkCount("rateLimiter.waiterMaxCount", options.waiterMaxCount ?? 0);
    this.#waitMaxMs = checkNumber("rateLimiter.waitMaxMs", options.waitMaxMs ?? 10_000, { min: 0 });
    this.#clock = options.clock ?? systemClock;
    this.#line = new WaitLine(this.#clock);
  }

  get stats(): RateLimiterStats {
    return {
      askedCount: this.#askedCount,
      grantedCount: this.#grantedCount,
      refusedCount: this.#refusedCount + this.#line.timedOutCount,
      abortedCount: this.#line.abortedCount,
      waitingCount: this.#line.size,
      freePermitCount: this.#source.freeCount(this.#clock.monotonicNow()),
    };
  }

  /**
   * Takes permits if they are free now and nobody waits for them.
   * @returns 0 when taken; else nothing was taken, and the number is the milliseconds until the call may succeed.
   * @throws InvalidInputError when the count is not in 1 … limit.
   */
  tryTake(permitCount = 1): number {
    this.#checkCount(permitCount);
    const retryAfterMs = this.#take(permitCount);
    if (retryAfterMs > 0) {
      this.#refusedCount += 1;
      this.events.emit("refused", { permitCount, retryAfterMs });
    }
    return retryAfterMs;
  }

  /**
   * Takes permits, waiting for them if the options allow waiting.
   * @throws RateLimitedError when it may not wait, or not that long; retryable, nothing was taken.
   * @throws signal.reason when aborted; nothing was taken.
   */
  async acquire(options: ExecuteOptions & PermitOptions = {}): Promise<void> {
    const scope = CallScope.open(options);
    try {
      await this.#acquire(scope, options.permitCount ?? 1);
    } finally {
      scope.close();
    }
  }

  /** Calls `body` once it has its permits; throws as `acquire` does. Permits are not given back. */
  execute<T>(body: Body<T>, options?: ExecuteOptions & PermitOptions): Promise<T> {
    const permitCount = options?.permitCount;
    if (options === undefined || permitCount === undefined) return this.#engine.execute(body, options);
    return this.#executeWith(permitCount, body, options);
  }

  enter(call: CallScope): Promise<void> | undefined {
    return this.#acquire(call, 1);
  }

  succeeded(): void {}

  failed(): void {}

  async #executeWith<T>(permitCount: number, body: Body<T>, options: ExecuteOptions): Promise<T> {
    const scope = CallScope.open(options);
    try {
      await this.#acquire(scope, permitCount);
      return await bodyRunner.run(body, scope);
    } finally {
      scope.close();
    }
  }

  /** Undefined when the permits are taken, else the wait for them. */
  #acquire(scope: CallScope, permitCount: number): Promise<void> | undefined {
    this.#checkCount(permitCount);
    scope.throwIfAborted();
    const retryAfterMs = this.#take(permitCount);
    if (retryAfterMs === 0) return undefined;
    if (this.#line.size >= this.#waiterMaxCount || retryAfterMs > this.#waitMaxMs) {
      this.#refusedCount += 1;
      throw this.#refusal(permitCount, retryAfterMs);
    }
    const wait = this.#wait(scope, permitCount);
    if (this.#timer === undefined) this.#pumpIn(retryAfterMs);
    return wait;
  }

  async #wait(scope: CallScope, permitCount: number): Promise<void> {
    try {
      const end = await this.#line.join(scope, { waitMaxMs: this.#waitMaxMs, weight: permitCount });
      if (end === "timed-out") throw this.#refusal(permitCount, this.#waitMs(permitCount));
    } catch (error) {
      // Whoever comes next may need fewer permits than the one who left.
      this.#stopPump();
      this.#pump();
      throw error;
    }
  }

  #take(permitCount: number): number {
    this.#askedCount += 1;
    if (this.#line.size > 0) return this.#waitMs(permitCount);
    const retryAfterMs = this.#source.take(this.#clock.monotonicNow(), permitCount);
    if (retryAfterMs === 0) this.#grantedCount += 1;
    return retryAfterMs;
  }

  /** Never 0: what this is asked for was not granted, so somebody is in front. */
  #waitMs(permitCount: number): number {
    const now = this.#clock.monotonicNow();
    const first = this.#line.firstWeight ?? 0;
    return Math.max(1, this.#source.waitMs(now, Math.min(first + permitCount, this.#source.limit)));
  }

  /** Serves the line in its order for as long as there are permits, and comes back when there will be more. */
  readonly #pump = (): void => {
    this.#timer = undefined;
    for (let weight = this.#line.firstWeight; weight !== undefined; weight = this.#line.firstWeight) {
      const waitMs = this.#source.take(this.#clock.monotonicNow(), weight);
      if (waitMs > 0) {
        this.#pumpIn(waitMs);
        return;
      }
      this.#grantedCount += 1;
      this.#line.serveFirst();
    }
  };

  #pumpIn(ms: number): void {
    this.#timer = this.#clock.schedule(ms, this.#pump);
  }

  #stopPump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #refusal(permitCount: number, retryAfterMs: number): RateLimitedError {
    this.events.emit("refused", { permitCount, retryAfterMs });
    return markLocalRefusal(new RateLimitedError(this.#name, { retryAfterMs, details: { permitCount } }));
  }

  #checkCount(permitCount: number): void {
    checkCount("permitCount", permitCount, { min: 1, max: this.#source.limit });
  }
}
