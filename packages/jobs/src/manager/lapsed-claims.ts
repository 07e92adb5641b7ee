import type {
  CoordinationStore,
  Json,
  LapsedTask,
  LogRead,
  Position,
  TaskQueue,
} from "@holdfast/coordination";
import { type Abortable, type Clock, type Logger, toWireError } from "@holdfast/kernel";
import { ClaimLostError } from "../errors.ts";
import { parseShardGroup, type ShardPayload, shardTaskId } from "../model/shard-task.ts";
import type { JobCommits } from "./job-commits.ts";
import type { LedJobs } from "./led-jobs.ts";

export interface LapsedClaimsOptions {
  readonly coordination: CoordinationStore;
  readonly queue: TaskQueue<unknown>;
  readonly led: LedJobs;
  readonly commits: JobCommits;
  /** A claim of a job that is led here lapsed at this worker. */
  readonly onLapsed: (taskId: string, worker: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** In the stream through which managers tell each other of lapsed claims. */
interface LapsedNotice extends ShardPayload {
  readonly taskId: string;
  readonly attempt: number;
  readonly worker: string;
  readonly outcome: "retrying" | "dead";
}

const STREAM = "lapsed-claims";
/** Notices kept for managers that are slow; one that is slower still reads its jobs anew. */
const KEPT_MAX_COUNT = 10_000n;
/** Claims recovered in one transaction. */
const BATCH_MAX_COUNT = 500;
const RETRY_MS = 250;

/**
 * Finds claims whose lease ended, sends their shards back to the queue, and lets the leader of each job know.
 *
 * Any manager may find them, but each is found once; so the finder writes a notice in the same transaction and
 * every manager reads the notices of the jobs that it leads. None is lost when the finder dies.
 */
export class LapsedClaims {
  readonly #options: LapsedClaimsOptions;
  #recoveredCount = 0;

  constructor(options: LapsedClaimsOptions) {
    this.#options = options;
  }

  /** Claims that this manager found lapsed. */
  get recoveredCount(): number {
    return this.#recoveredCount;
  }

  /** Recovers what has lapsed by now. @throws what the store throws; the next call finds it again. */
  async recover(): Promise<void> {
    const { coordination, queue } = this.#options;
    for (;;) {
      const lapsed = await coordination.transaction(async (tx) => {
        const found = await queue.recoverLapsed({ limit: BATCH_MAX_COUNT, tx });
        const notices = await this.#notices(found, tx);
        if (notices.length > 0) {
          const entries = notices.map((notice) => ({ stream: STREAM, payload: { ...notice } as Json }));
          await coordination.log.append(entries, { tx });
        }
        return found;
      });
      this.#recoveredCount += lapsed.length;
      if (lapsed.length < BATCH_MAX_COUNT) return;
    }
  }

  /** Where the notices end now. Take it before jobs are loaded, so that none falls between. @throws what the store throws. */
  async head(): Promise<Position> {
    return (await this.#options.coordination.log.bounds(STREAM)).head;
  }

  /** Reads what comes after `from` until aborted. */
  async follow(from: Position, signal: AbortSignal): Promise<void> {
    const { coordination, clock, logger } = this.#options;
    let after = from;
    for (;;) {
      try {
        for await (const item of coordination.log.tail(STREAM, { after, signal })) {
          await this.#take(item);
          after = item.kind === "entries" ? (item.entries.at(-1)?.position ?? after) : item.bounds.head;
        }
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error }, "notices of lapsed claims could not be read; trying again");
        await clock.sleep(RETRY_MS, { signal });
      }
    }
  }

  /** Forgets notices that every manager has had time to read. */
  async trim(options: Abortable = {}): Promise<void> {
    const { log } = this.#options.coordination;
    const { head, trimmedTo } = await log.bounds(STREAM, options);
    const upTo = head.offset - KEPT_MAX_COUNT;
    if (upTo > trimmedTo) await log.trim(STREAM, { upTo, ...options });
  }

  async #notices(lapsed: readonly LapsedTask[], tx: unknown): Promise<readonly LapsedNotice[]> {
    const jobs = new Map<string, Omit<ShardPayload, "shard">>();
    for (const group of new Set(lapsed.map((task) => task.group))) {
      if (group === undefined) continue;
      const ids = parseShardGroup(group) ?? (await this.#readIds(group, tx));
      if (ids !== undefined) jobs.set(group, ids);
    }
    return lapsed.flatMap(({ id, group, attempt, worker, outcome }) => {
      const ids = group === undefined ? undefined : jobs.get(group);
      if (group === undefined || ids === undefined) return [];
      const shard = Number(id.slice(group.length + 1));
      return [{ ...ids, shard, taskId: id, attempt, worker, outcome }];
    });
  }

  /** Ids that are hashed in the group's name stand in the payload of its tasks. */
  async #readIds(group: string, tx: unknown): Promise<Omit<ShardPayload, "shard"> | undefined> {
    const [record] = await this.#options.queue.list({ group, limit: 1, tx });
    return record?.payload as unknown as ShardPayload | undefined;
  }

  async #take(item: LogRead): Promise<void> {
    const { led, commits, logger } = this.#options;
    if (item.kind === "reset") {
      logger.warn({}, "notices of lapsed claims were trimmed before they were read; jobs are read again");
      led.doubt([...led.values()].map(({ jobId }) => jobId));
      return;
    }
    const notices = item.entries.map(({ payload }) => payload as unknown as LapsedNotice);
    const results = await Promise.allSettled(
      notices.map(async (notice) => {
        const job = await led.whenLoaded(notice.jobId);
        const workflowIndex = job?.state.indexById.get(notice.workflowId);
        if (job === undefined || workflowIndex === undefined) return;
        const { jobId, taskId, shard, attempt, outcome } = notice;
        if (taskId !== shardTaskId(job.groups[workflowIndex] as string, shard)) return;
        const worker = job.progress.running.get(taskId)?.worker ?? notice.worker;
        this.#options.onLapsed(taskId, worker);
        const what = `shard ${shard} of ${job.state.spec.workflows[workflowIndex]?.name}`;
        const lost = new ClaimLostError(what, `worker ${worker} neither finished nor renewed it in time`);
        const error = toWireError(lost);
        await commits.add({
          kind: "lapsed",
          jobId,
          taskId,
          workflowIndex,
          shard,
          attempt,
          worker,
          error,
          outcome,
        });
      }),
    );
    const failed = results.find((result) => result.status === "rejected");
    if (failed === undefined) return;
    // The state must learn of dead shards, or the job would wait for ever: reading it again finds them.
    logger.warn({ err: failed.reason }, "lapsed claims could not be taken in; their jobs are read again");
    led.doubt(notices.map(({ jobId }) => jobId).filter((jobId) => led.get(jobId) !== undefined));
  }
}
