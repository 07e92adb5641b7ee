import {
  type Clock,
  isHoldfastError,
  type Logger,
  type Random,
  TaskGroup,
  type Timer,
} from "@holdfast/kernel";
import { type Leader, reportOutcomes, type TaskOutcome } from "@holdfast/protocol/contract";
import { exponentialBackoff } from "@holdfast/resilience";
import { InvalidOutputError } from "../errors.ts";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { HeldShard } from "./held-shards.ts";
import type { JobLeaders } from "./job-leaders.ts";
import type { ManagerLinks, ReadyManager } from "./manager-links.ts";
import { failureOf } from "./shard-failure.ts";

export interface OutcomeReporterOptions {
  readonly nodeId: string;
  readonly links: ManagerLinks;
  readonly leaders: JobLeaders;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The outcome is accepted, or nobody wants it any more. */
  readonly onSettled: (held: HeldShard) => void;
}

/** The contract's bound, and a size that fits a frame with room to spare. */
const OUTCOMES_MAX_COUNT = 1_000;
const OUTCOMES_MAX_BYTES = 4 * 1024 * 1024;
/** Above this the worker claims nothing more, so that undelivered results stay bounded. Nothing is ever dropped for it. */
const WAITING_MAX_COUNT = 2_000;
const WAITING_MAX_BYTES = 64 * 1024 * 1024;
const REPORT_TIMEOUT_MS = 10_000;
/** Redirects followed at once; more means that the managers do not agree yet, so we wait. */
const REDIRECTS_MAX_COUNT = 3;

/** What cannot travel today cannot travel tomorrow. Every other failure may pass, so the outcome is kept. */
const REFUSED_CODES = ["PROTOCOL_INVALID_MESSAGE", "PROTOCOL_FRAME_TOO_LARGE", "PROTOCOL_SERIALIZATION"];

const backoff = exponentialBackoff({ baseMs: 100, capMs: 5_000 });

/** One outcome on its way. */
interface Parcel {
  readonly held: HeldShard;
  outcome: TaskOutcome;
  sizeBytes: number;
  failureCount: number;
  redirectCount: number;
  /** The manager that failed last: another one is tried first. */
  avoid: string | undefined;
  /** Sent alone, because a batch that contained it was refused as a whole. */
  isAlone: boolean;
  /** Not before, monotonic. */
  notBefore: number;
}

interface Lane {
  queue: Parcel[];
  isBusy: boolean;
}

/**
 * Delivers outcomes to the leaders of their jobs: batched by what waits, one report in flight per manager. It
 * follows redirects, turns to other managers when the leader is gone, and keeps an outcome until it is
 * accepted or stale.
 *
 * Bound: with 2000 outcomes or 64 MiB waiting `isFull` holds and the worker claims no more work.
 */
export class OutcomeReporter {
  readonly #options: OutcomeReporterOptions;
  readonly #tasks: TaskGroup;
  readonly #lanes = new Map<string, Lane>();
  /** Without a manager that takes them now. */
  readonly #stranded = new Set<Parcel>();
  #timer: Timer | undefined;
  #count = 0;
  #bytes = 0;

