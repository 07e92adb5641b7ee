import type { FailResult, Json, LogAppend, LogEntry, NewTask, TaskQueue } from "@holdfast/coordination";
import type { JobEvent } from "@holdfast/protocol/contract";
import { jobStream } from "../model/job-stream.ts";
import type { JobStore, JobUpdate, NewJobRow } from "../model/job-table.ts";
import { SHARD_QUEUE, type ShardPayload, shardTaskId } from "../model/shard-task.ts";
import { type Change, type ChangeOutcome, NOT_LED } from "./changes.ts";
import { type Effects, noEffects } from "./decide/effects.ts";
import { confirmStopped } from "./decide/end-early.ts";
import { retriesWithinBudget } from "./decide/retry-budget.ts";
import { startJob } from "./decide/start-workflows.ts";
import { DECISION_ORDER, decideChange, endKey, type LaterChange, type TaskEnds } from "./decide-change.ts";
import { encodeJobState, type JobState } from "./job-state.ts";
import type { LedJob } from "./led-job.ts";
import { taskPriority } from "./task-priority.ts";

export interface CommitContext<Tx> {
  readonly store: JobStore<Tx>;
  readonly led: (jobId: string) => LedJob | undefined;
  /** A led job around a state that is being submitted. */
  readonly create: (state: JobState) => LedJob;
  readonly now: () => { readonly wall: number; readonly monotonic: number };
}

/** One job's part of a batch. */
export interface JobDraft {
  readonly job: LedJob;
  readonly isNew: boolean;
  readonly events: JobEvent[];
  readonly enqueue: number[];
  readonly cancel: number[];
  stateChanged: boolean;
  /** A shard's task changed, or events are due: the fence has to be proven even if the state stays. */
  isTouched: boolean;
  /** The positions and payloads that were appended. */
  entries: LogEntry[];
  /** Tasks of cancelled workflows that workers hold, by id. */
  held: readonly string[];
}

/** The fence of some jobs is not ours any more: the whole transaction is rolled back. */
export class DeposedSignal extends Error {
  readonly jobIds: readonly string[];

  constructor(jobIds: readonly string[]) {
    super(`deposed as leader of ${jobIds.length} jobs`);
    this.jobIds = jobIds;
  }
}

/** Before the first entry of every life of a stream. */
const LOG_START = { epoch: 0n, offset: 0n };
/** Tasks in one call: below the store's bound, and a statement of a size that a server likes. */
const ENQUEUE_MAX_COUNT = 5_000;
/** Claimed tasks of a cancelled job that are waited for one by one; beyond it the lease's end is waited for. */
const HELD_MAX_COUNT = 10_000;

/**
 * Decides and commits many changes in one transaction, with one statement per kind of write: new rows, ends of
 * tasks, new tasks, cancelled groups, changed rows, log entries.
 *
 * The states in memory change while the transaction runs. When it fails they are worth nothing: the caller
 * drops the jobs of the batch and reads them again. One use.
 */
export class CommitBatch<Tx> {
  readonly #context: CommitContext<Tx>;
  readonly #queue: TaskQueue<Tx>;
  readonly #drafts = new Map<string, JobDraft>();
  readonly #changes: readonly Change[];
  #isUsed = false;

  constructor(context: CommitContext<Tx>, changes: readonly Change[]) {
    this.#context = context;
    this.#changes = changes;
    this.#queue = context.store.coordination.queue(SHARD_QUEUE);
  }

  /** What became of each job, once `run` has committed. */
  get drafts(): Iterable<JobDraft> {
    return this.#drafts.values();
  }

