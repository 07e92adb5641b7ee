import { type Clock, hasCode, type Logger, type TaskGroup, type Timer } from "@holdfast/kernel";
import type { JobEvent, JobResult, Leader } from "@holdfast/protocol/contract";
import { NodeNotReadyError } from "../errors.ts";
import { LazyAbort } from "../node/lazy-abort.ts";
import { settleJob } from "./decide/end-job.ts";
import { type GateJob, isTerminal } from "./gate-job.ts";
import type { JobCommits, PendingChange } from "./job-commits.ts";

/** What a led job needs of the gate. */
export interface LedJobParts {
  readonly commits: JobCommits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tasks: TaskGroup;
  readonly self: { readonly nodeId: string; readonly address: string };
  /** The job's last event is committed. */
  readonly onFinished: (led: LedJob) => void;
  /** Another gate leads it by now. */
  readonly onDeposed: (led: LedJob) => void;
}

/** A commit that was refused because the line is full is tried again after this long. */
const FULL_RETRY_MS = 50;

/**
 * What a datacenter tells of a job that goes on may wait this long for company: a job that is over by then is
 * written once less. Nobody waits for it but people who watch; ends, cancels and take-overs are written at once.
 */
const LINGER_MS = 40;

/** A job that this gate leads: its state, the changes that wait for their commit, and what runs for it. */
export class LedJob {
  readonly job: GateJob;
  /** On the monotonic clock: when the gate itself ends the job as `timeout`. */
  readonly deadlineAt: number;
  /** On the monotonic clock: since when the job is being ended. */
  endingSince: number | undefined;
  readonly #parts: LedJobParts;
  readonly #change: PendingChange;
  readonly #dropped = new LazyAbort();
  /** Aborts with either: nothing is to be sent to a datacenter any more. */
  readonly #stopped = new LazyAbort();
  readonly #stopListeners = new Set<() => void>();
  #commit: Promise<boolean> | undefined;
  #linger: Timer | undefined;
  #result: JobResult | undefined;

  constructor(parts: LedJobParts, job: GateJob, options: { readonly deadlineAt: number }) {
    this.#parts = parts;
    this.job = job;
    this.deadlineAt = options.deadlineAt;
    this.#change = { job, events: [], isQueued: false, isDropped: false };
    if (job.ending !== undefined) this.#noticeEnding();
  }

  /** The job has ended, or is not led here any more. */
  get isDropped(): boolean {
    return this.#dropped.isAborted;
  }

  /** Aborts when the job has ended, or is not led here any more. */
  get signal(): AbortSignal {
    return this.#dropped.signal;
  }

  /** The job is being ended early: stop dispatching, tell the datacenters. */
  get isEnding(): boolean {
    return this.endingSince !== undefined;
  }

  /** Aborts when the job is being ended early, or is dropped. */
  get stopped(): AbortSignal {
    return this.#stopped.signal;
  }

  /** Calls `listener` when the job begins to end early and when it is dropped. Returns what removes it. */
  onStopped(listener: () => void): () => void {
    this.#stopListeners.add(listener);
    return () => this.#stopListeners.delete(listener);
  }

  get leader(): Leader {
    return { ...this.#parts.self, fence: this.job.fence.toString() };
  }

  /** The final result, once it is decided. */
  get result(): JobResult | undefined {
    return this.#result;
  }

  /** Events that wait for their commit. */
  get pendingCount(): number {
    return this.#change.events.length;
  }

  /** Changes the job, draws the consequences, and commits what came of it; with `mayLinger` perhaps a moment later. */
  apply(
    change: (job: GateJob, at: number) => readonly JobEvent[],
    { mayLinger = false }: { readonly mayLinger?: boolean } = {},
  ): void {
    if (this.#change.isDropped) return;
    const at = this.#parts.clock.wallNow();
    const events = change(this.job, at);
    const consequences = settleJob(this.job, at);
    this.#noticeEnding();
    if (events.length + consequences.length === 0) return;
    for (const event of [...events, ...consequences]) {
      this.#change.events.push(event);
      if (event.type === "job.result") this.#result = event.result;
    }
    if (mayLinger && this.job.ending === undefined && !isTerminal(this.job.status)) {
      this.#linger ??= this.#parts.clock.schedule(LINGER_MS, () => {
        this.#linger = undefined;
        if (this.#change.events.length > 0) this.#startCommit();
      });
    } else this.#startCommit();
  }

  /**
   * Resolves when everything applied so far is committed.
   * @throws NodeNotReadyError when the job is not led here any more; retryable, nothing is known of the change.
   */
  async committed(): Promise<void> {
    if (this.#change.events.length > 0) this.#startCommit();
    while (this.#commit !== undefined) await this.#commit;
    if (this.#change.isDropped) {
      throw new NodeNotReadyError(
        this.#parts.self.nodeId,
        `job ${this.job.jobId} is moving to another gate`,
        {
          retryAfterMs: 200,
        },
      );
    }
  }

  /** Forgets the job: nothing of it is written any more, and what runs for it stops. Idempotent. */
  drop(reason: string): void {
    this.#change.isDropped = true;
    this.#endLinger();
    if (this.#dropped.isAborted) return;
    const error = new Error(reason);
    this.#dropped.abort(error);
    this.#stopped.abort(error);
    for (const listener of [...this.#stopListeners]) listener();
  }

  #noticeEnding(): void {
    if (this.job.ending === undefined || this.isEnding) return;
    this.endingSince = this.#parts.clock.monotonicNow();
    this.#stopped.abort(new Error(this.job.ending.reason));
    for (const listener of [...this.#stopListeners]) listener();
  }

  #endLinger(): void {
    this.#linger?.cancel();
    this.#linger = undefined;
  }

  #startCommit(): void {
    this.#endLinger();
    if (this.#change.isDropped) return;
    this.#commit ??= this.#commitAll().finally(() => {
      this.#commit = undefined;
      // What came after the last look for more found a commit under way, and nobody else would write it.
      if (this.#change.events.length > 0) this.#startCommit();
    });
  }

  /** Never rejects. False when the job was dropped. */
  async #commitAll(): Promise<boolean> {
    const { commits, clock, logger, onDeposed, onFinished } = this.#parts;
    do {
      try {
        if (!(await commits.update(this.#change))) {
          if (!this.#change.isDropped) onDeposed(this);
          return false;
        }
      } catch (error) {
        if (this.#change.isDropped) return false;
        if (!hasCode(error, "KERNEL_OVERLOADED")) {
          // The commits have said so to the gate already, which reads the job again.
          logger.warn({ err: error, jobId: this.job.jobId }, "a change of a job could not be committed");
          this.drop("its commit failed");
          return false;
        }
        await clock.sleep(FULL_RETRY_MS, { signal: this.signal }).catch(() => undefined);
      }
      if (this.#change.isDropped) return false;
    } while (this.#change.events.length > 0);
    if (isTerminal(this.job.status)) onFinished(this);
    return true;
  }
}
