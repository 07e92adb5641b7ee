import { setMaxListeners } from "node:events";
import {
  type Clock,
  type HoldfastError,
  isHoldfastError,
  type Logger,
  Mutex,
  TaskGroup,
} from "@holdfast/kernel";
import type { DriverSettings } from "../postgres/driver-client.ts";
import type { ServerAddress } from "../postgres/server-address.ts";
import type { ClusterCondition, ClusterStatus, PrimaryChange } from "./cluster-status.ts";
import type { Discovery, MemberHint } from "./discovery.ts";
import { type Bounds, judge, type ObservedNode } from "./judge.ts";
import { formatPosition } from "./log-position.ts";
import type { NodeReport } from "./node-probe.ts";
import { type Lag, PrimaryLog } from "./primary-log.ts";
import type { VerifiedConnection } from "./probe-link.ts";
import { mergeHistories, type TimelineSwitch } from "./timeline-history.ts";
import { WatchedServer } from "./watched-server.ts";

/** While there is no primary, or somebody noticed a failure, servers are asked this often. */
const URGENT_PAUSE_MS = 50;
/** And Patroni, which has to ask its store for every answer. */
const URGENT_ASK_PAUSE_MS = 500;
/** How long a noticed failure makes the rounds quick. */
const URGENT_FOR_MS = 5_000;

export interface MonitorOptions {
  readonly discovery: Discovery;
  /** Where we reach a member, and as whom; undefined when that cannot be told now. Must not throw. */
  readonly addressOf: (member: MemberHint) => ServerAddress | undefined;
  /** How connections for statements are made; those for probes are made alike. */
  readonly statements: Omit<DriverSettings, "address">;
  readonly pollEveryMs: number;
  readonly probeTimeoutMs: number;
  readonly bounds: Bounds;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after every answer, with what is known then. */
  readonly onJudged: (status: ClusterStatus) => void;
  readonly onPrimary: (change: PrimaryChange) => void;
}

/**
 * Knows at any time who is the primary and who may be read from. Every server and every Patroni is asked by a loop of
 * its own, so that a frozen one delays nothing; each answer is judged at once together with all the others.
 */
export class ClusterMonitor {
  readonly #options: MonitorOptions;
  readonly #tasks: TaskGroup;
  readonly #watched = new Map<string, WatchedServer>();
  #systemId: string | undefined;
  #timeline: number | undefined;
  #primaryLog: PrimaryLog | undefined;
  /** That of the timeline before. */
  #previousLog: PrimaryLog | undefined;
  /** Changes are told one after another. */
  readonly #telling = new Mutex();
  #history: readonly TimelineSwitch[] = [];
  #status: ClusterStatus;
  #urgentUntil = Number.NEGATIVE_INFINITY;
  #judgedAt: number | undefined;

