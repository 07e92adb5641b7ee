import { type Clock, deferred, type Logger, type TaskGroup, untilAborted } from "@holdfast/kernel";
import type { JobEvent } from "@holdfast/protocol/contract";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { type LiveNode, type NodeLease, nextLookMs, nodeIdOf } from "../node/node-lease.ts";
import { beginEnding, finishWithout } from "./decide/end-job.ts";
import { FinishedJobs } from "./finished-jobs.ts";
import { type GateJob, isTerminal } from "./gate-job.ts";
import type { GateSettings } from "./gate-options.ts";
import type { JobCommits } from "./job-commits.ts";
import { LedJob } from "./led-job.ts";
import type { PartRunner } from "./part-runner.ts";
import { restoreJob } from "./restore-job.ts";

export interface JobBookOptions {
  readonly settings: GateSettings;
  readonly store: JobStore;
  readonly lease: NodeLease;
  readonly commits: JobCommits;
  readonly runner: PartRunner;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly self: { readonly nodeId: string; readonly address: string };
  /** What the store's clock shows now, milliseconds since the epoch: deadlines count from submission by that clock. */
  readonly storeNow: () => number;
  /** The gates that hold their lease now. */
  readonly onLive: (live: readonly LiveNode[]) => void;
  /** This gate began or ceased to lead the job. */
  readonly onLeadership: (jobId: string) => void;
}

/** Jobs taken over in one statement; a sweep goes on until there are no more. */
const TAKE_OVER_COUNT = 100;
/**
 * As long as the same gates live there is nothing to take over, except the jobs of a gate that came and went
 * between two sweeps, or that stored one in the moment of its death: so many sweeps are skipped at most.
 */
const LOOK_ANYWAY_EVERY = 5;
const RELOAD_COUNT = 200;
const RELOAD_RETRY_MIN_MS = 100;
const RELOAD_RETRY_MAX_MS = 5_000;

/**
 * The jobs that this gate leads. It begins to lead a job by storing it or by taking it over from a gate that
 * is gone, and ceases when the job has ended, when a commit shows that another leads it, or when the gate's
 * own lease is lost.
 */
export class JobBook {
  readonly finished: FinishedJobs;
  readonly #options: JobBookOptions;
  readonly #jobs = new Map<string, LedJob>();
  /** Being stored: their first events are published before they are led. */
  readonly #reserved = new Map<string, number>();
  /** Fate unknown: to be read again. */
  readonly #reload = new Set<string>();
  #reloadWake = deferred<void>();
  #takeOverCount = 0;
  #deposedCount = 0;
  /** The live gates for which the last look found nothing more. */
  #settledFor: string | undefined;
  #skippedCount = 0;

  constructor(options: JobBookOptions) {
    this.#options = options;
    this.finished = new FinishedJobs({ clock: options.clock, onForgotten: options.onLeadership });
  }

  get size(): number {
    return this.#jobs.size;
  }

  get takeOverCount(): number {
    return this.#takeOverCount;
  }

  /** Jobs whose writes were refused because another gate led them by then. */
  get deposedCount(): number {
    return this.#deposedCount;
  }

  get(jobId: string): LedJob | undefined {
    return this.#jobs.get(jobId);
  }

  values(): IterableIterator<LedJob> {
    return this.#jobs.values();
  }

  /** Whether every committed event of the job comes from this gate (a job that has ended gets none). */
  publishes(jobId: string): boolean {
    return this.#jobs.has(jobId) || this.#reserved.has(jobId) || this.finished.has(jobId);
  }

