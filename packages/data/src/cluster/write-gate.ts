import {
  type Abortable,
  type Clock,
  ClosedError,
  type Deferred,
  deferred,
  type HoldfastError,
  OverloadedError,
  untilAborted,
} from "@holdfast/kernel";
import { NoPrimaryError, SplitBrainError } from "./cluster-errors.ts";

/** Why nobody may write now. */
export type ShutReason =
  | { readonly kind: "no-primary" }
  /** Every server refuses us for good: whoever waits waits in vain. */
  | { readonly kind: "refused"; readonly error: HoldfastError }
  | { readonly kind: "split-brain"; readonly nodes: readonly string[] };

/** How long the length of a use is remembered at least, so that a switchover knows what to expect. */
const RECENT_MS = 1_500;

/** A pass through the gate: what may be written to, until `leave` is called. */
export interface Pass<T> {
  readonly target: T;
  leave(): void;
}

/**
 * Lets writes through to the primary. While there is none, or a planned switchover is under way, callers wait: for as
 * long as they say without a primary, and for the whole of a pause, which has an end of its own.
 */
export class WriteGate<T> {
  readonly #clock: Clock;
  readonly #waitingMaxCount: number;
  #target: T | undefined;
  #shutReason: ShutReason = { kind: "no-primary" };
  #isPaused = false;
  #isClosed = false;
  #waitingCount = 0;
  #insideCount = 0;
  #changed: Deferred<void> = deferred();
  #drained: Deferred<void> | undefined;
  /** The longest uses of this stretch of time and the one before. */
  #longest = { since: 0, nowMs: 0, beforeMs: 0 };

  constructor(options: { readonly clock: Clock; readonly waitingMaxCount: number }) {
    this.#clock = options.clock;
    this.#waitingMaxCount = options.waitingMaxCount;
  }

  get target(): T | undefined {
    return this.#target;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get waitingCount(): number {
    return this.#waitingCount;
  }

  get insideCount(): number {
    return this.#insideCount;
  }

  /** The longest use that ended in the last 1.5 to 3 seconds, in milliseconds. */
  get longestUseMs(): number {
    return Math.max(this.#longest.nowMs, this.#longest.beforeMs);
  }

  open(target: T): void {
    if (this.#target === target) return;
    this.#target = target;
    this.#tell();
  }

  shut(reason: ShutReason): void {
    this.#target = undefined;
    this.#shutReason = reason;
    // Who waits for a primary is told at once that there are two, or that none will let us in.
    if (reason.kind !== "no-primary") this.#tell();
  }

  /** Lets nobody in any more until `resume`. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#tell();
  }

  /** Lets nobody in for good, and turns away who waits. Who is inside may finish. */
  close(): void {
    this.#isClosed = true;
    this.#tell();
  }

  /** A pass, where nothing has to be waited for. */
  enterNow(): Pass<T> | undefined {
    if (this.#target === undefined || this.#isPaused || this.#isClosed) return undefined;
    return this.#admit(this.#target);
  }

  /** A second pass for who is inside and stays when the first one ends: also while nobody else is let in. */
  enterAgain(target: T): Pass<T> {
    return this.#admit(target);
  }

  /**
   * @param options.waitMs How long to wait for a primary; a pause is not counted.
   * @param options.limitMs How long to wait for whatever it is. Default: as long as it takes.
   * @throws NoPrimaryError after `waitMs`, OverloadedError: retryable. SplitBrainError, ClosedError, why every
   *   server refuses us: not. signal.reason.
   */
  async enter(
    options: Abortable & { readonly waitMs: number; readonly limitMs?: number | undefined },
  ): Promise<Pass<T>> {
    const { signal, waitMs, limitMs = Number.POSITIVE_INFINITY } = options;
    signal?.throwIfAborted();
    const now = this.enterNow();
    if (now !== undefined) return now;
    this.#refuseForGood();
    if (waitMs <= 0 && !this.#isPaused) throw new NoPrimaryError("there is no primary now", 0);
    if (this.#waitingCount >= this.#waitingMaxCount) {
      throw new OverloadedError("the queue for the primary", this.#waitingMaxCount);
    }
    this.#waitingCount += 1;
    let leftMs = waitMs;
    const giveUpAt = this.#clock.monotonicNow() + limitMs;
    try {
      for (;;) {
        const startedAt = this.#clock.monotonicNow();
        const wasPaused = this.#isPaused;
        await this.#nextChange(Math.min(wasPaused ? limitMs : leftMs, giveUpAt - startedAt), signal);
        const pass = this.enterNow();
        if (pass !== undefined) return pass;
        this.#refuseForGood();
        if (!wasPaused) leftMs -= this.#clock.monotonicNow() - startedAt;
        if (leftMs <= 0 && !this.#isPaused) {
          throw new NoPrimaryError("no primary was found in time", waitMs);
        }
        if (this.#clock.monotonicNow() >= giveUpAt) {
          throw new NoPrimaryError("its primary is being changed", limitMs);
        }
      }
    } finally {
      this.#waitingCount -= 1;
    }
  }

  /** Resolves when nobody is inside, or after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#insideCount === 0) return;
    this.#drained ??= deferred();
    const { promise, resolve } = this.#drained;
    const timer = this.#clock.schedule(timeoutMs, resolve);
    await promise;
    timer.cancel();
    // One that ran out of time is over: the next one has to wait anew.
    if (this.#drained?.promise === promise) this.#drained = undefined;
  }

  #admit(target: T): Pass<T> {
    this.#insideCount += 1;
    const enteredAt = this.#clock.monotonicNow();
    let isInside = true;
    return {
      target,
      leave: () => {
        if (!isInside) return;
        isInside = false;
        this.#insideCount -= 1;
        this.#note(enteredAt);
        if (this.#insideCount > 0 || this.#drained === undefined) return;
        this.#drained.resolve();
        this.#drained = undefined;
      },
    };
  }

  #note(enteredAt: number): void {
    const now = this.#clock.monotonicNow();
    if (now - this.#longest.since > RECENT_MS) {
      const isLongAgo = now - this.#longest.since > 2 * RECENT_MS;
      this.#longest = { since: now, nowMs: 0, beforeMs: isLongAgo ? 0 : this.#longest.nowMs };
    }
    this.#longest.nowMs = Math.max(this.#longest.nowMs, now - enteredAt);
  }

  #refuseForGood(): void {
    if (this.#isClosed) throw new ClosedError("the cluster");
    if (this.#target !== undefined) return;
    const reason = this.#shutReason;
    if (reason.kind === "split-brain") throw new SplitBrainError(reason.nodes);
    if (reason.kind === "refused") throw reason.error;
  }

  #tell(): void {
    const { resolve } = this.#changed;
    this.#changed = deferred();
    resolve();
  }

  async #nextChange(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise } = this.#changed;
    if (timeoutMs === Number.POSITIVE_INFINITY) return untilAborted(promise, signal);
    const late = deferred<void>();
    const timer = this.#clock.schedule(timeoutMs, late.resolve);
    try {
      await untilAborted(Promise.race([promise, late.promise]), signal);
    } finally {
      timer.cancel();
    }
  }
}
