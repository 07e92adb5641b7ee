import { type Clock, type Deferred, deferred, type Logger, TaskGroup, untilAborted } from "@holdfast/kernel";
import type { TaskProgress } from "@holdfast/protocol/contract";
import type { JobCommits } from "./job-commits.ts";
import type { LedJob } from "./led-job.ts";
import type { LedJobs } from "./led-jobs.ts";
import type { RunningShard } from "./progress/job-progress.ts";

export interface LiveFiguresOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly led: LedJobs;
  readonly commits: JobCommits;
  readonly windowMs: number;
}

/** A job that runs no longer than this never says that it runs: two events and a write less. */
const BEGUN_DELAY_MS = 50;
/** While more changes than this wait for a commit such news waits too, since many of them are news of an end … */
const BUSY_PENDING_COUNT = 32;
/** … but no longer than this. */
const BEGUN_DELAY_MAX_MS = 1_000;

/**
 * Folds what workers tell of running shards into the jobs, and commits windows, log lines and the news that
 * something runs, several times per window while there is anything to commit.
 */
export class LiveFigures implements AsyncDisposable {
  readonly #options: LiveFiguresOptions;
  readonly #tasks: TaskGroup;
  /** Jobs with something to commit. */
  readonly #active = new Set<string>();
  readonly #begun = new Set<string>();
  #wake: Deferred<void> = deferred();
  #wakeBegun: Deferred<void> = deferred();

  constructor(options: LiveFiguresOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
    this.#tasks.spawn("live figures", (signal) => this.#runWindows(signal));
    this.#tasks.spawn("beginnings", (signal) => this.#runBegun(signal));
  }

  /** A worker took a shard. */
  started(job: LedJob, shard: RunningShard): void {
    job.progress.started(shard);
    this.#noteBegun(job, shard.workflowIndex);
  }

  take(job: LedJob, workflowIndex: number, update: TaskProgress, worker: string): void {
    const { clock } = this.#options;
    const now = { wall: clock.wallNow(), monotonic: clock.monotonicNow() };
    if (!job.progress.add(update, { worker, workflowIndex }, now)) return;
    this.#noteBegun(job, workflowIndex);
    this.#active.add(job.jobId);
    this.#wake.resolve();
  }

  async close(): Promise<void> {
    await this.#tasks.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #noteBegun(job: LedJob, workflowIndex: number): void {
    const workflow = job.state.workflows[workflowIndex];
    if (workflow?.status !== "assigned" && job.state.status !== "queued") return;
    job.begun.add(workflowIndex);
    this.#begun.add(job.jobId);
    this.#wakeBegun.resolve();
  }

  async #runBegun(signal: AbortSignal): Promise<void> {
    const { clock, led, commits } = this.#options;
    for (;;) {
      await untilAborted(this.#wakeBegun.promise, signal);
      const latestAt = clock.monotonicNow() + BEGUN_DELAY_MAX_MS;
      do await clock.sleep(BEGUN_DELAY_MS, { signal });
      while (commits.pendingCount > BUSY_PENDING_COUNT && clock.monotonicNow() < latestAt);
      this.#wakeBegun = deferred();
      const jobIds = [...this.#begun].filter((jobId) => (led.get(jobId)?.begun.size ?? 0) > 0);
      this.#begun.clear();
      await this.#commit(jobIds.map((jobId) => ({ kind: "begun", jobId })));
    }
  }

  async #runWindows(signal: AbortSignal): Promise<void> {
    const { clock, windowMs } = this.#options;
    for (;;) {
      await untilAborted(this.#wake.promise, signal);
      await clock.sleep(windowMs / 2, { signal });
      this.#wake = deferred();
      await this.#commitWindows();
      if (this.#active.size > 0) this.#wake.resolve();
    }
  }

  async #commitWindows(): Promise<void> {
    const { clock, led } = this.#options;
    const now = { wall: clock.wallNow(), monotonic: clock.monotonicNow() };
    const changes: Parameters<JobCommits["add"]>[0][] = [];
    for (const jobId of [...this.#active]) {
      const job = led.get(jobId);
      const events = job?.progress.take(now) ?? [];
      if (events.length > 0) changes.push({ kind: "events", jobId, events });
      if (job === undefined || !job.progress.hasPending) this.#active.delete(jobId);
    }
    await this.#commit(changes);
  }

  /** Waits for the commits, so that a slow store gets fewer and larger ones. What fails is lost: it is volatile. */
  async #commit(changes: readonly Parameters<JobCommits["add"]>[0][]): Promise<void> {
    const { commits, logger } = this.#options;
    const results = await Promise.allSettled(changes.map((change) => commits.add(change)));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) logger.warn({ err: failed.reason }, "live figures of jobs were lost");
  }
}
