import { type Abortable, type Clock, childController, type Logger } from "@holdfast/kernel";
import { integerOption } from "../sql/integer-option.ts";
import type { ClusterRouter } from "./cluster-database.ts";
import { SwitchoverRefusedError } from "./cluster-errors.ts";
import type { ClusterStatus, SwitchoverReport } from "./cluster-status.ts";
import { bestCandidate } from "./judge.ts";
import type { NodePool } from "./node-pools.ts";
import type { PatroniClient, PatroniSettings, SwitchoverAnswer } from "./patroni-client.ts";

/** An abort before the moment of a switchover takes it back; after it, it may still come, and writes are held back no longer. */
export interface SwitchoverOptions extends Abortable {
  /** The node to lead. Default: the healthy replica that Patroni prefers. */
  readonly candidate?: string | undefined;
  /** Milliseconds that writes may be held back in all, 1_000 to 600_000. Default 15_000. Then they go on, wherever. */
  readonly pauseMaxMs?: number | undefined;
}

/**
 * How far ahead the moment is set, once the leader knows of it: it sleeps towards it from less than `loop_wait` (a
 * second at least) on, which takes its own preparations out of the pause.
 */
const SCHEDULE_AHEAD_MS = 900;
/** Writes are held back at least so long before the moment. */
const LEAD_MIN_MS = 20;
/** Work that took longer lately is not waited for: the pause would be felt. */
const LEAD_MAX_MS = 500;
/** So soon that the first write still finds the connection on which the new primary told of its promotion. */
const LOOK_EVERY_MS = 2;

/** How a switchover is asked for. */
interface Plan extends SwitchoverOptions {
  /** The primary's own Patroni, which acts on the wish at once; where it does not answer us, those that do. */
  readonly askable: readonly PatroniClient[];
  readonly aheadMs: number;
}

/**
 * Hands leadership over with the help of Patroni while writes of this process wait: nothing that runs through this
 * router fails. The moment is agreed on in advance by the primary's own clock; just before it writes are held back and
 * those under way end, so that the servers' work is the only part of the pause.
 */
export class Switchover {
  readonly #router: ClusterRouter;
  readonly #clients: readonly PatroniClient[];
  readonly #clock: Clock;
  readonly #logger: Logger;
  #isUnderWay = false;

  constructor(options: {
    readonly router: ClusterRouter;
    readonly clients: readonly PatroniClient[];
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#router = options.router;
    this.#clients = options.clients;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  /**
   * @throws SwitchoverRefusedError when it did not happen: the old primary goes on, and writes with it. Retryable.
   */
  async run(wish: SwitchoverOptions): Promise<SwitchoverReport> {
    const pauseMaxMs = readPauseMax(wish);
    const from = this.#refuseUnlessReady(wish.candidate);
    this.#isUnderWay = true;
    try {
      return await this.#handOver(from, wish, pauseMaxMs);
    } finally {
      this.#isUnderWay = false;
    }
  }

  async #handOver(from: NodePool, wish: SwitchoverOptions, pauseMaxMs: number): Promise<SwitchoverReport> {
    const settings = await this.#first((client) => client.settings({ signal: wish.signal }), wish.signal);
    const options = await this.#choose(wish, settings);
    const { askable, isLeaders } = await this.#askable(wish.signal);
    // The shutdown checkpoint is short when there was one just before. Not everybody may ask for one.
    await from.database.execute("CHECKPOINT", undefined, { timeoutMs: 10_000 }).catch(() => undefined);
    const isScheduled = !this.#router.parts.monitor.status.isPaused;
    const plan: Plan = {
      ...options,
      askable,
      // From another node's Patroni the leader learns of the wish in its next round only.
      aheadMs: SCHEDULE_AHEAD_MS + (isLeaders ? 0 : settings.loopWaitMs),
    };
    return isScheduled ? this.#atAgreedMoment(from, plan, pauseMaxMs) : this.#atOnce(from, plan, pauseMaxMs);
  }

  /**
   * Has a replica promoted when the primary is gone and nobody does it: automatic failover is paused, or Patroni sees
   * no candidate that confirms commits. Fencing is Patroni's: the key of the leader, which the lost one cannot renew.
   * @throws SwitchoverRefusedError while the primary is well, without a candidate, or without Patroni.
   */
  async failOver(options: SwitchoverOptions): Promise<SwitchoverReport> {
    const timeoutMs = readPauseMax(options);
    this.#refuseWithoutPatroni();
    const { monitor } = this.#router.parts;
    const { status } = monitor;
    if (status.primary !== undefined) {
      const reason = `${status.primary} is the primary and well: use a switchover`;
      throw new SwitchoverRefusedError(reason, { retryable: false });
    }
    if (options.candidate !== undefined) refuseUnfit(status, "", options.candidate);
    const candidate = options.candidate ?? bestCandidate(status.nodes, status.timeline)?.name;
    if (candidate === undefined) throw new SwitchoverRefusedError("no healthy replica could be promoted");
    const startedAt = this.#clock.monotonicNow();
    const answer = await this.#first(
      (client) => client.failover(candidate, { signal: options.signal, timeoutMs }),
      options.signal,
    );
    if (answer.kind !== "done") throw new SwitchoverRefusedError(`${answer.kind}: ${answer.message}`);
    while (monitor.status.primary === undefined) {
      const pausedMs = this.#clock.monotonicNow() - startedAt;
      if (pausedMs > timeoutMs)
        throw new SwitchoverRefusedError(`${candidate} did not lead within ${timeoutMs} ms`);
      monitor.poke();
      await this.#clock.sleep(LOOK_EVERY_MS, { signal: options.signal });
    }
    return {
      from: "",
      to: monitor.status.primary ?? candidate,
      timeline: monitor.status.timeline ?? 0,
      pausedMs: this.#clock.monotonicNow() - startedAt,
      waitedCount: 0,
      lateCount: 0,
    };
  }

