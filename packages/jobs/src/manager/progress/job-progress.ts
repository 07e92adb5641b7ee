import type { JobEvent, TaskProgress } from "@holdfast/protocol/contract";
import { boundedSum } from "../../model/bounded-sum.ts";
import { shardCounts } from "../decide/result.ts";
import { isActive, type JobState, type WorkflowState } from "../job-state.ts";
import { LogBudget } from "./log-budget.ts";
import { type ClosedWindow, WorkflowWindows } from "./workflow-windows.ts";

/** A shard that a worker holds now, as far as this manager has heard. */
export interface RunningShard {
  readonly taskId: string;
  readonly workflowIndex: number;
  readonly shard: number;
  readonly worker: string;
  readonly token: bigint;
}

interface Progress {
  readonly done: number;
  readonly total: number;
}

/**
 * What is seen of a job while it runs: which shards run where, how far they are, windows of live figures, log
 * lines. All of it is lost with the manager and none of it enters a result.
 */
export class JobProgress {
  readonly #job: JobState;
  readonly #windowMs: number;
  readonly #driftMs: number;
  readonly #running = new Map<string, RunningShard>();
  readonly #shardProgress = new Map<number, Map<number, Progress>>();
  readonly #windows = new Map<number, WorkflowWindows>();
  readonly #budget = new LogBudget();
  #logs: JobEvent[] = [];
  #lastDropped: { readonly workflowId: string; readonly shard: number; readonly worker: string } | undefined;

  constructor(job: JobState, options: { readonly windowMs: number; readonly driftMs: number }) {
    this.#job = job;
    this.#windowMs = options.windowMs;
    this.#driftMs = options.driftMs;
  }

  get running(): ReadonlyMap<string, RunningShard> {
    return this.#running;
  }

  /** Whether something waits for {@link take}. */
  get hasPending(): boolean {
    return (
      this.#logs.length > 0 ||
      this.#budget.hasDropped ||
      [...this.#windows.values()].some((windows) => !windows.isEmpty)
    );
  }

  /** A worker claimed the shard. An older claim of it is forgotten; a newer one stays. */
  started(shard: RunningShard): void {
    const known = this.#running.get(shard.taskId);
    if (known === undefined || known.token <= shard.token) this.#running.set(shard.taskId, shard);
  }

  /** The claim is over; with `token` only that claim or an older one, since a newer may run by now. */
  ended(taskId: string, token?: bigint): void {
    const known = this.#running.get(taskId);
    if (known === undefined || (token !== undefined && known.token > token)) return;
    this.#running.delete(taskId);
    // What a lost attempt did counts no more; a completed shard's figures are in its result.
    this.#shardProgress.get(known.workflowIndex)?.delete(known.shard);
  }

  /**
   * Takes in one report. False when it is of no use: the workflow has ended, or the claim is not the newest.
   * @param now Both clocks of this manager.
   */
  add(
    update: TaskProgress,
    report: { readonly worker: string; readonly workflowIndex: number },
    now: { readonly wall: number; readonly monotonic: number },
  ): boolean {
    const workflow = this.#job.workflows[report.workflowIndex];
    if (workflow === undefined || !isActive(workflow) || !workflow.results.isOpen(update.shard)) return false;
    const token = BigInt(update.token);
    const known = this.#running.get(update.taskId);
    if (known !== undefined && known.token > token) return false;
    this.started({ taskId: update.taskId, token, shard: update.shard, ...report });
    this.#progressOf(workflow.index).set(update.shard, update.progress);
    const measurements = { counters: update.counters, histograms: update.histograms };
    const window = { worker: report.worker, windowStart: update.windowStart, measurements };
    this.#windowsOf(workflow.index).add(window, now.wall);
    for (const line of update.logs) {
      const source = { workflowId: update.workflowId, shard: update.shard, worker: report.worker };
      if (this.#budget.allow(now.monotonic)) this.#logs.push({ type: "log", ...line, ...source });
      else this.#lastDropped = source;
    }
    return true;
  }

  /** Sums over all workflows. */
  total(): Progress {
    let [done, total] = [0, 0];
    for (const workflow of this.#job.workflows) {
      const part = this.progressOf(workflow);
      done = boundedSum(done, part.done);
      total = boundedSum(total, part.total);
    }
    return { done, total };
  }

  /** Sums over the shards that have said how far they are. */
  progressOf(workflow: WorkflowState): Progress {
    let { done, total } = workflow.results.progress;
    for (const part of this.#shardProgress.get(workflow.index)?.values() ?? []) {
      done = boundedSum(done, part.done);
      total = boundedSum(total, part.total);
    }
    return { done, total };
  }

  /** 0 to 1: completed shards count fully, running ones by what they say. */
  fractionOf(workflow: WorkflowState): number {
    let sum = workflow.results.completedCount;
    for (const { done, total } of this.#shardProgress.get(workflow.index)?.values() ?? []) {
      if (total > 0) sum += Math.min(1, Math.max(0, done / total));
    }
    return sum / workflow.plan.shards;
  }

  runningCount(workflow: WorkflowState): number {
    let count = 0;
    for (const shard of this.#running.values()) if (shard.workflowIndex === workflow.index) count += 1;
    return count;
  }

  /** The events of log lines and of windows that are over. With `workflow` only its windows, and all of them. */
  take(
    now: { readonly wall: number; readonly monotonic: number },
    options: { readonly flushWorkflow?: number } = {},
  ): JobEvent[] {
    const flush = options.flushWorkflow !== undefined;
    const events = this.#logs;
    this.#logs = [];
    const dropped = this.#budget.takeDropped(now.monotonic, { flush });
    if (dropped > 0 && this.#lastDropped !== undefined) {
      const message = `dropped ${dropped} lines: the job writes too many`;
      events.push({ type: "log", at: now.wall, level: "warn", message, ...this.#lastDropped });
    }
    for (const [index, windows] of this.#windows) {
      if (flush && index !== options.flushWorkflow) continue;
      for (const window of windows.take(now.wall, { flush })) {
        events.push(this.#windowEvent(index, window, now.wall));
      }
    }
    return events;
  }

  #windowEvent(index: number, window: ClosedWindow, at: number): JobEvent {
    const workflow = this.#job.workflows[index] as WorkflowState;
    return {
      type: "window",
      at,
      workflowId: workflow.spec.id,
      windowStart: window.windowStart,
      windowMs: this.#windowMs,
      progress: this.progressOf(workflow),
      shards: { ...shardCounts(workflow), running: this.runningCount(workflow) },
      workerCount: window.workerCount,
      ...window.measurements,
    };
  }

  #progressOf(index: number): Map<number, Progress> {
    let progress = this.#shardProgress.get(index);
    if (progress === undefined) {
      progress = new Map();
      this.#shardProgress.set(index, progress);
    }
    return progress;
  }

  #windowsOf(index: number): WorkflowWindows {
    let windows = this.#windows.get(index);
    if (windows === undefined) {
      windows = new WorkflowWindows({ windowMs: this.#windowMs, driftMs: this.#driftMs });
      this.#windows.set(index, windows);
    }
    return windows;
  }
}
