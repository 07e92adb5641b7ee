import { type Clock, Emitter, isHoldfastError, systemClock } from "@holdfast/kernel";
import { RateLimitedError } from "../errors.ts";
import { askedPauseMs } from "../execution/asked-pause.ts";
import { CallScope, isUnwanted } from "../execution/call-scope.ts";
import type { Body, ExecuteOptions } from "../execution/policy.ts";
import { bodyRunner } from "../execution/runner.ts";
import { checkCount, checkNumber } from "../option-checks.ts";
import { RecentKeys } from "./recent-keys.ts";

export interface CooperativeThrottleOptions {
  /** Times that one call is tried again after a refusal, from 0. Default 3. */
  readonly retryMaxCount?: number;
  /** The longest that one call waits in all, in milliseconds from 0. Default 60_000. */
  readonly waitTotalMaxMs?: number;
  /** What each refusal in a row multiplies the server's pause by, at least 1. Default 1.5. */
  readonly factor?: number;
  /** Operations remembered at once; one more forgets the one used longest ago. Default 1_000. */
  readonly operationMaxCount?: number;
  readonly clock?: Clock;
}

export interface CooperativeThrottleEvents {
  blocked: { readonly operation: string; readonly waitMs: number };
}

/** Conservation: `callCount = successCount + failureCount + refusedCount + abortCount + inFlightCount`. */
export interface CooperativeThrottleStats {
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly successCount: number;
  readonly failureCount: number;
  /** Calls that ended with the server's refusal, because they may not wait that often or that long. */
  readonly refusedCount: number;
  readonly abortCount: number;
  /** Bodies that were called. */
  readonly attemptCount: number;
}

/** What is known of one operation. */
interface Block {
  blockedUntil: number;
  refusalsInARow: number;
  refusedAt: number;
}

/** How long an operation's block outlives its last use; longer than any pause that a call would wait for. */
const IDLE_MS = 600_000;

/**
 * The client's half of a rate limit: it remembers for each operation until when the server asked to be left
 * alone, and lets no call of that operation go out before. So one refusal quiets all callers instead of each
 * finding out for itself.
 *
 * A refusal is a retryable error with `retryAfterMs`. Nothing was done then, so trying again is always safe.
 */
export class CooperativeThrottle {
  readonly events = new Emitter<CooperativeThrottleEvents>();
  readonly #retryMaxCount: number;
  readonly #waitTotalMaxMs: number;
  readonly #factor: number;
  readonly #blocks: RecentKeys<Block>;
  readonly #clock: Clock;
  #callCount = 0;
  #inFlightCount = 0;
  #successCount = 0;
  #failureCount = 0;
  #refusedCount = 0;
  #abortCount = 0;
  #attemptCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: CooperativeThrottleOptions = {}) {
    this.#retryMaxCount = checkCount("throttle.retryMaxCount", options.retryMaxCount ?? 3);
    this.#waitTotalMaxMs = checkNumber("throttle.waitTotalMaxMs", options.waitTotalMaxMs ?? 60_000, {
      min: 0,
    });
    this.#factor = checkNumber("throttle.factor", options.factor ?? 1.5, { min: 1, max: 100 });
    this.#blocks = new RecentKeys<Block>({
      keyMaxCount: options.operationMaxCount ?? 1_000,
      idleMs: IDLE_MS,
      create: () => ({ blockedUntil: 0, refusalsInARow: 0, refusedAt: 0 }),
    });
    this.#clock = options.clock ?? systemClock;
  }

  get stats(): CooperativeThrottleStats {
    return {
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      successCount: this.#successCount,
      failureCount: this.#failureCount,
      refusedCount: this.#refusedCount,
      abortCount: this.#abortCount,
      attemptCount: this.#attemptCount,
    };
  }

  /** Milliseconds until `operation` may go out; 0 when it may now. */
  blockedForMs(operation: string): number {
    const now = this.#clock.monotonicNow();
    return Math.max(0, (this.#blocks.peek(operation, now)?.blockedUntil ?? 0) - now);
  }

  /**
   * Calls `body` as soon as the operation is not blocked.
   * @throws the server's last refusal, itself, when the call may not be tried again or not wait that long.
   * @throws RateLimitedError when it would have to wait too long before its first try; retryable, nothing was sent.
   * @throws the error of `body` when it is no refusal.
   * @throws signal.reason when the caller aborts; the wait ends at once.
   */
  async execute<T>(operation: string, body: Body<T>, options: ExecuteOptions = {}): Promise<T> {
    const scope = CallScope.open(options);
    this.#callCount += 1;
    this.#inFlightCount += 1;
    try {
      const value = await this.#attempts(operation, body, scope);
      this.#successCount += 1;
      return value;
    } catch (error) {
      if (isUnwanted(scope)) this.#abortCount += 1;
      else if (pauseAskedMs(error) === undefined) this.#failureCount += 1;
      else this.#refusedCount += 1;
      throw error;
    } finally {
      this.#inFlightCount -= 1;
      scope.close();
    }
  }

  async #attempts<T>(operation: string, body: Body<T>, scope: CallScope): Promise<T> {
    let waitedMs = 0;
    let refusal: unknown;
    for (let retryCount = 0; ; retryCount += 1) {
      // Others may have been refused while this call waited, so it looks again until the way is free.
      for (let waitMs = this.blockedForMs(operation); waitMs > 0; waitMs = this.blockedForMs(operation)) {
        waitedMs += waitMs;
        if (waitedMs > this.#waitTotalMaxMs) {
          throw refusal ?? new RateLimitedError(operation, { retryAfterMs: waitMs });
        }
        await scope.sleep(this.#clock, waitMs);
      }
      this.#attemptCount += 1;
      const startedAt = this.#clock.monotonicNow();
      try {
        const value = await bodyRunner.run(body, scope);
        this.#blocks.use(operation, this.#clock.monotonicNow()).refusalsInARow = 0;
        return value;
      } catch (error) {
        scope.throwIfAborted();
        const pauseMs = pauseAskedMs(error);
        if (pauseMs === undefined) throw error;
        refusal = error;
        this.#block(operation, pauseMs, startedAt);
        if (retryCount >= this.#retryMaxCount) throw error;
      }
    }
  }

  #block(operation: string, pauseMs: number, startedAt: number): void {
    const now = this.#clock.monotonicNow();
    const block = this.#blocks.use(operation, now);
    // Calls that went out side by side are refused side by side: that is one refusal, not many in a row.
    if (block.refusalsInARow === 0 || startedAt > block.refusedAt) {
      block.refusalsInARow += 1;
      block.refusedAt = now;
    }
    const grownMs = pauseMs * this.#factor ** (block.refusalsInARow - 1);
    // Growth ends at what a call may wait; a longer pause is one that the server itself asked for.
    const waitMs = Math.max(pauseMs, Math.min(grownMs, this.#waitTotalMaxMs));
    block.blockedUntil = Math.max(block.blockedUntil, now + waitMs);
    this.events.emit("blocked", { operation, waitMs });
  }
}

const pauseAskedMs = (error: unknown): number | undefined =>
  isHoldfastError(error) && error.retryable ? askedPauseMs(error) : undefined;