  /** @throws DeposedSignal when a job is led by another by now. */
  async run(tx: Tx): Promise<readonly ChangeOutcome[]> {
    // A transaction that runs its body again would decide twice.
    if (this.#isUsed) throw new DeposedSignal([]);
    this.#isUsed = true;
    const outcomes = new Map<Change, ChangeOutcome>();
    await this.#insert(outcomes, tx);
    const ends = await this.#endTasks(tx);
    for (const kind of DECISION_ORDER) {
      for (const change of this.#changes) {
        if (change.kind === kind) outcomes.set(change, this.#decide(change, ends));
      }
    }
    await this.#enqueue(tx);
    await this.#cancel(tx);
    await this.#update(tx);
    await this.#append(tx);
    return this.#changes.map((change) => this.#final(change, outcomes.get(change) ?? NOT_LED));
  }

  /** What is known of an outcome only once the whole batch is written. */
  #final(change: Change, outcome: ChangeOutcome): ChangeOutcome {
    const draft = this.#drafts.get(change.jobId);
    if (draft === undefined) return outcome;
    if (outcome.kind === "submitted" && !outcome.duplicate) {
      // Who follows the new log need not ask the store where it starts.
      const first = draft.entries[0]?.position;
      return first === undefined ? outcome : { ...outcome, position: { epoch: first.epoch, offset: 0n } };
    }
    if (outcome.kind === "cancel") {
      const { status } = draft.job.state;
      const isDone = outcome.decision.outcome === "cancelling" && status === "cancelled";
      return isDone
        ? { ...outcome, status, decision: { ...outcome.decision, outcome: "cancelled" } }
        : { ...outcome, status };
    }
    return outcome;
  }

  async #insert(outcomes: Map<Change, ChangeOutcome>, tx: Tx): Promise<void> {
    const submits = this.#changes.filter((change) => change.kind === "submit");
    if (submits.length === 0) return;
    const now = this.#context.now();
    const drafts = submits.map(({ newState }) => {
      const state = newState();
      const draft = newDraft(this.#context.create(state), true);
      draft.events.push({ type: "job.leader", at: now.wall, role: "manager", leader: draft.job.leader });
      const effects = noEffects();
      startJob(state, effects, now.wall);
      this.#take(draft, effects);
      return draft;
    });
    const rows = submits.map(({ row }, index): NewJobRow => {
      const { state, ownerId } = (drafts[index] as JobDraft).job;
      return { ...row, owner: ownerId, status: state.status, state: encodeJobState(state) };
    });
    const inserted = await this.#context.store.jobs.insert(rows, tx);
    submits.forEach((change, index) => {
      const outcome = inserted[index];
      const draft = drafts[index];
      if (outcome === undefined || draft === undefined) return;
      const duplicate = outcome.kind === "exists";
      outcomes.set(change, { kind: "submitted", row: outcome.row, duplicate, position: LOG_START });
      if (duplicate) return;
      draft.job.state.submittedAt = outcome.row.submittedAt;
      this.#drafts.set(change.jobId, draft);
    });
  }

  /** Completes and fails tasks in the queue: the token decides whether an outcome counts. */
  async #endTasks(tx: Tx): Promise<TaskEnds> {
    const led = (change: Change): boolean => this.#context.led(change.jobId) !== undefined;
    const completed = firstOfEach(this.#changes.filter((change) => change.kind === "completed").filter(led));
    const failed = firstOfEach(this.#changes.filter((change) => change.kind === "failed").filter(led));
    const ends: TaskEnds = { completed: new Map(), failed: new Map() };
    if (completed.length > 0) {
      const refs = completed.map(({ taskId, token, result }) => ({
        id: taskId,
        token,
        result: result as unknown as Json,
      }));
      const outcomes = await this.#queue.complete(refs, { tx });
      for (const [index, change] of completed.entries()) {
        ends.completed.set(endKey(change), outcomes[index] ?? "stale");
      }
    }
    if (failed.length > 0) {
      const retries = retriesWithinBudget(failed, (jobId) => this.#context.led(jobId)?.state);
      const failures = failed.map(({ taskId, token, error, uncounted, worker }, index) => ({
        id: taskId,
        token,
        error: { ...error, worker } as unknown as Json,
        retry: retries[index] ?? false,
        uncounted,
        // A shard that was given back goes to the next worker at once.
        ...(uncounted ? { retryDelayMs: 0 } : {}),
      }));
      const results = await this.#queue.fail(failures, { tx });
      const stale: FailResult = { outcome: "stale", attempt: 0 };
      for (const [index, change] of failed.entries()) {
        ends.failed.set(endKey(change), results[index] ?? stale);
      }
    }
    return ends;
  }

  #decide(change: LaterChange, ends: TaskEnds): ChangeOutcome {
    const job = this.#context.led(change.jobId);
    if (job === undefined) return NOT_LED;
    const draft = this.#draftOf(job);
    const effects = noEffects();
    const now = this.#context.now().wall;
    const outcome = decideChange(change, { job, effects, ends, now });
    this.#take(draft, effects);
    return outcome;
  }

  /** Puts the effects of one decision into the draft; windows of a workflow that ended come before its result. */
  #take(draft: JobDraft, effects: Effects): void {
    if (effects.ended.length > 0) {
      const now = this.#context.now();
      for (const index of effects.ended) {
        draft.events.push(...draft.job.progress.take(now, { flushWorkflow: index }));
      }
    }
    draft.events.push(...effects.events);
    draft.enqueue.push(...effects.enqueue);
    draft.cancel.push(...effects.cancel);
    draft.stateChanged ||= effects.stateChanged;
    draft.isTouched ||= effects.isTouched;
  }

  async #enqueue(tx: Tx): Promise<void> {
    const tasks: NewTask[] = [];
    for (const { job, enqueue } of this.#drafts.values()) {
      for (const index of enqueue) tasks.push(...shardTasks(job, index));
    }
    for (let start = 0; start < tasks.length; start += ENQUEUE_MAX_COUNT) {
      await this.#queue.enqueue(tasks.slice(start, start + ENQUEUE_MAX_COUNT), { tx });
    }
  }

