import type { TaskRecord } from "@holdfast/coordination";
import { type Clock, keepNewest, type Logger } from "@holdfast/kernel";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { SHARD_QUEUE, type ShardPayload } from "../model/shard-task.ts";
import type { ShardAttempt } from "./decide/shard-ends.ts";
import { decodeJobState, isTerminal, type JobState } from "./job-state.ts";
import { LedJob } from "./led-job.ts";
import { restoreShards } from "./restore-job.ts";

export interface LedJobsOptions {
  readonly store: JobStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly datacenter: string;
  /** This node as leaders are named, without a fence. */
  readonly self: () => { readonly nodeId: string; readonly address: string };
  /** The incarnation that holds the node's lease; undefined while none does. */
  readonly ownerId: () => string | undefined;
  readonly windowMs: number;
  readonly driftMs: number;
  /** A job was read from the store and is led from now on. `undecided` shards still have to be decided. */
  readonly onLoaded: (job: LedJob, undecided: readonly UndecidedShard[]) => void;
  /** A job is not led here any more: deposed, finished, or to be read again. */
  readonly onDropped: (jobId: string) => void;
}

export interface UndecidedShard {
  readonly workflowIndex: number;
  readonly attempt: ShardAttempt;
}

/** Tasks per read while a job is loaded; each may carry a result of a megabyte. */
const PAGE_MAX_COUNT = 200;
/** Ended jobs that are remembered, so that a late report of theirs is told to stop. */
const ENDED_MAX_COUNT = 5_000;

/** The jobs that this manager leads. A job is here only with a state that is known to be the stored one. */
export class LedJobs {
  readonly #options: LedJobsOptions;
  readonly #jobs = new Map<string, LedJob>();
  readonly #loading = new Map<string, Promise<void>>();
  /** Jobs of which a commit failed: they may be ours, in a state that must be read again. */
  readonly #doubtful = new Set<string>();
  readonly #ended = new Set<string>();

  constructor(options: LedJobsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#jobs.size;
  }

  values(): Iterable<LedJob> {
    return this.#jobs.values();
  }

  get(jobId: string): LedJob | undefined {
    return this.#jobs.get(jobId);
  }

  /** Whether the job ended here lately. */
  hasEnded(jobId: string): boolean {
    return this.#ended.has(jobId);
  }

  get hasDoubtful(): boolean {
    return this.#doubtful.size > 0;
  }

