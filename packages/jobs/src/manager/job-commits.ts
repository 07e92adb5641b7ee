import { type Clock, hasCode, isHoldfastError, type Logger } from "@holdfast/kernel";
import { NodeNotReadyError } from "../errors.ts";
import type { JobStore } from "../model/job-table.ts";
import { CommitLoop } from "../node/commit-loop.ts";
import type { Change, ChangeOutcome } from "./changes.ts";
import { CommitBatch, DeposedSignal, type JobDraft } from "./commit-batch.ts";
import type { JobState } from "./job-state.ts";
import type { LedJob } from "./led-job.ts";
import type { LedJobs } from "./led-jobs.ts";

export interface JobCommitsOptions {
  readonly nodeId: string;
  readonly store: JobStore;
  readonly led: LedJobs;
  readonly create: (state: JobState, ownerId: string) => LedJob;
  readonly ownerId: () => string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly pendingMaxCount: number;
  /** A job's part of a batch is committed: tell those who wait for it. Called in the order of the batches. */
  readonly onCommitted: (draft: JobDraft) => void;
}

/** A batch that met a rival leader or a deadlock is tried again with what is then known, at most this often. */
const TRIES_MAX_COUNT = 4;
/** Shards enqueued in one transaction; a job of ten thousand goes alone. */
const BATCH_MAX_WEIGHT = 10_000;

/**
 * Everything that this manager writes about jobs, in the order in which it was decided. A change is decided
 * only on a state that is known to be the stored one, and written only under the job's fence.
 */
export class JobCommits {
  readonly #options: JobCommitsOptions;
  readonly #loop: CommitLoop<Change, ChangeOutcome>;
  #deposedCount = 0;

  constructor(options: JobCommitsOptions) {
    this.#options = options;
    this.#loop = new CommitLoop({
      name: `the commits of ${options.nodeId}`,
      logger: options.logger,
      pendingMaxCount: options.pendingMaxCount,
      commit: (changes) => this.#commit(changes),
      onFailure: (changes) => options.led.doubt(new Set(changes.map(({ jobId }) => jobId))),
      mayBeOneItem: (error) => !(isHoldfastError(error) && error.retryable),
      weigh,
      batchMaxWeight: BATCH_MAX_WEIGHT,
    });
  }

  /** Changes that wait for the next transaction. */
  get pendingCount(): number {
    return this.#loop.pendingCount;
  }

  /** How full the waiting line is, 0 to 1. */
  get fill(): number {
    return this.#loop.fill;
  }

  /** `deposed`: how often a write was refused because the job was led by another by then. */
  get stats(): {
    readonly batches: number;
    readonly items: number;
    readonly failures: number;
    readonly deposed: number;
  } {
    return { ...this.#loop.stats, deposed: this.#deposedCount };
  }

  /**
   * Resolves once the change is committed, or is known to be void.
   * @throws OverloadedError, ClosedError, NodeNotReadyError while the node's lease is lost, and what the store
   * throws; nothing is known about the change after OutcomeUnknownError.
   */
  add(change: Change): Promise<ChangeOutcome> {
    return this.#loop.add(change);
  }

  close(): Promise<void> {
    return this.#loop.close();
  }

  async #commit(changes: readonly Change[]): Promise<readonly (ChangeOutcome | Error)[]> {
    const { store, led, clock, logger, nodeId, onCommitted, create } = this.#options;
    const jobIds = [...new Set(changes.map(({ jobId }) => jobId))];
    for (let attempt = 1; ; attempt += 1) {
      await led.settle(jobIds);
      const ownerId = this.#options.ownerId();
      if (ownerId === undefined) {
        throw new NodeNotReadyError(nodeId, "it has no lease in its store", { retryAfterMs: 500 });
      }
      const batch = new CommitBatch(
        {
          store,
          led: (jobId) => led.get(jobId),
          create: (state) => create(state, ownerId),
          now: () => ({ wall: clock.wallNow(), monotonic: clock.monotonicNow() }),
        },
        changes,
      );
      try {
        const outcomes = await store.coordination.transaction((tx) => batch.run(tx));
        for (const draft of batch.drafts) onCommitted(draft);
        return outcomes;
      } catch (error) {
        led.doubt(jobIds);
        if (error instanceof DeposedSignal) {
          this.#deposedCount += error.jobIds.length;
          logger.warn({ jobs: error.jobIds.slice(0, 20) }, "other managers lead these jobs by now");
        } else if (!hasCode(error, "COORDINATION_STORE_CONFLICT")) throw error;
        if (attempt >= TRIES_MAX_COUNT) throw error;
      }
    }
  }
}

const weigh = (change: Change): number =>
  change.kind === "submit" ? 1 + change.row.spec.workflows.length : 1;
