import type { Clock, Logger, TaskGroup } from "@holdfast/kernel";
import type { DriverSettings } from "../postgres/driver-client.ts";
import type { ServerAddress } from "../postgres/server-address.ts";
import type { MemberHint } from "./discovery.ts";
import type { ObservedNode } from "./judge.ts";
import type { NodeReport } from "./node-probe.ts";
import { ProbeLink, type ProbeOutcome, type VerifiedConnection } from "./probe-link.ts";
import { Repeating } from "./repeating.ts";
import type { TimelineSwitch } from "./timeline-history.ts";

/**
 * While there is no primary a replica answers when it is promoted, or after this time. It looks by itself, so that we
 * know within milliseconds and it is asked four times a second.
 */
const PROMOTION_WAIT_MS = 250;
/** A server is not asked more often, however many callers fail. */
const PROBE_REST_MS = 10;

export interface WatchedServerOptions {
  readonly hint: MemberHint;
  readonly address: ServerAddress;
  /** How connections for statements are made; those for probes are made alike. */
  readonly statements: Omit<DriverSettings, "address">;
  readonly pollEveryMs: number;
  readonly probeTimeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds from the beginning of one round to that of the next. */
  readonly pauseMs: () => number;
  /** Whether a replica's promotion is waited for. */
  readonly isPrimaryWanted: () => boolean;
  /** Called after each round with what the server said, when it said something. */
  readonly onRound: (report: NodeReport | undefined, askedAt: number) => void;
}

/** What is known of one server, and the loop that asks it. */
export class WatchedServer {
  /** What discovery says of it now. */
  hint: MemberHint;
  readonly address: ServerAddress;
  readonly #options: WatchedServerOptions;
  readonly #link: ProbeLink;
  readonly #loop: Repeating;
  #report: NodeReport | undefined;
  #lastReport: NodeReport | undefined;
  #reportedAt: number | undefined;
  #problem: string | undefined;
  #failure: unknown;
  #writableSince: number | undefined;
  /** The connection on which it told of its promotion, until the next answer. */
  #promoted: VerifiedConnection | undefined;
  /** How long the last round took. */
  #roundMs = 0;
  /** Whether it is watched no more. */
  #isGone = false;

  constructor(options: WatchedServerOptions) {
    const { hint, address, statements, clock, probeTimeoutMs, pauseMs } = options;
    this.hint = hint;
    this.address = address;
    this.#options = options;
    this.#link = new ProbeLink({ address, statements, clock, timeoutMs: probeTimeoutMs });
    this.#loop = new Repeating({
      clock,
      pauseMs: () => Math.max(0, pauseMs() - this.#roundMs),
      restMs: PROBE_REST_MS,
      body: (signal) => this.#ask(signal),
    });
  }

  /** Its last answer was a report that still counts. */
  get isAnswering(): boolean {
    return this.#report !== undefined;
  }

  /** Why it did not answer last; undefined for one that did, or was not asked yet. */
  get failure(): unknown {
    return this.#failure;
  }

  get observed(): Omit<ObservedNode, "patroniLag"> {
    return {
      name: this.hint.name,
      address: `${this.address.host}:${this.address.port}`,
      report: this.#report,
      lastReport: this.#lastReport,
      reportedAt: this.#reportedAt,
      problem: this.#problem,
      writableSince: this.#writableSince,
      isHeldBack: this.hint.isHeldBack,
    };
  }

  start(tasks: TaskGroup): void {
    this.#loop.start(`probe ${this.hint.name}`, tasks);
  }

  /** Asks now. */
  poke(): void {
    this.#loop.poke();
  }

  /** Resolves when it was asked again, or failed to answer. */
  afterNext(): Promise<void> {
    return this.#loop.afterNext();
  }

  /** The promotions that the server's own files tell of. */
  history(timeline: number, signal: AbortSignal): Promise<readonly TimelineSwitch[]> {
    return this.#link.history(timeline, signal);
  }

  /** The connection on which it has just said that it takes writes; it is the caller's then. */
  takePromoted(): VerifiedConnection | undefined {
    const promoted = this.#promoted;
    this.#promoted = undefined;
    return promoted?.connection.closeReason === undefined ? promoted : undefined;
  }

  /** Asks no more; what is under way tells nobody. */
  stop(): void {
    this.#isGone = true;
    this.#loop.stop();
  }

  async close(): Promise<void> {
    await Promise.all([this.#link.close(), this.#promoted?.connection.close("closed")]);
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { clock, onRound } = this.#options;
    const askedAt = clock.monotonicNow();
    const outcome = await this.#link.ask({ signal, untilPromotedMs: this.#promotionWaitMs() });
    this.#roundMs = clock.monotonicNow() - askedAt;
    // Nobody has waited for a primary.
    void this.takePromoted()?.connection.close("closed");
    if (signal.aborted || this.#isGone) return;
    this.#note(outcome);
    onRound(outcome.kind === "answered" ? outcome.report : undefined, askedAt);
  }

  #promotionWaitMs(): number {
    const mayLead = this.#options.isPrimaryWanted() && this.#report?.inRecovery === true;
    return mayLead ? Math.min(PROMOTION_WAIT_MS, this.#options.probeTimeoutMs / 2) : 0;
  }

  #note(outcome: ProbeOutcome): void {
    const { clock, probeTimeoutMs, pollEveryMs, logger } = this.#options;
    if (outcome.kind === "answered") {
      const { report } = outcome;
      // Only a promotion that we have seen ourselves may be newer than what Patroni said.
      if (report.inRecovery) this.#writableSince = undefined;
      else if (this.#lastReport?.inRecovery === true) {
        this.#writableSince = clock.monotonicNow();
        this.#promoted = this.#link.handOver(report);
      }
      this.#report = report;
      this.#lastReport = report;
      this.#reportedAt = clock.monotonicNow();
      this.#problem = undefined;
      this.#failure = undefined;
      return;
    }
    if (this.#problem === undefined) {
      logger.warn(
        { node: this.hint.name, reason: outcome.reason },
        "a server of the cluster does not answer",
      );
    }
    this.#problem = outcome.reason;
    this.#failure = outcome.error;
    // One late answer of a busy server is no failure; a refused connection is.
    const silentForMs = clock.monotonicNow() - (this.#reportedAt ?? Number.NEGATIVE_INFINITY);
    if (!outcome.isSilent || silentForMs > 2.5 * probeTimeoutMs + pollEveryMs) this.#report = undefined;
  }
}