  /** The job if it is led here, after waiting for a load that is under way. */
  async whenLoaded(jobId: string): Promise<LedJob | undefined> {
    await this.#loading.get(jobId);
    if (this.#doubtful.has(jobId)) await this.settle([jobId]);
    return this.#jobs.get(jobId);
  }

  /** A job that this manager has just inserted. */
  add(job: LedJob): void {
    this.#jobs.set(job.jobId, job);
  }

  /** Leads jobs whose rows name this incarnation as owner, once their tasks are read. Those that fail are doubtful. */
  async adopt(rows: readonly JobRow[]): Promise<void> {
    for (const row of rows) this.#doubtful.delete(row.jobId);
    const loads = await Promise.allSettled(rows.map((row) => this.#loadOnce(row)));
    loads.forEach((load, index) => {
      const jobId = rows[index]?.jobId;
      if (load.status !== "rejected" || jobId === undefined) return;
      this.#options.logger.warn({ err: load.reason, jobId }, "a job could not be read yet; trying again");
      this.#doubtful.add(jobId);
    });
  }

  /** What is in memory about these jobs may be wrong: it is dropped and read again before anyone uses it. */
  doubt(jobIds: Iterable<string>): void {
    for (const jobId of jobIds) {
      this.#drop(jobId);
      this.#doubtful.add(jobId);
    }
  }

  /**
   * Reads doubtful jobs again, those of `jobIds` or all, and leads those that are still ours.
   * @throws what the store throws; the jobs that it throws for stay doubtful, and none keeps another from being read.
   */
  async settle(jobIds?: readonly string[]): Promise<void> {
    const wanted = (jobIds ?? [...this.#doubtful]).filter((jobId) => this.#doubtful.has(jobId));
    if (wanted.length === 0) return;
    const rows = await this.#options.store.jobs.get(wanted);
    const ownerId = this.#options.ownerId();
    const failures: unknown[] = [];
    for (const jobId of wanted) {
      const row = rows.find((candidate) => candidate.jobId === jobId);
      if (row === undefined || row.owner !== ownerId || isTerminal(row.status)) {
        this.#doubtful.delete(jobId);
        if (row !== undefined && isTerminal(row.status)) this.#remember(jobId);
        continue;
      }
      try {
        await this.#loadOnce(row);
        this.#doubtful.delete(jobId);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** A job that reached its end. */
  end(jobId: string): void {
    this.#drop(jobId);
    this.#remember(jobId);
  }

  /** Leads nothing any more: the node's lease is gone. */
  clear(): void {
    this.#doubtful.clear();
    for (const jobId of [...this.#jobs.keys()]) this.#drop(jobId);
  }

  #loadOnce(row: JobRow): Promise<void> {
    const { jobId } = row;
    const before = this.#loading.get(jobId) ?? Promise.resolve();
    const load = before
      .catch(() => undefined)
      .then(() => this.#load(row))
      .finally(() => {
        if (this.#loading.get(jobId) === load) this.#loading.delete(jobId);
      });
    this.#loading.set(jobId, load);
    return load;
  }

  async #load(row: JobRow): Promise<void> {
    if (this.#jobs.has(row.jobId)) return;
    const { self, ownerId, windowMs, driftMs, onLoaded, datacenter, store } = this.#options;
    const state = decodeJobState({ ...row, datacenter });
    const job = new LedJob({
      state,
      fence: row.fence,
      ownerId: row.owner,
      leader: { ...self(), fence: row.fence.toString() },
      windowMs,
      driftMs,
    });
    const undecided = await readShards(store, job, (record, workflowIndex) => {
      const { shard } = record.payload as unknown as ShardPayload;
      // The token is not known until the worker reports; any report is newer than none.
      const running = { taskId: record.id, workflowIndex, shard, worker: record.worker ?? "", token: 0n };
      if (record.state === "claimed") job.progress.started(running);
    });
    // The lease may have gone meanwhile, and the job with it.
    if (ownerId() !== row.owner) return;
    this.#jobs.set(row.jobId, job);
    onLoaded(job, undecided);
  }

  #drop(jobId: string): void {
    const job = this.#jobs.get(jobId);
    if (job === undefined) return;
    this.#jobs.delete(jobId);
    job.dispose();
    this.#options.onDropped(jobId);
  }

  #remember(jobId: string): void {
    this.#ended.add(jobId);
    keepNewest(this.#ended, ENDED_MAX_COUNT);
  }
}

/** Adds to the state of `job` what its tasks tell. */
const readShards = async (
  store: JobStore,
  job: LedJob,
  onTask: (record: TaskRecord, workflowIndex: number) => void,
): Promise<readonly UndecidedShard[]> => {
  const queue = store.coordination.queue(SHARD_QUEUE);
  const undecided: UndecidedShard[] = [];
  for (const { index, status } of job.state.workflows) {
    if (status === "pending") continue;
    let afterId: string | undefined;
    for (;;) {
      const records = await queue.list({
        group: job.groups[index] as string,
        states: ["completed", "dead", "claimed"],
        limit: PAGE_MAX_COUNT,
        ...(afterId === undefined ? {} : { afterId }),
      });
      for (const attempt of restoreShards(job.state, index, records)) {
        undecided.push({ workflowIndex: index, attempt });
      }
      for (const record of records) onTask(record, index);
      afterId = records.at(-1)?.id;
      if (records.length < PAGE_MAX_COUNT) break;
    }
  }
  return undecided;
};

/** The state of a job that is not led here, as its row and its tasks tell it. For answers, not for decisions. */
export const readJobState = async (
  store: JobStore,
  row: JobRow,
  datacenter: string,
): Promise<{ readonly state: JobState; readonly running: readonly number[] }> => {
  const state = decodeJobState({ ...row, datacenter });
  const job = new LedJob({
    state,
    fence: row.fence,
    ownerId: row.owner,
    leader: { nodeId: row.owner, address: "", fence: row.fence.toString() },
    windowMs: 1_000,
    driftMs: 0,
  });
  const running = state.workflows.map(() => 0);
  await readShards(store, job, (record, index) => {
    if (record.state === "claimed") running[index] = (running[index] ?? 0) + 1;
  });
  return { state, running };
};
