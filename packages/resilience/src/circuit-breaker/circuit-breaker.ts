import { type Clock, Emitter, systemClock } from "@holdfast/kernel";
import { CircuitOpenError } from "../errors.ts";
import { type CallScope, isUnwanted } from "../execution/call-scope.ts";
import { Engine, type Gate } from "../execution/engine.ts";
import { isLocalRefusal } from "../execution/local-refusal.ts";
import type { Body, ExecuteOptions, Policy } from "../execution/policy.ts";
import { checkCount, checkDurationMs, checkFunction } from "../option-checks.ts";
import type { OutcomeWindow } from "./outcome-window.ts";
import { type BreakerTrip, createWindow } from "./trip.ts";

export interface CircuitBreakerOptions {
  /** Named in refusals. Default `circuit breaker`. */
  readonly name?: string;
  /** Default `{ mode: "time" }`. */
  readonly trip?: BreakerTrip;
  /** How long the breaker stays open before it lets a probe through, above 0. Default 60_000. */
  readonly openMs?: number;
  /** Probes that may run at once while half-open, from 1. Default 1. */
  readonly probeMaxCount?: number;
  /** Successful probes that close the breaker, from 1. Default 1. */
  readonly probeSuccessCount?: number;
  /**
   * Which errors count as failures of the dependency. Default: every one. Others pass through uncounted. Where it
   * throws, the error counts as a failure.
   */
  readonly isFailure?: (error: unknown) => boolean;
  /** A call that takes at least this long is slow, above 0. Default: no call is. */
  readonly slowCallMs?: number;
  readonly clock?: Clock;
}

/** Instants are on the breaker's monotonic clock. */
export type BreakerState =
  | { readonly kind: "closed" }
  | { readonly kind: "open"; readonly halfOpenAt: number }
  | { readonly kind: "half-open"; readonly probeCount: number }
  /** Shut by hand, until `release`. */
  | { readonly kind: "isolated" };

export interface CircuitBreakerEvents {
  stateChanged: { readonly from: BreakerState["kind"]; readonly to: BreakerState["kind"] };
  rejected: { readonly state: "open" | "half-open" | "isolated" };
}

/**
 * Conservation: `callCount = successCount + failureCount + ignoredCount + rejectedCount + inFlightCount`, and
 * `stateChangeCount = openedCount + halfOpenedCount + closedCount + isolatedCount`.
 */
export interface CircuitBreakerStats {
  readonly state: BreakerState["kind"];
  readonly callCount: number;
  readonly inFlightCount: number;
  readonly successCount: number;
  readonly failureCount: number;
  /** Calls whose end said nothing of the dependency: unclassified errors, the caller's abort, limits of our own. */
  readonly ignoredCount: number;
  readonly rejectedCount: number;
  /** Of the calls above, those that took at least `slowCallMs`. */
  readonly slowCount: number;
  /** Of the calls above, those that began before the last state change and so altered nothing. */
  readonly staleCount: number;
  readonly stateChangeCount: number;
  readonly openedCount: number;
  readonly halfOpenedCount: number;
  readonly closedCount: number;
  readonly isolatedCount: number;
}

/** How a call ended, as far as the breaker is concerned. */
type Verdict = "success" | "failure" | "ignored";

const SUCCESS = { isFailure: false, isSlow: false } as const;
const SLOW = { isFailure: false, isSlow: true } as const;
const FAILURE = { isFailure: true, isSlow: false } as const;
const SLOW_FAILURE = { isFailure: true, isSlow: true } as const;

/**
 * Stops calling a dependency that fails, so that callers fail fast and it can recover.
 *
 * | state | what holds | ways out |
 * |---|---|---|
 * | closed | calls pass and are judged by `trip` | too many failures: open |
 * | open | calls are refused | first call after `openMs`: half-open |
 * | half-open | at most `probeMaxCount` calls pass at once | enough successes: closed; one failure: open for a full period |
 * | isolated | calls are refused | `release`: closed |
 *
 * Each state has a generation number, and a call's outcome counts only in the generation in which it began. An
 * outcome that says nothing (see `ignoredCount`) gives its probe's permit back. Probes that have not ended after
 * a further `openMs` count as lost, and new ones may start.
 */
