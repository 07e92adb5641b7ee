import { type Clock, type Logger, TaskGroup } from "@holdfast/kernel";
import { reportProgress, type TaskProgress } from "@holdfast/protocol/contract";
import { ShardCancelledError } from "../errors.ts";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { ShardUpdate } from "./executor.ts";
import type { HeldShard, HeldShards } from "./held-shards.ts";
import type { JobLeaders } from "./job-leaders.ts";
import type { ManagerLinks } from "./manager-links.ts";
import { attemptName } from "./shard-failure.ts";

export interface ProgressReporterOptions {
  readonly nodeId: string;
  readonly links: ManagerLinks;
  readonly leaders: JobLeaders;
  readonly held: () => HeldShards;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The contract's bound, and a size that fits a frame with room to spare. */
const UPDATES_MAX_COUNT = 1_000;
const UPDATES_MAX_BYTES = 2 * 1024 * 1024;
/** Most that waits for one manager; beyond it the oldest is dropped: live figures are volatile, results are not. */
const WAITING_MAX_COUNT = 10_000;
const WAITING_MAX_BYTES = 16 * 1024 * 1024;
/** A report that is not answered is repeated this often, under the same number, then dropped. */
const TRIES_MAX_COUNT = 3;
const REPORT_TIMEOUT_MS = 5_000;
const PROGRESS_EVERY_DEFAULT_MS = 250;

interface Waiting {
  readonly held: HeldShard;
  readonly update: TaskProgress;
  readonly sizeBytes: number;
  /** Called once, when the update is on its way, was dropped, or nobody knows when it will leave. */
  onSent: (() => void) | undefined;
}

/** What goes to one manager, in order, one report in flight at a time. */
interface Lane {
  waiting: Waiting[];
  waitingBytes: number;
  isBusy: boolean;
  sequence: number;
  /** Not before, monotonic: the manager asked for a pause. */
  notBefore: number;
}

/**
 * Sends what running attempts tell of themselves to the leaders of their jobs. Differences add up: an attempt
 * is asked for its next update only when the one before was sent, so a slow manager gets fewer, larger ones.
 */
export class ProgressReporter {
  readonly #options: ProgressReporterOptions;
  readonly #tasks: TaskGroup;
  readonly #lanes = new Map<string, Lane>();
  #droppedCount = 0;

  constructor(options: ProgressReporterOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  /** Updates that were dropped because no leader took them in time. */
  get droppedCount(): number {
    return this.#droppedCount;
  }

  /** Asks running attempts for updates, every `progressEveryMs` of the managers. @throws signal.reason when aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, links, held } = this.#options;
    for (;;) {
      // Nothing runs, nothing to ask for; what still waits for a manager is sent when that is ready.
      if (!this.#hasWaiting) await held().whenBusy({ signal });
      await clock.sleep(links.cadence?.progressEveryMs ?? PROGRESS_EVERY_DEFAULT_MS, { signal });
      for (const claim of held().all) {
        if (claim.state === "running" && !claim.isUpdatePending) claim.execution?.collect();
      }
      for (const [manager, lane] of this.#lanes) this.#kick(manager, lane);
    }
  }

  /**
   * Takes an update in. `onSent` is called when it is on its way or was dropped: what is sent to the same
   * manager after that arrives after it. It is also called as soon as nobody knows when the update will leave: the leader
   * cannot be reached, or asked for a pause.
   */
  add(held: HeldShard, { logs, ...update }: ShardUpdate, onSent?: () => void): void {
    const { taskId, token, jobId, workflowId, shard } = held.assignment;
    const leader = this.#options.leaders.of(jobId);
    if (leader === undefined) {
      onSent?.();
      return;
    }
    held.isUpdatePending = true;
    const lane = this.#laneOf(leader.nodeId);
    const progress = { taskId, token, jobId, workflowId, shard, ...update, logs: [...logs] };
    this.#put(lane, { held, update: progress, sizeBytes: approximateBytes(progress), onSent });
    this.#kick(leader.nodeId, lane);
  }

  /** What waits for the former leader of a job goes to the new one. */
  reroute(jobId: string): void {
    const leader = this.#options.leaders.of(jobId);
    if (leader === undefined) return;
    for (const [manager, lane] of this.#lanes) {
      if (manager === leader.nodeId) continue;
      const moved = lane.waiting.filter(({ update }) => update.jobId === jobId);
      if (moved.length === 0) continue;
      lane.waiting = lane.waiting.filter(({ update }) => update.jobId !== jobId);
      lane.waitingBytes = bytesOf(lane.waiting);
      const target = this.#laneOf(leader.nodeId);
      for (const item of moved) this.#put(target, item);
      this.#kick(leader.nodeId, target);
    }
  }

  /** A manager is ready (again): send what waits for it. */
  kick(manager: string): void {
    const lane = this.#lanes.get(manager);
    if (lane !== undefined) this.#kick(manager, lane);
  }

  async close(): Promise<void> {
    await this.#tasks.stop();
  }

  get #hasWaiting(): boolean {
    return [...this.#lanes.values()].some(({ waiting }) => waiting.length > 0);
  }

  #laneOf(manager: string): Lane {
    let lane = this.#lanes.get(manager);
    if (lane === undefined) {
      // A worker that starts again under its name must go on above the numbers that its managers have seen.
      lane = {
        waiting: [],
        waitingBytes: 0,
        isBusy: false,
        sequence: this.#options.clock.wallNow(),
        notBefore: 0,
      };
      this.#lanes.set(manager, lane);
    }
    return lane;
  }

