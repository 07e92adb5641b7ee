import type { Json, LogEntry } from "@holdfast/coordination";
import type { Clock, Logger } from "@holdfast/kernel";
import type { JobEvent, Leader } from "@holdfast/protocol/contract";
import { jobStream } from "../model/job-stream.ts";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { nodeIdOf } from "../node/node-lease.ts";
import type { LedJobs } from "./led-jobs.ts";
import type { NodeDirectory } from "./node-directory.ts";

export interface TakeOverOptions {
  readonly store: JobStore;
  readonly led: LedJobs;
  readonly directory: NodeDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly self: () => { readonly nodeId: string; readonly address: string };
  readonly ownerId: () => string | undefined;
  /** These jobs are led here from now on, if their tasks could be read. */
  readonly onTaken: (jobs: readonly TakenJob[]) => void;
}

export interface TakenJob {
  readonly jobId: string;
  readonly leader: Leader;
  /** What was appended to its log. */
  readonly entries: readonly LogEntry[];
}

/** Jobs taken over in one transaction; several managers that look at once share what there is. */
const BATCH_MAX_COUNT = 50;

/**
 * Jobs lose their leader when a node goes, so nothing is looked for while the same nodes live; but now and then
 * all the same, for a job that was stored by a node which was gone by then.
 */
const LOOK_ANYWAY_EVERY = 10;

/** Takes over the unfinished jobs of managers whose lease has ended. */
export class TakeOver {
  readonly #options: TakeOverOptions;
  #takenCount = 0;
  /** The live nodes for which the last look found nothing (more). */
  #settledFor: string | undefined;
  #skippedCount = 0;

  constructor(options: TakeOverOptions) {
    this.#options = options;
  }

  get takenCount(): number {
    return this.#takenCount;
  }

  /** Looks once. @throws what the store throws; what was taken by then is kept. */
  async sweep(): Promise<void> {
    const { directory, led, onTaken, logger } = this.#options;
    const live = await directory.refresh();
    for (;;) {
      const ownerId = this.#options.ownerId();
      if (ownerId === undefined) return;
      const owners = [...new Set([...live.map((node) => node.ownerId), ownerId])].sort();
      const key = owners.join("\n");
      if (key === this.#settledFor && this.#skippedCount < LOOK_ANYWAY_EVERY - 1) {
        this.#skippedCount += 1;
        return;
      }
      this.#settledFor = undefined;
      const taken = await this.#take(ownerId, owners);
      if (taken.length > 0) {
        this.#takenCount += taken.length;
        logger.info(
          { jobs: taken.length, first: taken[0]?.jobId },
          "took over jobs of managers that are gone",
        );
        await led.adopt(taken.map(({ row }) => row));
        onTaken(taken);
      }
      if (taken.length < BATCH_MAX_COUNT) {
        this.#settledFor = key;
        this.#skippedCount = 0;
        return;
      }
    }
  }

  #take(
    owner: string,
    liveOwners: readonly string[],
  ): Promise<readonly (TakenJob & { readonly row: JobRow })[]> {
    const { store, clock, self } = this.#options;
    return store.coordination.transaction(async (tx) => {
      const taken = await store.jobs.takeOver({ owner, liveOwners, limit: BATCH_MAX_COUNT }, tx);
      if (taken.length === 0) return [];
      const at = clock.wallNow();
      const appends = taken.map(({ row, previousOwner }) => {
        const leader = { ...self(), fence: row.fence.toString() };
        const event: JobEvent = {
          type: "job.leader",
          at,
          role: "manager",
          leader,
          previous: nodeIdOf(previousOwner),
        };
        return { leader, append: { stream: jobStream(row.jobId), payload: event as unknown as Json } };
      });
      const positions = await store.coordination.log.append(
        appends.map(({ append }) => append),
        { tx },
      );
      return taken.map(({ row }, index) => {
        const { leader, append } = appends[index] as (typeof appends)[number];
        const position = positions[index] as LogEntry["position"];
        return { jobId: row.jobId, row, leader, entries: [{ ...append, position, appendedAt: at }] };
      });
    });
  }
}