  async #cancel(tx: Tx): Promise<void> {
    const groups: string[] = [];
    for (const draft of this.#drafts.values()) {
      const own = draft.cancel.map((index) => draft.job.groups[index] as string);
      groups.push(...own);
      if (draft.job.state.status !== "cancelling" || own.length === 0) continue;
      const held: string[] = [];
      for (const group of own) {
        const limit = HELD_MAX_COUNT;
        const records = await this.#queue.list({ group, states: ["claimed"], limit, tx });
        held.push(...records.map(({ id }) => id));
      }
      draft.held = held;
    }
    if (groups.length > 0) await this.#queue.cancelGroups(groups, { tx });
    for (const draft of this.#drafts.values()) {
      // A cancelled job that nobody runs has stopped already.
      const { job } = draft;
      if (job.state.status !== "cancelling" || draft.held.length > 0 || job.stopping.size > 0) continue;
      const effects = noEffects();
      confirmStopped(job.state, effects, this.#context.now().wall);
      this.#take(draft, effects);
    }
  }

  async #update(tx: Tx): Promise<void> {
    const changed = [...this.#drafts.values()].filter(
      (draft) => !draft.isNew && (draft.stateChanged || draft.isTouched || draft.events.length > 0),
    );
    if (changed.length === 0) return;
    const updates = changed.map(
      ({ job, stateChanged }): JobUpdate => ({
        jobId: job.jobId,
        fence: job.fence,
        status: job.state.status,
        ...(stateChanged ? { state: encodeJobState(job.state) } : {}),
      }),
    );
    const accepted = await this.#context.store.jobs.update(updates, tx);
    const refused = changed.flatMap(({ job }, index) => (accepted[index] === true ? [] : [job.jobId]));
    if (refused.length > 0) throw new DeposedSignal(refused);
  }

  async #append(tx: Tx): Promise<void> {
    const drafts = [...this.#drafts.values()].filter(({ events }) => events.length > 0);
    const appends = drafts.flatMap(({ job, events }) => {
      const stream = jobStream(job.jobId);
      return events.map((event): LogAppend => ({ stream, payload: event as unknown as Json }));
    });
    if (appends.length === 0) return;
    const positions = await this.#context.store.coordination.log.append(appends, { tx });
    const appendedAt = this.#context.now().wall;
    let next = 0;
    for (const draft of drafts) {
      draft.entries = draft.events.map(() => {
        const append = appends[next] as LogAppend;
        const entry = { ...append, position: positions[next] as LogEntry["position"], appendedAt };
        next += 1;
        return entry;
      });
    }
  }

  #draftOf(job: LedJob): JobDraft {
    let draft = this.#drafts.get(job.jobId);
    if (draft === undefined) {
      draft = newDraft(job, false);
      this.#drafts.set(job.jobId, draft);
    }
    return draft;
  }
}

/** A worker may repeat an outcome within a batch: the queue is asked once. */
const firstOfEach = <T extends { readonly taskId: string; readonly token: bigint }>(
  items: readonly T[],
): readonly T[] => {
  const seen = new Set<string>();
  return items.filter((item) => {
    const key = endKey(item);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
};

const shardTasks = (job: LedJob, index: number): NewTask[] => {
  const workflow = job.state.workflows[index];
  const group = job.groups[index];
  if (workflow === undefined || group === undefined) return [];
  const { spec, plan } = workflow;
  return Array.from({ length: plan.shards }, (_, shard) => {
    const payload: ShardPayload = { jobId: job.jobId, workflowId: spec.id, shard };
    return {
      id: shardTaskId(group, shard),
      type: spec.workflow,
      payload: { ...payload },
      priority: taskPriority(spec.priority),
      maxAttempts: plan.maxAttempts,
      backoff: plan.backoff,
      group,
    };
  });
};

const newDraft = (job: LedJob, isNew: boolean): JobDraft => ({
  job,
  isNew,
  events: [],
  enqueue: [],
  cancel: [],
  stateChanged: false,
  isTouched: false,
  entries: [],
  held: [],
});