  /** Whether what is added now leaves soon. */
  #isOpen(manager: string, lane: Lane): boolean {
    return this.#options.clock.monotonicNow() >= lane.notBefore && this.#isReady(manager);
  }

  #isReady(manager: string): boolean {
    return this.#options.links.ready.some(({ nodeId }) => nodeId === manager);
  }

  #put(lane: Lane, item: Waiting): void {
    lane.waiting.push(item);
    lane.waitingBytes += item.sizeBytes;
    while (lane.waiting.length > WAITING_MAX_COUNT || lane.waitingBytes > WAITING_MAX_BYTES) {
      const oldest = lane.waiting.splice(0, 1);
      lane.waitingBytes -= bytesOf(oldest);
      this.#drop(oldest);
    }
  }

  #kick(manager: string, lane: Lane): void {
    if (lane.isBusy || lane.waiting.length === 0) return;
    if (!this.#isOpen(manager, lane)) {
      letFollow(lane.waiting);
      if (!this.#isReady(manager)) this.#dropAbandoned(lane);
      // Starts a connection to a leader that was not known; the tick comes back to it.
      const leader = this.#options.leaders.of(lane.waiting[0]?.update.jobId ?? "");
      if (leader !== undefined) this.#options.links.of(leader);
      return;
    }
    lane.isBusy = true;
    this.#tasks.spawn(`progress to ${manager}`, async (signal) => {
      try {
        while (lane.waiting.length > 0 && this.#options.clock.monotonicNow() >= lane.notBefore) {
          const sent = await this.#send(manager, lane, takeBatch(lane), signal);
          if (!sent) return;
        }
      } finally {
        lane.isBusy = false;
        if (!signal.aborted) letFollow(lane.waiting);
      }
    });
  }

  /** Of jobs that this worker has no shard of any more: nobody will say who leads them, so nobody takes them. */
  #dropAbandoned(lane: Lane): void {
    const { leaders } = this.#options;
    const abandoned = lane.waiting.filter(({ update }) => leaders.of(update.jobId) === undefined);
    if (abandoned.length === 0) return;
    lane.waiting = lane.waiting.filter(({ update }) => leaders.of(update.jobId) !== undefined);
    lane.waitingBytes = bytesOf(lane.waiting);
    this.#drop(abandoned);
  }

  /** False when the manager is gone: what was taken is dropped, the rest waits. */
  async #send(manager: string, lane: Lane, batch: Waiting[], signal: AbortSignal): Promise<boolean> {
    const { nodeId, links, logger, clock } = this.#options;
    lane.sequence += 1;
    const report = { nodeId, sequence: lane.sequence, updates: batch.map(({ update }) => update) };
    for (let attempt = 1; attempt <= TRIES_MAX_COUNT; attempt += 1) {
      const peer = links.ready.find((ready) => ready.nodeId === manager)?.peer;
      if (peer === undefined) break;
      try {
        const answer = peer.request(reportProgress, report, { signal, timeoutMs: REPORT_TIMEOUT_MS });
        if (attempt === 1) letFollow(batch);
        const { delayMs, cancelled } = await answer;
        for (const { held } of batch) held.isUpdatePending = false;
        if (delayMs > 0) lane.notBefore = clock.monotonicNow() + delayMs;
        this.#cancel(cancelled);
        return true;
      } catch (error) {
        signal.throwIfAborted();
        logger.debug({ err: error, manager, attempt }, "a progress report was not answered");
      }
    }
    this.#drop(batch);
    return false;
  }

  #drop(batch: Waiting[]): void {
    this.#droppedCount += batch.length;
    for (const { held } of batch) held.isUpdatePending = false;
    letFollow(batch);
  }

  #cancel(taskIds: readonly string[]): void {
    const held = this.#options.held();
    for (const taskId of taskIds) {
      const claim = held.find(taskId);
      if (claim !== undefined) held.stop(claim, new ShardCancelledError(attemptName(claim.assignment), ""));
    }
  }
}

/** Holds back no longer what comes after these updates. */
const letFollow = (items: readonly Waiting[]): void => {
  for (const item of items) {
    const { onSent } = item;
    item.onSent = undefined;
    onSent?.();
  }
};

const takeBatch = (lane: Lane): Waiting[] => {
  let sizeBytes = 0;
  let count = 0;
  for (const item of lane.waiting) {
    sizeBytes += item.sizeBytes;
    if (count > 0 && (count >= UPDATES_MAX_COUNT || sizeBytes > UPDATES_MAX_BYTES)) break;
    count += 1;
  }
  const batch = lane.waiting.splice(0, count);
  lane.waitingBytes -= bytesOf(batch);
  return batch;
};

const bytesOf = (items: readonly Waiting[]): number =>
  items.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
