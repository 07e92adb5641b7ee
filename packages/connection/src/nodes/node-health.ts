import type { Clock } from "@holdfast/kernel";
import { share, whole } from "../link/settings.ts";

export interface HealthOptions {
  /** A node is ejected after this many failures in a row. Default 3. */
  readonly failuresInRowMax?: number;
  /** ... or when this share of the calls of a window failed, in (0, 1]. Default 0.85. */
  readonly failureShareMax?: number;
  /** The share counts from this many calls on. Default 20. */
  readonly failureShareMinCount?: number;
  /** Length of a window, milliseconds. Default 10_000. */
  readonly windowMs?: number;
  /** First ejection; the second lasts twice as long, and so on. Default 30_000. */
  readonly ejectionMs?: number;
  /** Longest ejection. Default 300_000. */
  readonly ejectionCapMs?: number;
}

/** What is known of one node. A copy: changing it changes nothing. */
export interface NodeHealthRecord {
  /** Position in the list of hosts plus one; never reused. */
  readonly nodeId: number;
  readonly host: string;
  /** Neither held by the caller nor observed to be unwell. */
  readonly isHealthy: boolean;
  /** The caller said so, until the caller says otherwise; no probe ends it. */
  readonly isHeld: boolean;
  /** What results and probes say; heals by itself. */
  readonly isObservedHealthy: boolean;
  /** Wall clock of the last result or probe, milliseconds since the epoch; undefined before the first. */
  readonly lastCheckAt: number | undefined;
  readonly failuresInRow: number;
  /** How often it was ejected since it was last well for long. */
  readonly ejectionCount: number;
}

export type Eligibility =
  /** May be asked. */
  | "eligible"
  /** Its ejection is over: may be asked once, to see. */
  | "trial"
  /** Ejected, resting or on trial already. */
  | "unwell"
  /** Held back by the caller. */
  | "held";

type Observed =
  | { readonly kind: "healthy"; readonly since: number }
  | { readonly kind: "ejected"; readonly until: number; readonly isOnTrial: boolean };

/** A node that announced its end is left alone for this long before it is tried again. */
const DRAIN_REST_MS = 1_000;

export type HealthSettings = Required<HealthOptions>;

/** @throws InvalidInputError naming the field. */
export const healthSettingsOf = (options: HealthOptions = {}): HealthSettings => ({
  failuresInRowMax: whole("health.failuresInRowMax", options.failuresInRowMax ?? 3, { min: 1 }),
  failureShareMax: share("health.failureShareMax", options.failureShareMax ?? 0.85),
  failureShareMinCount: whole("health.failureShareMinCount", options.failureShareMinCount ?? 20, { min: 1 }),
  windowMs: whole("health.windowMs", options.windowMs ?? 10_000, { min: 1 }),
  ejectionMs: whole("health.ejectionMs", options.ejectionMs ?? 30_000, { min: 1 }),
  ejectionCapMs: whole("health.ejectionCapMs", options.ejectionCapMs ?? 300_000, { min: 1 }),
});

/**
 * Two separate facts about a node: a hold, which only the caller sets and lifts, and observed health, which
 * results and probes decide.
 *
 *     healthy  -- failures in a row, or their share in a window -->  ejected for 30, 60, 90 ... 300 s
 *     ejected  -- time over: one trial ------------------------->  healthy, or ejected for longer
 */
export class NodeHealth {
  readonly #clock: Clock;
  readonly #settings: HealthSettings;
  #isHeld = false;
  #observed: Observed;
  #failuresInRow = 0;
  #ejectionCount = 0;
  #lastCheckAt: number | undefined;
  #lastFailureAt = 0;
  #windowStartedAt: number;
  #windowCallCount = 0;
  #windowFailureCount = 0;

  constructor(clock: Clock, settings: HealthSettings) {
    this.#clock = clock;
    this.#settings = settings;
    const now = clock.monotonicNow();
    this.#observed = { kind: "healthy", since: now };
    this.#windowStartedAt = now;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  get isObservedHealthy(): boolean {
    return this.#observed.kind === "healthy";
  }

  /** Monotonic; 0 before the first failure. */
  get lastFailureAt(): number {
    return this.#lastFailureAt;
  }