  constructor(options: OutcomeReporterOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  get waitingCount(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count >= WAITING_MAX_COUNT || this.#bytes >= WAITING_MAX_BYTES;
  }

  add(held: HeldShard, outcome: TaskOutcome): void {
    const sizeBytes = approximateBytes(outcome);
    this.#count += 1;
    this.#bytes += sizeBytes;
    this.#route({
      held,
      outcome,
      sizeBytes,
      failureCount: 0,
      redirectCount: 0,
      avoid: undefined,
      isAlone: false,
      notBefore: 0,
    });
  }

  /** Something changed for the better: a manager is ready, or a job has a new leader. */
  retryNow(jobId?: string): void {
    for (const parcel of [...this.#stranded]) {
      if (jobId !== undefined && parcel.outcome.jobId !== jobId) continue;
      this.#stranded.delete(parcel);
      parcel.avoid = undefined;
      this.#route(parcel);
    }
  }

  /** Drops what waits; claims lapse and their shards run again elsewhere. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#tasks.stop();
  }

  #route(parcel: Parcel): void {
    const manager = this.#targetOf(parcel);
    if (manager === undefined) {
      this.#strand(parcel);
      return;
    }
    let lane = this.#lanes.get(manager.nodeId);
    if (lane === undefined) {
      lane = { queue: [], isBusy: false };
      this.#lanes.set(manager.nodeId, lane);
    }
    lane.queue.push(parcel);
    this.#kick(manager.nodeId, lane);
  }

  #targetOf({ outcome, avoid }: Parcel): ReadyManager | undefined {
    const { leaders, links } = this.#options;
    const leader = leaders.of(outcome.jobId);
    const ofLeader = leader === undefined ? undefined : links.of(leader);
    return ofLeader !== undefined && ofLeader.nodeId !== avoid ? ofLeader : links.next(avoid);
  }

  #kick(manager: string, lane: Lane): void {
    if (lane.isBusy) return;
    lane.isBusy = true;
    this.#tasks.spawn(`outcomes to ${manager}`, async (signal) => {
      try {
        // What ends in this turn joins the first report.
        await Promise.resolve();
        while (lane.queue.length > 0) await this.#send(manager, takeBatch(lane), signal);
      } finally {
        lane.isBusy = false;
      }
    });
  }

  async #send(manager: string, batch: readonly Parcel[], signal: AbortSignal): Promise<void> {
    const { links, nodeId, logger } = this.#options;
    const peer = links.ready.find((ready) => ready.nodeId === manager)?.peer;
    if (peer === undefined) {
      for (const parcel of batch) this.#retry(parcel, manager);
      return;
    }
    try {
      const { results } = await peer.request(
        reportOutcomes,
        { nodeId, outcomes: batch.map(({ outcome }) => outcome) },
        { signal, timeoutMs: REPORT_TIMEOUT_MS },
      );
      const byTask = new Map(results.map((result) => [result.taskId, result]));
      for (const parcel of batch) {
        const result = byTask.get(parcel.outcome.taskId);
        if (result === undefined) this.#retry(parcel, manager);
        else if (result.outcome === "not-leader") this.#redirect(parcel, manager, result.leader);
        else this.#settle(parcel);
      }
    } catch (error) {
      signal.throwIfAborted();
      logger.warn({ err: error, manager, count: batch.length }, "outcomes were not taken; trying again");
      const isRefused = isHoldfastError(error) && REFUSED_CODES.includes(error.code);
      for (const parcel of batch) {
        if (isRefused) this.#onRefused(parcel, manager, error);
        else this.#retry(parcel, manager);
      }
    }
  }

  #settle(parcel: Parcel): void {
    this.#count -= 1;
    this.#bytes -= parcel.sizeBytes;
    this.#options.onSettled(parcel.held);
  }

  #redirect(parcel: Parcel, manager: string, leader: Leader | undefined): void {
    if (leader !== undefined) this.#options.leaders.update(parcel.outcome.jobId, leader);
    const known = this.#options.leaders.of(parcel.outcome.jobId);
    if (known === undefined || known.nodeId === manager || parcel.redirectCount >= REDIRECTS_MAX_COUNT) {
      parcel.redirectCount = 0;
      this.#retry(parcel, manager);
      return;
    }
    parcel.redirectCount += 1;
    parcel.avoid = manager;
    this.#route(parcel);
  }

  /** A report that a manager can never take: find the outcome at fault, and say so in its place. */
  #onRefused(parcel: Parcel, manager: string, error: Error): void {
    if (!parcel.isAlone) {
      parcel.isAlone = true;
      this.#retry(parcel, manager);
      return;
    }
    const { outcome, held } = parcel;
    if (outcome.kind === "failed") {
      const { taskId } = outcome;
      this.#options.logger.error(
        { err: error, task: taskId },
        "an outcome is refused for good; its claim will lapse",
      );
      this.#settle(parcel);
      return;
    }
    const { taskId, token, jobId, workflowId, shard } = outcome;
    const failure = failureOf(
      new InvalidOutputError(held.assignment.workflow, `was refused by manager ${manager}: ${error.message}`),
    );
    parcel.outcome = { kind: "failed", taskId, token, jobId, workflowId, shard, ...failure };
    this.#retry(parcel, manager);
  }

  /** Later, and elsewhere if there is elsewhere. */
  #retry(parcel: Parcel, manager: string): void {
    const { clock, random } = this.#options;
    parcel.failureCount += 1;
    parcel.avoid = manager;
    parcel.notBefore = clock.monotonicNow() + backoff.delayMs(parcel.failureCount, undefined, random);
    this.#strand(parcel);
  }

  #strand(parcel: Parcel): void {
    this.#stranded.add(parcel);
    this.#setTimer();
  }

  #setTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#stranded.size === 0 || this.#tasks.signal.aborted || this.#options.links.ready.length === 0)
      return;
    const { clock } = this.#options;
    const earliest = [...this.#stranded].reduce(
      (least, { notBefore }) => Math.min(least, notBefore),
      Infinity,
    );
    this.#timer = clock.schedule(Math.max(1, earliest - clock.monotonicNow()), () => {
      const now = clock.monotonicNow();
      for (const parcel of [...this.#stranded]) {
        if (parcel.notBefore > now) continue;
        this.#stranded.delete(parcel);
        this.#route(parcel);
      }
      this.#setTimer();
    });
  }
}

const takeBatch = (lane: Lane): readonly Parcel[] => {
  let sizeBytes = 0;
  let count = 0;
  for (const parcel of lane.queue) {
    sizeBytes += parcel.sizeBytes;
    const isFull = count >= OUTCOMES_MAX_COUNT || sizeBytes > OUTCOMES_MAX_BYTES || parcel.isAlone;
    if (count > 0 && isFull) break;
    count += 1;
    if (parcel.isAlone) break;
  }
  return lane.queue.splice(0, count);
};