  async #atAgreedMoment(from: NodePool, plan: Plan, pauseMaxMs: number): Promise<SwitchoverReport> {
    const { signal } = plan;
    const askedAt = this.#clock.monotonicNow();
    const { rows } = await from.database.execute<{ at: string }>(
      "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8::text AS at",
      [],
      { signal, timeoutMs: 5_000 },
    );
    // By the half of the round trip, as clocks are always compared.
    const serverNow = Number(rows[0]?.at) + (this.#clock.monotonicNow() - askedAt) / 2;
    const readAt = this.#clock.monotonicNow();
    const scheduledAt = new Date(Math.ceil(serverNow) + plan.aheadMs).toISOString();
    const answer = await this.#ask(plan, { leader: from.identity.name, scheduledAt });
    if (answer.kind !== "scheduled") throw new SwitchoverRefusedError(`${answer.kind}: ${answer.message}`);
    const momentAt = readAt + (Date.parse(scheduledAt) - serverNow);
    const leadMs = Math.min(LEAD_MAX_MS, Math.max(LEAD_MIN_MS, this.#router.gate.longestUseMs * 1.2 + 10));
    const takePart = async (): Promise<number> => {
      await this.#router.gate.drain(Math.max(0, momentAt - this.#clock.monotonicNow()));
      const lateCount = this.#router.gate.insideCount;
      // A switchover that Patroni has dropped shows by the primary being the same, with nothing scheduled, a while after.
      const isDropped = (): boolean =>
        this.#clock.monotonicNow() > momentAt + 3_000 &&
        this.#router.parts.monitor.status.scheduledSwitchover === undefined &&
        this.#router.parts.monitor.status.primary === from.identity.name;
      await this.#untilNewPrimary(from, pauseMaxMs, signal, isDropped);
      return lateCount;
    };
    try {
      await this.#clock.sleep(momentAt - leadMs - this.#clock.monotonicNow(), { signal });
      return await this.#paused(from, pauseMaxMs, takePart);
    } catch (error) {
      // It must not come when nobody holds writes back for it any more. None may be left to take back.
      await this.#first((client) => client.cancelSwitchover(), undefined, plan.askable).catch(() => false);
      throw error;
    }
  }

  async #atOnce(from: NodePool, plan: Plan, pauseMaxMs: number): Promise<SwitchoverReport> {
    return this.#paused(from, pauseMaxMs, async () => {
      await this.#router.gate.drain(LEAD_MAX_MS);
      const lateCount = this.#router.gate.insideCount;
      let answer: SwitchoverAnswer | undefined;
      const stop = childController(plan.signal);
      const wish = { leader: from.identity.name };
      const asking = this.#ask({ ...plan, signal: stop.signal }, wish, pauseMaxMs).then(
        (given) => {
          answer = given;
        },
        () => undefined,
      );
      try {
        await this.#untilNewPrimary(from, pauseMaxMs, plan.signal, () => {
          if (answer === undefined || answer.kind === "done") return false;
          throw new SwitchoverRefusedError(`${answer.kind}: ${answer.message}`);
        });
      } finally {
        stop.abort();
        stop.dispose();
        await asking;
      }
      return lateCount;
    });
  }

  /** Holds writes back while `body` runs; whatever it does, they go on afterwards. */
  async #paused(from: NodePool, pauseMaxMs: number, body: () => Promise<number>): Promise<SwitchoverReport> {
    const { gate, parts } = this.#router;
    const pausedAt = this.#clock.monotonicNow();
    let waitedCount = 0;
    gate.pause();
    const limit = this.#clock.schedule(pauseMaxMs, () => gate.resume());
    try {
      const lateCount = await body();
      waitedCount = gate.waitingCount;
      gate.resume();
      const pausedMs = this.#clock.monotonicNow() - pausedAt;
      const { primary, timeline } = parts.monitor.status;
      const report = {
        from: from.identity.name,
        to: primary ?? "",
        timeline: timeline ?? 0,
        pausedMs,
        waitedCount,
        lateCount,
      };
      this.#logger.info(report, "switched over");
      return report;
    } finally {
      limit.cancel();
      gate.resume();
    }
  }

  async #untilNewPrimary(
    from: NodePool,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    isDropped: () => boolean,
  ): Promise<void> {
    const { monitor } = this.#router.parts;
    const startedAt = this.#clock.monotonicNow();
    for (;;) {
      const { primary, timeline } = monitor.status;
      if (primary !== undefined && primary !== from.identity.name && (timeline ?? 0) > from.identity.timeline)
        return;
      if (isDropped())
        throw new SwitchoverRefusedError("Patroni dropped it, for example for want of a healthy candidate");
      if (this.#clock.monotonicNow() - startedAt >= timeoutMs) {
        throw new SwitchoverRefusedError(`no other node led within ${timeoutMs} ms`);
      }
      monitor.pokeServers();
      await this.#clock.sleep(LOOK_EVERY_MS, { signal });
    }
  }

  #refuseUnlessReady(candidate: string | undefined): NodePool {
    const { gate, parts } = this.#router;
    const { status } = parts.monitor;
    if (this.#clients.length === 0) {
      throw new SwitchoverRefusedError(
        'it takes Patroni: open the cluster with discovery { kind: "patroni" }',
        {
          retryable: false,
        },
      );
    }
    if (this.#isUnderWay) throw new SwitchoverRefusedError("another one is under way");
    if (gate.target === undefined) throw new SwitchoverRefusedError("there is no primary");
    refuseUnfit(status, gate.target.identity.name, candidate);
    return gate.target;
  }

  #refuseWithoutPatroni(): void {
    if (this.#clients.length > 0) return;
    throw new SwitchoverRefusedError(
      'it takes Patroni: open the cluster with discovery { kind: "patroni" }',
      {
        retryable: false,
      },
    );
  }

  /**
   * Names the candidate: of those that confirm commits where replication is synchronous, since only such a one can take
   * over without losing any; otherwise the replica that has received most.
   */
  async #choose(wish: SwitchoverOptions, { isSynchronous }: PatroniSettings): Promise<SwitchoverOptions> {
    const { candidate, signal } = wish;
    const { nodes, timeline } = this.#router.parts.monitor.status;
    if (!isSynchronous) return { ...wish, candidate: candidate ?? bestCandidate(nodes, timeline)?.name };
    const { members } = await this.#first((client) => client.cluster({ signal }), signal);
    const fit = members
      .filter(({ role }) => role === "sync_standby" || role === "quorum_standby")
      .map(({ name }) => name);
    if (fit.length === 0) throw new SwitchoverRefusedError("no replica confirms commits yet");
    if (candidate !== undefined && !fit.includes(candidate)) {
      throw new SwitchoverRefusedError(
        `${candidate} does not confirm commits, so it may lack some; ${fit.join(" and ")} may lead`,
      );
    }
    const best = bestCandidate(
      nodes.filter(({ name }) => fit.includes(name)),
      timeline,
    );
    return { ...wish, candidate: candidate ?? best?.name ?? fit[0] };
  }

  /** The one Patroni that says that it leads; when none does within the time of an answer, all that answer. */
  async #askable(
    signal: AbortSignal | undefined,
  ): Promise<{ readonly askable: readonly PatroniClient[]; readonly isLeaders: boolean }> {
    const others: PatroniClient[] = [];
    const checks = this.#clients.map(async (client) => {
      if ((await client.check("/primary", { signal })) === 200) return client;
      others.push(client);
      throw new Error("it does not lead");
    });
    const leader = await Promise.any(checks).catch(() => undefined);
    return leader === undefined
      ? { askable: others, isLeaders: false }
      : { askable: [leader], isLeaders: true };
  }

  #ask(
    { askable, candidate, signal }: Plan,
    wish: Parameters<PatroniClient["switchover"]>[0],
    timeoutMs?: number,
  ): Promise<SwitchoverAnswer> {
    const limits = { signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
    return this.#first((client) => client.switchover({ ...wish, candidate }, limits), signal, askable);
  }

  /** Asks one Patroni after another until one answers. */
  async #first<T>(
    ask: (client: PatroniClient) => Promise<T>,
    signal: AbortSignal | undefined,
    clients = this.#clients,
  ): Promise<T> {
    let problem: unknown;
    for (const client of clients) {
      signal?.throwIfAborted();
      try {
        return await ask(client);
      } catch (error) {
        problem = error;
      }
    }
    signal?.throwIfAborted();
    throw new SwitchoverRefusedError("no Patroni answered", { cause: problem });
  }
}

/** @throws InvalidInputError */
const readPauseMax = ({ pauseMaxMs = 15_000 }: SwitchoverOptions): number =>
  integerOption("pauseMaxMs", pauseMaxMs, 1_000, 600_000);

const refuseUnfit = (status: ClusterStatus, primary: string, candidate: string | undefined): void => {
  if (candidate === undefined) return;
  if (candidate === primary)
    throw new SwitchoverRefusedError(`${candidate} is the primary already`, { retryable: false });
  const node = status.nodes.find(({ name }) => name === candidate);
  if (node === undefined) {
    throw new SwitchoverRefusedError(`there is no node ${candidate}`, { retryable: false });
  }
  if (node.health !== "healthy" || node.role !== "replica") {
    throw new SwitchoverRefusedError(
      `${candidate} is ${node.health}${node.problem === undefined ? "" : ` (${node.problem})`}`,
    );
  }
};