  constructor(options: MonitorOptions & { readonly systemId?: string | undefined }) {
    this.#options = options;
    this.#systemId = options.systemId;
    this.#tasks = new TaskGroup({ logger: options.logger });
    // Every loop and every question under way listens to it, which is no leak.
    setMaxListeners(0, this.#tasks.signal);
    this.#status = this.#judge();
  }

  /** What is known, as a copy. */
  get status(): ClusterStatus {
    const checkedAgoMs =
      this.#judgedAt === undefined ? undefined : this.#options.clock.monotonicNow() - this.#judgedAt;
    return { ...this.#status, nodes: [...this.#status.nodes], checkedAgoMs };
  }

  /** Promotions that were learnt so far, oldest first. */
  get history(): readonly TimelineSwitch[] {
    return this.#history;
  }

  /** Milliseconds between two questions to one Patroni. */
  readonly askPauseMs = (): number => this.#pause(URGENT_ASK_PAUSE_MS);

  addressOf(name: string): ServerAddress | undefined {
    return this.#watched.get(name)?.address;
  }

  /**
   * The connection on which the server has just said that it takes writes; it is the caller's then. Who waits for a
   * primary is spared the opening of one.
   */
  takePromoted(name: string): VerifiedConnection | undefined {
    return this.#watched.get(name)?.takePromoted();
  }

  /**
   * Why nothing helps but another user, password or database: what one of the servers said, when every one of them has
   * refused us for good. Undefined while one was not asked yet, answers, or may answer soon.
   */
  get refusal(): HoldfastError | undefined {
    const isEachWatched = this.#options.discovery.current.members.every(({ name }) =>
      this.#watched.has(name),
    );
    const refusals = [...this.#watched.values()].map(({ failure }) => failure);
    const isForGood = isEachWatched && refusals.every((each) => isHoldfastError(each) && !each.retryable);
    return isForGood ? (refusals[0] as HoldfastError | undefined) : undefined;
  }

  start(): void {
    this.#options.discovery.start(this.#tasks, () => this.#update());
    this.#update();
  }

  /** Something failed in a way that a change of primary would explain: look now, and often for a while. */
  poke(): void {
    this.pokeServers();
    this.#options.discovery.poke();
  }

  /** As `poke`, without asking Patroni, which is asked as soon as a server has taken over. */
  pokeServers(): void {
    this.#urgentUntil = this.#options.clock.monotonicNow() + URGENT_FOR_MS;
    for (const server of this.#watched.values()) server.poke();
  }

  /** Resolves when every server was asked again, or failed to answer. */
  async refresh(): Promise<void> {
    await this.#options.discovery.refresh();
    this.#update();
    await Promise.all([...this.#watched.values()].map((server) => server.afterNext()));
  }

  /** Asks for the promotions that are on record now. */
  async refreshHistory(signal?: AbortSignal): Promise<readonly TimelineSwitch[]> {
    const either = signal === undefined ? this.#tasks.signal : AbortSignal.any([signal, this.#tasks.signal]);
    const primary = this.#watched.get(this.#status.primary ?? "");
    const timeline = this.#timeline;
    const [fromDiscovery, fromPrimary] = await Promise.all([
      this.#options.discovery.history(either),
      primary === undefined || timeline === undefined ? [] : primary.history(timeline, either),
    ]);
    this.#history = mergeHistories(mergeHistories(this.#history, fromDiscovery), fromPrimary);
    return this.#history;
  }

  async stop(): Promise<void> {
    for (const server of this.#watched.values()) server.stop();
    await this.#tasks.stop();
    await Promise.all([...this.#watched.values()].map((server) => server.close()));
  }

  #pause(urgentMs: number): number {
    const { clock, pollEveryMs } = this.#options;
    const isUrgent = clock.monotonicNow() < this.#urgentUntil || this.#status.primary === undefined;
    return isUrgent ? Math.min(urgentMs, pollEveryMs) : pollEveryMs;
  }

  /** Takes the members that discovery knows now, judges, and tells. */
  #update(): void {
    if (this.#tasks.signal.aborted) return;
    this.#watchMembers(this.#options.discovery.current.members);
    const before = this.#status;
    const timelineBefore = before.timeline;
    this.#status = this.#judge();
    const { primary, timeline } = this.#status;
    if (primary !== before.primary || (primary !== undefined && timeline !== timelineBefore)) {
      const after = this.#status;
      this.#tasks.spawn("tell of the primary", () =>
        this.#telling.run(() => this.#tellPrimary(before.primary, timelineBefore, after)),
      );
    }
    if (primary !== before.primary) this.poke();
    this.#options.onJudged(this.status);
  }

  #judge(): ClusterStatus {
    const { discovery, clock, bounds } = this.#options;
    const { kind, leaders, askedAt, isPaused, scheduledSwitchover } = discovery.current;
    const now = clock.monotonicNow();
    const nodes = [...this.#watched.values()].map(
      (server): ObservedNode => ({
        ...server.observed,
        patroniLag: kind === "none" ? "not-asked" : server.hint.patroniLag,
      }),
    );
    const judged = judge({
      nodes,
      systemId: this.#systemId,
      timeline: this.#timeline,
      leaders,
      leadersAskedAt: askedAt,
      bounds,
      now,
      lagOf: (report, reportedAt) => this.#lagOf(report, reportedAt),
    });
    return {
      ...judged,
      systemId: this.#systemId,
      timeline: this.#timeline,
      healthyCount: judged.nodes.filter(({ health }) => health === "healthy").length,
      isPaused,
      scheduledSwitchover:
        scheduledSwitchover === undefined
          ? undefined
          : { at: scheduledSwitchover.at, to: scheduledSwitchover.to },
      discovery: kind,
      checkedAgoMs: undefined,
    };
  }

  #lagOf(report: NodeReport, reportedAt: number): Lag | undefined {
    return this.#primaryLog?.lagAt(reportedAt, report.lsn);
  }

  #watchMembers(members: readonly MemberHint[]): void {
    for (const hint of members) {
      const known = this.#watched.get(hint.name);
      // One whose address cannot be told stays where it was.
      const address = this.#options.addressOf(hint) ?? known?.address;
      if (address === undefined) continue;
      if (known !== undefined && known.address.host === address.host && known.address.port === address.port) {
        known.hint = hint;
        continue;
      }
      if (known !== undefined) this.#unwatch(known);
      this.#watched.set(hint.name, this.#watch(hint, address));
    }
    const names = new Set(members.map(({ name }) => name));
    for (const watched of this.#watched.values()) {
      // A member that Patroni forgets after its time is still asked as long as it answers.
      if (!names.has(watched.hint.name) && !watched.isAnswering) this.#unwatch(watched);
    }
  }

  #watch(hint: MemberHint, address: ServerAddress): WatchedServer {
    const { clock, statements, pollEveryMs, probeTimeoutMs, logger } = this.#options;
    const server = new WatchedServer({
      hint,
      address,
      statements,
      pollEveryMs,
      probeTimeoutMs,
      clock,
      logger,
      pauseMs: () => this.#pause(URGENT_PAUSE_MS),
      isPrimaryWanted: () => this.#status.primary === undefined,
      onRound: (report, askedAt) => {
        this.#systemId ??= report?.systemId;
        if (report !== undefined && report.systemId === this.#systemId) this.#learn(report, askedAt);
        this.#update();
      },
    });
    server.start(this.#tasks);
    return server;
  }

  #unwatch(server: WatchedServer): void {
    server.stop();
    this.#watched.delete(server.hint.name);
    this.#tasks.spawn("close a probe", () => server.close());
  }

  #learn(report: NodeReport, askedAt: number): void {
    if (report.timeline > (this.#timeline ?? 0)) this.#timeline = report.timeline;
    if (report.inRecovery || report.timeline !== this.#timeline) return;
    // Somebody has taken over: whether by right is for Patroni to say, and now.
    if (this.#primaryLog?.timeline !== report.timeline) this.#options.discovery.poke();
    if (this.#primaryLog?.timeline !== report.timeline) {
      this.#previousLog = this.#primaryLog;
      this.#primaryLog = new PrimaryLog(report.timeline);
    }
    this.#primaryLog.note(askedAt, report.lsn);
  }

  async #tellPrimary(
    from: string | undefined,
    timelineBefore: number | undefined,
    { primary: to, timeline }: ClusterStatus,
  ): Promise<void> {
    const left = this.#previousLog;
    const isNewTimeline = timelineBefore !== undefined && timeline !== undefined && timeline > timelineBefore;
    if (to !== undefined && timeline !== undefined && (isNewTimeline || this.#history.length === 0)) {
      await this.refreshHistory();
    }
    const fork = this.#history.find((each) => each.timeline === left?.timeline)?.forkLsn;
    const seen = left?.lastLsn;
    const change: PrimaryChange = {
      from,
      to,
      timeline,
      forkLsn: to === undefined ? undefined : fork,
      leftBehindBytes:
        to === undefined || fork === undefined || seen === undefined
          ? undefined
          : seen > fork
            ? seen - fork
            : 0n,
    };
    this.#options.logger.info(
      {
        from,
        to,
        ...(fork === undefined || left === undefined
          ? {}
          : { left: formatPosition({ timeline: left.timeline, lsn: fork }) }),
        leftBehindBytes: change.leftBehindBytes?.toString(),
      },
      to === undefined ? "the cluster has no primary" : "the cluster has a primary",
    );
    this.#options.onPrimary(change);
  }
}

/** Whether two conditions are the same to whoever is told of changes. */
export const isSameCondition = (a: ClusterCondition, b: ClusterCondition): boolean =>
  JSON.stringify(a) === JSON.stringify(b);