export class CircuitBreaker implements Policy, Gate {
  readonly events = new Emitter<CircuitBreakerEvents>();
  readonly #name: string;
  readonly #window: OutcomeWindow;
  readonly #openMs: number;
  readonly #probeMaxCount: number;
  readonly #probeSuccessCount: number;
  readonly #isFailure: (error: unknown) => boolean;
  readonly #slowCallMs: number | undefined;
  readonly #clock: Clock;
  readonly #engine = new Engine([this]);
  #kind: BreakerState["kind"] = "closed";
  #generation = 0;
  /** Open: when it turns half-open. Half-open: when its probes count as lost. */
  #stateEndsAt = 0;
  #probeCount = 0;
  #probesSucceeded = 0;
  #callCount = 0;
  #inFlightCount = 0;
  #successCount = 0;
  #failureCount = 0;
  #ignoredCount = 0;
  #rejectedCount = 0;
  #slowCount = 0;
  #staleCount = 0;
  readonly #enteredCounts: Record<BreakerState["kind"], number> = {
    closed: 0,
    open: 0,
    "half-open": 0,
    isolated: 0,
  };

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: CircuitBreakerOptions = {}) {
    this.#name = options.name ?? "circuit breaker";
    this.#openMs = checkDurationMs("breaker.openMs", options.openMs ?? 60_000);
    this.#probeMaxCount = checkCount("breaker.probeMaxCount", options.probeMaxCount ?? 1, { min: 1 });
    this.#probeSuccessCount = checkCount("breaker.probeSuccessCount", options.probeSuccessCount ?? 1, {
      min: 1,
    });
    this.#isFailure = checkFunction("breaker.isFailure", options.isFailure ?? (() => true));
    this.#slowCallMs =
      options.slowCallMs === undefined
        ? undefined
        : checkDurationMs("breaker.slowCallMs", options.slowCallMs);
    this.#clock = options.clock ?? systemClock;
    this.#window = createWindow(options.trip ?? { mode: "time" }, this.#slowCallMs !== undefined);
    this.#window.reset(this.#clock.monotonicNow());
  }

  get state(): BreakerState {
    switch (this.#kind) {
      case "open":
        return { kind: "open", halfOpenAt: this.#stateEndsAt };
      case "half-open":
        return { kind: "half-open", probeCount: this.#probeCount };
      default:
        return { kind: this.#kind };
    }
  }

  get stats(): CircuitBreakerStats {
    const entered = this.#enteredCounts;
    return {
      state: this.#kind,
      callCount: this.#callCount,
      inFlightCount: this.#inFlightCount,
      successCount: this.#successCount,
      failureCount: this.#failureCount,
      ignoredCount: this.#ignoredCount,
      rejectedCount: this.#rejectedCount,
      slowCount: this.#slowCount,
      staleCount: this.#staleCount,
      stateChangeCount: entered.open + entered["half-open"] + entered.closed + entered.isolated,
      openedCount: entered.open,
      halfOpenedCount: entered["half-open"],
      closedCount: entered.closed,
      isolatedCount: entered.isolated,
    };
  }

  /** Refuses every call until `release`. Calls under way go on and alter nothing. Idempotent. */
  isolate(): void {
    if (this.#kind !== "isolated") this.#enter("isolated");
  }

  /** Ends an isolation: closed, with nothing remembered. No effect in any other state. */
  release(): void {
    if (this.#kind === "isolated") this.#enter("closed");
  }

  /**
   * @throws CircuitOpenError when the call is refused; `body` was not called. While open it is retryable after
   *   `retryAfterMs`, the time left until a probe; while half-open retryable; while isolated not.
   */
  execute<T>(body: Body<T>, options?: ExecuteOptions): Promise<T> {
    return this.#engine.execute(body, options);
  }

  enter(call: CallScope): undefined {
    call.throwIfAborted();
    this.#callCount += 1;
    if (this.#kind !== "closed") this.#admitOrThrow();
    call.breakerGeneration = this.#generation;
    if (this.#slowCallMs !== undefined) call.breakerEnteredAt = this.#clock.monotonicNow();
    this.#inFlightCount += 1;
  }

  succeeded(call: CallScope): void {
    this.#successCount += 1;
    this.#settle("success", call);
  }

  failed(call: CallScope, error: unknown): void {
    const verdict = this.#judge(error, call);
    if (verdict === "failure") this.#failureCount += 1;
    else this.#ignoredCount += 1;
    this.#settle(verdict, call);
  }

  #judge(error: unknown, call: CallScope): Verdict {
    if (isUnwanted(call) || isLocalRefusal(error)) return "ignored";
    try {
      return this.#isFailure(error) ? "failure" : "ignored";
    } catch {
      // The call must end here either way, or its probe's permit would be lost.
      return "failure";
    }
  }

  /** Takes a probe's permit or throws. Called in any state but closed. */
  #admitOrThrow(): void {
    const now = this.#clock.monotonicNow();
    if (this.#kind === "open" && now >= this.#stateEndsAt) this.#enter("half-open");
    if (this.#kind === "half-open") {
      if (this.#probeCount >= this.#probeMaxCount && now >= this.#stateEndsAt) this.#replaceLostProbes(now);
      if (this.#probeCount < this.#probeMaxCount) {
        this.#probeCount += 1;
        return;
      }
    }
    this.#rejectedCount += 1;
    const state = this.#kind === "open" || this.#kind === "half-open" ? this.#kind : "isolated";
    this.events.emit("rejected", { state });
    throw new CircuitOpenError(this.#name, {
      state,
      // While probes run nobody knows when they will end.
      ...(state === "open" ? { retryAfterMs: this.#stateEndsAt - now } : {}),
    });
  }

  #settle(verdict: Verdict, call: CallScope): void {
    this.#inFlightCount -= 1;
    const now = this.#instantOf(verdict, call);
    const isSlow =
      this.#slowCallMs !== undefined &&
      verdict !== "ignored" &&
      now - call.breakerEnteredAt >= this.#slowCallMs;
    if (isSlow) this.#slowCount += 1;
    if (call.breakerGeneration !== this.#generation) {
      this.#staleCount += 1;
      return;
    }
    if (this.#kind === "closed") {
      if (verdict === "ignored") return;
      const isFailure = verdict === "failure";
      const outcome = isSlow ? (isFailure ? SLOW_FAILURE : SLOW) : isFailure ? FAILURE : SUCCESS;
      if (this.#window.record(outcome, now)) this.#enter("open");
      return;
    }
    // Of the other states only half-open lets calls begin, so this is one of its probes.
    this.#probeCount -= 1;
    if (verdict === "ignored") return;
    if (verdict === "failure" || isSlow) {
      this.#enter("open");
      return;
    }
    this.#probesSucceeded += 1;
    if (this.#probesSucceeded >= this.#probeSuccessCount) this.#enter("closed");
  }

  /**
   * When the call ended. Reading the clock costs as much as all else here, so for a success while closed an
   * instant that is good enough for the window will do.
   */
  #instantOf(verdict: Verdict, call: CallScope): number {
    const isExact =
      verdict !== "success" ||
      this.#kind !== "closed" ||
      this.#slowCallMs !== undefined ||
      call.startedWithinMs > this.#window.resolutionMs;
    return isExact ? this.#clock.monotonicNow() : call.startedAt;
  }

  #replaceLostProbes(now: number): void {
    this.#generation += 1;
    this.#probeCount = 0;
    this.#stateEndsAt = now + this.#openMs;
  }

  #enter(kind: BreakerState["kind"]): void {
    const now = this.#clock.monotonicNow();
    const from = this.#kind;
    this.#kind = kind;
    this.#generation += 1;
    this.#enteredCounts[kind] += 1;
    this.#probeCount = 0;
    this.#probesSucceeded = 0;
    this.#stateEndsAt = now + this.#openMs;
    if (kind === "closed") this.#window.reset(now);
    this.events.emit("stateChanged", { from, to: kind });
  }
}
