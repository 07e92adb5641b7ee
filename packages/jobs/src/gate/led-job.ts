import { type Clock, hasCode, type Logger, type TaskGroup } from "@holdfast/kernel";
import type { JobEvent, JobResult, Leader } from "@holdfast/protocol/contract";
import { NodeNotReadyError } from "../errors.ts";
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

/** A job that this gate leads: its state, the changes that wait for their commit, and what runs for it. */
export class LedJob {
  readonly job: GateJob;
  /** On the monotonic clock: when the gate itself ends the job as `timeout`. */
  readonly deadlineAt: number;
  /** On the monotonic clock: since when the job is being ended. */
  endingSince: number | undefined;
  readonly #parts: LedJobParts;
  readonly #change: PendingChange;
  readonly #dropped = new AbortController();
  readonly #ending = new AbortController();
  #commit: Promise<boolean> | undefined;
  #result: JobResult | undefined;

  constructor(parts: LedJobParts, job: GateJob, options: { readonly deadlineAt: number }) {
    this.#parts = parts;
    this.job = job;
    this.deadlineAt = options.deadlineAt;
    this.#change = { job, events: [], isQueued: false, isDropped: false };
    if (job.ending !== undefined) this.#noticeEnding();
  }

  /** Aborts when the job has ended, or is not led here any more. */
  get signal(): AbortSignal {
    return this.#dropped.signal;
  }

  /** Aborts when the job is being ended early: stop dispatching, tell the datacenters. */
  get ending(): AbortSignal {
    return this.#ending.signal;
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

  /** Changes the job, draws the consequences, and commits what came of it. */
  apply(change: (job: GateJob, at: number) => readonly JobEvent[]): void {
    if (this.#dropped.signal.aborted) return;
    const at = this.#parts.clock.wallNow();
    const events = change(this.job, at);
    const consequences = settleJob(this.job, at);
    this.#noticeEnding();
    if (events.length + consequences.length === 0) return;
    for (const event of [...events, ...consequences]) {
      this.#change.events.push(event);
      if (event.type === "job.result") this.#result = event.result;
    }
    this.#startCommit();
  }

  /**
   * Resolves when everything applied so far is committed.
   * @throws NodeNotReadyError when the job is not led here any more; retryable, nothing is known of the change.
   */
  async committed(): Promise<void> {
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
    if (!this.#dropped.signal.aborted) this.#dropped.abort(new Error(reason));
  }

  #noticeEnding(): void {
    if (this.job.ending === undefined || this.#ending.signal.aborted) return;
    this.endingSince = this.#parts.clock.monotonicNow();
    this.#ending.abort(new Error(this.job.ending.reason));
  }

  #startCommit(): void {
    this.#commit ??= this.#commitAll().finally(() => {
      this.#commit = undefined;
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