  get eligibility(): Eligibility {
    if (this.#isHeld) return "held";
    if (this.#observed.kind === "healthy") return "eligible";
    const isOver = this.#clock.monotonicNow() >= this.#observed.until;
    return isOver && !this.#observed.isOnTrial ? "trial" : "unwell";
  }

  record({ host, nodeId }: { readonly nodeId: number; readonly host: string }): NodeHealthRecord {
    return {
      nodeId,
      host,
      isHealthy: !this.#isHeld && this.isObservedHealthy,
      isHeld: this.#isHeld,
      isObservedHealthy: this.isObservedHealthy,
      lastCheckAt: this.#lastCheckAt,
      failuresInRow: this.#failuresInRow,
      ejectionCount: this.#ejectionCount,
    };
  }

  hold(): void {
    this.#isHeld = true;
    this.#failuresInRow += 1;
    this.#lastCheckAt = this.#clock.wallNow();
  }

  /** Lifts the hold and forgets what was observed. */
  release(): void {
    this.#isHeld = false;
    this.#failuresInRow = 0;
    this.#lastCheckAt = this.#clock.wallNow();
    this.#observed = { kind: "healthy", since: this.#clock.monotonicNow() };
  }

  /** The one call that a node gets after its ejection. */
  beginTrial(): void {
    if (this.#observed.kind === "ejected") this.#observed = { ...this.#observed, isOnTrial: true };
  }

  /** Ends a trial without a verdict, for example because the caller gave up: another call may be the trial. */
  abandonTrial(): void {
    if (this.#observed.kind === "ejected") this.#observed = { ...this.#observed, isOnTrial: false };
  }

  /** The node answered. True when this ended an ejection. */
  succeeded(): boolean {
    const now = this.#clock.monotonicNow();
    this.#lastCheckAt = this.#clock.wallNow();
    this.#failuresInRow = 0;
    this.#count(now, { failed: false });
    if (this.#observed.kind === "ejected") {
      this.#observed = { kind: "healthy", since: now };
      return true;
    }
    if (now - this.#observed.since >= this.#settings.ejectionCapMs) this.#ejectionCount = 0;
    return false;
  }

  /**
   * The node did not answer, or not in time. Returns for how long it is ejected now, if it is.
   * @param options.isLast It is the only one left: a bad share is no reason to eject it then.
   */
  failed(options: { readonly isLast: boolean }): number | undefined {
    const now = this.#clock.monotonicNow();
    this.#lastCheckAt = this.#clock.wallNow();
    this.#lastFailureAt = now;
    this.#failuresInRow += 1;
    this.#count(now, { failed: true });
    if (this.#observed.kind === "ejected") {
      // A call that began before the ejection says nothing new; a failed trial does.
      return this.#observed.isOnTrial ? this.#eject(now) : undefined;
    }
    const { failuresInRowMax, failureShareMax, failureShareMinCount } = this.#settings;
    const hasBadShare =
      this.#windowCallCount >= failureShareMinCount &&
      this.#windowFailureCount / this.#windowCallCount >= failureShareMax;
    if (this.#failuresInRow >= failuresInRowMax || (hasBadShare && !options.isLast)) return this.#eject(now);
    return undefined;
  }

  /** A ping that someone asked for was not answered: certain enough to eject at once. Returns for how long. */
  checkFailed(): number | undefined {
    const now = this.#clock.monotonicNow();
    this.#lastCheckAt = this.#clock.wallNow();
    this.#lastFailureAt = now;
    this.#failuresInRow += 1;
    const wasWell = this.#observed.kind === "healthy" || this.#observed.isOnTrial;
    return wasWell ? this.#eject(now) : undefined;
  }

  /** The node says that it is about to close: no failure, but it gets no calls for a moment. */
  rest(): void {
    if (this.#observed.kind === "ejected") return;
    const until = this.#clock.monotonicNow() + DRAIN_REST_MS;
    this.#observed = { kind: "ejected", until, isOnTrial: false };
  }

  #eject(now: number): number {
    this.#ejectionCount += 1;
    const { ejectionMs, ejectionCapMs } = this.#settings;
    const forMs = Math.min(ejectionCapMs, ejectionMs * this.#ejectionCount);
    this.#observed = { kind: "ejected", until: now + forMs, isOnTrial: false };
    this.#windowCallCount = 0;
    this.#windowFailureCount = 0;
    return forMs;
  }

  #count(now: number, { failed }: { readonly failed: boolean }): void {
    if (now - this.#windowStartedAt >= this.#settings.windowMs) {
      this.#windowStartedAt = now;
      this.#windowCallCount = 0;
      this.#windowFailureCount = 0;
    }
    this.#windowCallCount += 1;
    if (failed) this.#windowFailureCount += 1;
  }
}