  /** Starts what runs beside the requests. */
  start(): void {
    const { tasks, clock, settings, logger, lease } = this.#options;
    tasks.spawn("reload of jobs", (signal) => this.#reloadLoop(signal));
    tasks.spawn("take-over of jobs", async (signal) => {
      for (;;) {
        let waitMs = settings.sweepEveryMs;
        try {
          const live = await this.#sweep(signal);
          waitMs = nextLookMs(live, { self: lease.ownerId, everyMs: settings.sweepEveryMs });
        } catch (error) {
          signal.throwIfAborted();
          logger.warn({ err: error, retryInMs: waitMs }, "jobs of dead gates could not be looked for");
        }
        await clock.sleep(waitMs, { signal });
      }
    });
    tasks.spawn("deadlines of jobs", async (signal) => {
      for (;;) {
        await clock.sleep(settings.sweepEveryMs, { signal });
        this.#checkDeadlines();
      }
    });
  }

  /** Until `release`, the job's events are published although it is not led yet. */
  reserve(jobId: string): void {
    this.#reserved.set(jobId, (this.#reserved.get(jobId) ?? 0) + 1);
  }

  release(jobId: string): void {
    const count = (this.#reserved.get(jobId) ?? 0) - 1;
    if (count > 0) this.#reserved.set(jobId, count);
    else this.#reserved.delete(jobId);
    if (!this.publishes(jobId)) this.#options.onLeadership(jobId);
  }

  /** Begins to lead a job whose row names this gate. */
  lead(job: GateJob): LedJob {
    const { clock, settings, commits, logger, tasks, self, runner, storeNow } = this.#options;
    this.#jobs.get(job.jobId)?.drop("it was read again");
    const wholeMs = job.spec.timeoutMs + settings.timeoutGraceMs;
    const leftMs = Math.min(wholeMs, Math.max(0, job.submittedAt + wholeMs - storeNow()));
    const led = new LedJob(
      {
        commits,
        clock,
        logger,
        tasks,
        self,
        onFinished: (ended) => this.#finish(ended),
        onDeposed: (deposed) => {
          this.#deposedCount += 1;
          logger.warn({ jobId: deposed.job.jobId }, "another gate leads this job now");
          this.drop(deposed.job.jobId, "another gate leads it");
        },
      },
      job,
      { deadlineAt: clock.monotonicNow() + leftMs },
    );
    this.#jobs.set(job.jobId, led);
    this.#options.onLeadership(job.jobId);
    runner.start(led);
    return led;
  }

  /** Forgets a job without a trace in the store. */
  drop(jobId: string, reason: string): void {
    const led = this.#jobs.get(jobId);
    if (led === undefined) return;
    led.drop(reason);
    this.#jobs.delete(jobId);
    this.#options.onLeadership(jobId);
  }

  dropAll(reason: string): void {
    for (const jobId of [...this.#jobs.keys()]) this.drop(jobId, reason);
    this.#reload.clear();
  }

  /** Drops jobs whose stored state is not known, and reads them again as soon as the store answers. */
  reload(jobIds: readonly string[]): void {
    for (const jobId of jobIds) {
      this.drop(jobId, "its stored state is not known");
      this.#reload.add(jobId);
    }
    this.#reloadWake.resolve();
  }

  #finish(led: LedJob): void {
    const { job } = led;
    const head = job.head;
    const result = led.result;
    if (this.#jobs.get(job.jobId) !== led) return;
    if (head !== undefined && result !== undefined) {
      this.finished.add({ jobId: job.jobId, status: job.status, leader: led.leader, head, result });
    }
    this.drop(job.jobId, "it has ended");
  }

  #checkDeadlines(): void {
    const now = this.#options.clock.monotonicNow();
    for (const led of [...this.#jobs.values()]) {
      if (led.endingSince !== undefined) {
        if (now - led.endingSince >= this.#options.settings.endingGraceMs) led.apply(finishWithout);
      } else if (now >= led.deadlineAt) {
        const reason = `the job took longer than its timeout of ${led.job.spec.timeoutMs} ms`;
        led.apply((job, at) => beginEnding(job, { kind: "timeout", reason }, at));
      }
    }
  }

  /** Returns the gates that were alive when it looked. */
  async #sweep(signal: AbortSignal): Promise<readonly LiveNode[]> {
    const { lease, store, onLive } = this.#options;
    this.finished.forgetOld();
    const live = await lease.live({ signal });
    onLive(live);
    const liveOwners = live.map(({ ownerId }) => ownerId);
    const key = liveOwners.join("\n");
    if (key === this.#settledFor && this.#skippedCount < LOOK_ANYWAY_EVERY) {
      this.#skippedCount += 1;
      return live;
    }
    this.#settledFor = undefined;
    for (;;) {
      const owner = lease.ownerId;
      // Our own lease may have ended while we asked; then everything here belongs to the next incarnation.
      if (owner === undefined || !liveOwners.includes(owner)) return live;
      const taken = await store.coordination.transaction((tx) =>
        store.jobs.takeOver({ owner, liveOwners, limit: TAKE_OVER_COUNT }, tx),
      );
      for (const { row, previousOwner } of taken) await this.#resume(row, { previousOwner, owner, signal });
      if (taken.length < TAKE_OVER_COUNT) break;
    }
    this.#settledFor = key;
    this.#skippedCount = 0;
    return live;
  }

  async #resume(
    row: JobRow,
    options: { readonly previousOwner: string; readonly owner: string; readonly signal: AbortSignal },
  ): Promise<void> {
    const { store, lease, logger, self } = this.#options;
    let job: GateJob;
    try {
      job = await restoreJob(store, row, { signal: options.signal });
    } catch (error) {
      options.signal.throwIfAborted();
      logger.warn(
        { err: error, jobId: row.jobId },
        "a job that was taken over could not be read; trying again",
      );
      this.reload([row.jobId]);
      return;
    }
    if (lease.ownerId !== options.owner) return;
    this.#takeOverCount += 1;
    const previous = nodeIdOf(options.previousOwner);
    const fence = row.fence.toString();
    logger.info({ jobId: row.jobId, previous, fence }, "took over a job from a gate that is gone");
    const led = this.lead(job);
    led.apply((_job, at): readonly JobEvent[] => [
      { type: "job.leader", at, role: "gate", leader: { ...self, fence }, previous },
    ]);
  }

  async #reloadLoop(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    let retryMs = RELOAD_RETRY_MIN_MS;
    for (;;) {
      if (this.#reload.size === 0) {
        this.#reloadWake = deferred();
        await untilAborted(this.#reloadWake.promise, signal);
      }
      // A moment for the store to come back, and so that a job that always fails cannot keep us busy.
      await clock.sleep(retryMs, { signal });
      try {
        const isClean = await this.#reloadSome(signal);
        retryMs = isClean ? RELOAD_RETRY_MIN_MS : Math.min(retryMs * 2, RELOAD_RETRY_MAX_MS);
      } catch (error) {
        signal.throwIfAborted();
        retryMs = Math.min(retryMs * 2, RELOAD_RETRY_MAX_MS);
        logger.warn({ err: error, retryInMs: retryMs }, "jobs could not be read again yet");
      }
    }
  }

  /** True when nothing is left to read. */
  async #reloadSome(signal: AbortSignal): Promise<boolean> {
    const { store, lease, logger } = this.#options;
    const owner = lease.ownerId;
    // Without a lease nothing is ours; what was goes to whoever sweeps first.
    if (owner === undefined) this.#reload.clear();
    const jobIds = [...this.#reload].slice(0, RELOAD_COUNT);
    const rows = jobIds.length === 0 ? [] : await this.#settledRows(jobIds, owner, signal);
    for (const jobId of jobIds) this.#reload.delete(jobId);
    for (const row of rows) {
      if (this.#jobs.has(row.jobId)) continue;
      try {
        const job = await restoreJob(store, row, { signal });
        if (lease.ownerId === owner && !this.#jobs.has(row.jobId)) this.lead(job);
      } catch (error) {
        signal.throwIfAborted();
        // Behind the others: one that is damaged must not keep them waiting.
        this.#reload.add(row.jobId);
        logger.warn({ err: error, jobId: row.jobId }, "a job could not be read again yet; trying again");
      }
    }
    return this.#reload.size === 0;
  }

  /**
   * The rows of those jobs that are ours and unfinished. A transaction whose answer was lost may still be
   * under way; changing its rows (to what they are) waits for its end, so what is read then stays true.
   */
  async #settledRows(
    jobIds: readonly string[],
    owner: string | undefined,
    signal: AbortSignal,
  ): Promise<readonly JobRow[]> {
    const { store } = this.#options;
    const rows = await store.jobs.get(jobIds, { signal });
    const ours = rows.filter((row) => row.owner === owner && !isTerminal(row.status));
    if (ours.length === 0) return [];
    const updates = ours.map(({ jobId, fence, status }) => ({ jobId, fence, status }));
    const settled = await store.coordination.transaction((tx) => store.jobs.update(updates, tx), { signal });
    const current = ours.filter((_row, index) => settled[index] === true).map(({ jobId }) => jobId);
    return current.length === 0 ? [] : store.jobs.get(current, { signal });
  }
}
