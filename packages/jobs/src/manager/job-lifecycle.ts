import { type Clock, hasCode, type Logger, TaskGroup } from "@holdfast/kernel";
import type { EventFeed } from "../node/event-feed.ts";
import type { Change } from "./changes.ts";
import type { JobDraft } from "./commit-batch.ts";
import type { JobCommits } from "./job-commits.ts";
import { isTerminal } from "./job-state.ts";
import type { LedJob } from "./led-job.ts";
import type { LedJobs, UndecidedShard } from "./led-jobs.ts";
import type { TakenJob } from "./take-over.ts";
import type { WorkerRegistry } from "./worker-registry.ts";

export interface JobLifecycleOptions {
  readonly led: LedJobs;
  readonly commits: () => JobCommits;
  readonly feed: () => EventFeed;
  readonly registry: WorkerRegistry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ownerId: () => string | undefined;
  readonly taskLeaseMs: number;
}

/** Stands in `LedJob.stopping` while it is not known which shards of a cancelled job still run. */
const UNKNOWN_SHARDS = "*";
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 5_000;

/**
 * What follows from a commit: watchers and workers are told, clocks are set, ended jobs leave the memory. It
 * decides nothing itself; what time brings (a deadline, the end of a wait) becomes a change like any other.
 */
export class JobLifecycle implements AsyncDisposable {
  readonly #options: JobLifecycleOptions;
  readonly #tasks: TaskGroup;
  /** The store's time minus the monotonic clock. */
  #storeOffsetMs = 0;

  constructor(options: JobLifecycleOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  /** Tells what the store's clock shows now: deadlines count from submission by that clock. */
  syncClock(storeNow: number): void {
    this.#storeOffsetMs = storeNow - this.#options.clock.monotonicNow();
  }

  /** A job's part of a batch was committed. */
  committed(draft: JobDraft): void {
    const { led, feed, ownerId } = this.#options;
    const { job } = draft;
    const { jobId, state } = job;
    if (draft.isNew) {
      // The lease may have ended while the commit was under way: the job is another's by now.
      if (ownerId() !== job.ownerId) return;
      led.add(job);
      this.#armDeadline(job, state.spec.timeoutMs);
    }
    const newest = draft.entries.at(-1);
    if (newest !== undefined) {
      job.head = newest.position;
      feed().publish(jobId, draft.entries);
    }
    if (draft.cancel.length > 0) this.#tellWorkers(draft);
    if (isTerminal(state.status)) led.end(jobId);
    else if (state.status === "cancelling" && draft.held.length > 0) this.#awaitStop(job, draft.held);
  }

  /** A job was read from the store and is led from now on. */
  loaded(job: LedJob, undecided: readonly UndecidedShard[]): void {
    const { jobId, state } = job;
    const now = this.#options.clock.monotonicNow() + this.#storeOffsetMs;
    this.#armDeadline(job, state.submittedAt + state.spec.timeoutMs - now);
    if (state.status === "cancelling") this.#awaitStop(job, [UNKNOWN_SHARDS]);
    for (const { workflowIndex, attempt } of undecided) {
      const taskId = `${job.groups[workflowIndex]}/${attempt.shard}`;
      this.#commit({ kind: "lapsed", jobId, taskId, workflowIndex, ...attempt, outcome: "dead" });
    }
    this.#options.feed().leadershipChanged(jobId);
  }

  /** Jobs of a manager that is gone are led here now. */
  taken(jobs: readonly TakenJob[]): void {
    const { feed, registry } = this.#options;
    for (const { jobId, entries } of jobs) feed().publish(jobId, entries);
    registry.announceLeader(jobs);
  }

  /** No worker runs a part of the cancelled job any more. */
  stopped(job: LedJob): void {
    this.#commit({ kind: "stopped", jobId: job.jobId });
  }

  close(): Promise<void> {
    return this.#tasks.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Workers that hold shards of ended workflows stop sooner than their renewals would tell them. */
  #tellWorkers({ job, cancel }: JobDraft): void {
    const ended = new Set(cancel);
    const byWorker = new Map<string, { taskId: string; token: string }[]>();
    for (const shard of [...job.progress.running.values()]) {
      if (!ended.has(shard.workflowIndex)) continue;
      const tasks = byWorker.get(shard.worker) ?? [];
      tasks.push({ taskId: shard.taskId, token: shard.token.toString() });
      byWorker.set(shard.worker, tasks);
      job.progress.ended(shard.taskId);
    }
    const reason = job.state.ending?.reason ?? "";
    for (const [worker, tasks] of byWorker) this.#options.registry.cancel(worker, tasks, reason);
  }

  /** A worker that does not answer has stopped by its own clock when its lease is over. */
  #awaitStop(job: LedJob, taskIds: readonly string[]): void {
    const { clock, taskLeaseMs } = this.#options;
    for (const taskId of taskIds) job.stopping.add(taskId);
    job.stopTimer = clock.schedule(taskLeaseMs, () => {
      job.stopping.clear();
      this.stopped(job);
    });
  }

  #armDeadline(job: LedJob, afterMs: number): void {
    const { clock } = this.#options;
    const endsAt = clock.monotonicNow() + afterMs;
    job.deadline = clock.schedule(afterMs, () => {
      const leftMs = endsAt - clock.monotonicNow();
      // A timer holds 24 days at most; a job may have 30.
      if (leftMs > 1) this.#armDeadline(job, leftMs);
      else this.#commit({ kind: "timeout", jobId: job.jobId });
    });
  }

  /** Commits without anybody waiting; tries again until it is done, void, or the manager stops. */
  #commit(change: Change): void {
    const { clock, logger, commits } = this.#options;
    this.#tasks.spawn(`${change.kind} of ${change.jobId}`, async (signal) => {
      for (let waitMs = RETRY_MIN_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
        try {
          await commits().add(change);
          return;
        } catch (error) {
          if (signal.aborted || hasCode(error, "KERNEL_CLOSED")) return;
          logger.warn(
            { err: error, job: change.jobId, change: change.kind },
            "a change could not be committed yet",
          );
          await clock.sleep(waitMs, { signal });
        }
      }
    });
  }
}
