import type { LogAppend, LogEntry, Position } from "@holdfast/coordination";
import { hasCode, isHoldfastError, type Logger } from "@holdfast/kernel";
import type { JobEvent } from "@holdfast/protocol/contract";
import { jobStream } from "../model/job-stream.ts";
import type { JobRow, JobStore, JobUpdate, NewJobRow } from "../model/job-table.ts";
import { CommitLoop } from "../node/commit-loop.ts";
import { encodeGateState, type GateJob } from "./gate-job.ts";

/** A new job: its row and the events that its log begins with. */
export interface JobInsert {
  readonly row: NewJobRow;
  /** Called with the stored row, inside the transaction. */
  readonly eventsOf: (row: JobRow) => readonly JobEvent[];
}

export type InsertResult =
  | { readonly kind: "inserted"; readonly row: JobRow; readonly first: Position; readonly head: Position }
  | { readonly kind: "exists"; readonly row: JobRow };

/** Changes of a job that wait for their commit. */
export interface PendingChange {
  readonly job: GateJob;
  events: JobEvent[];
  /** In the line; taken out when its transaction begins, so that what comes until then goes along. */
  isQueued: boolean;
  /** The job was dropped from memory: its state must not be written any more. */
  isDropped: boolean;
}

type Item =
  | { readonly kind: "insert"; readonly insert: JobInsert }
  | {
      readonly kind: "update";
      readonly change: PendingChange;
      taken: readonly JobEvent[];
      /** The state that goes with `taken`; undefined when the job was dropped. */
      update: JobUpdate | undefined;
    };

type Out = InsertResult | "committed" | "deposed";

export interface JobCommitsOptions {
  readonly store: JobStore;
  readonly logger: Logger;
  readonly pendingMaxCount: number;
  /** Entries of a job led here that are visible to readers now. Must not throw. */
  readonly onCommitted: (jobId: string, entries: readonly LogEntry[]) => void;
  /** Nobody knows whether the transaction of these jobs was committed: forget what is in memory and read them again. */
  readonly onUnknown: (jobIds: readonly string[], error: unknown) => void;
  /** How long transactions take, milliseconds, for the load of the node. */
  readonly onDuration: (durationMs: number) => void;
  readonly monotonicNow: () => number;
  /** Joins the transaction that ends these jobs. */
  readonly onEnding: (jobs: readonly GateJob[], tx: unknown) => Promise<void>;
}

/** Events of one transaction; a job with more goes on in the next. */
const EVENTS_MAX_WEIGHT = 2_000;

/**
 * The one writer of this gate: whatever waits goes into one transaction, with one statement for all new rows,
 * one for all changed rows and one for all events. An update counts only under the fence of its job.
 */
export class JobCommits {
  readonly #options: JobCommitsOptions;
  readonly #loop: CommitLoop<Item, Out>;

  constructor(options: JobCommitsOptions) {
    this.#options = options;
    this.#loop = new CommitLoop<Item, Out>({
      name: "the commits of the gate",
      commit: (items) => this.#commit(items),
      onFailure: (items, error) => options.onUnknown(items.map(jobIdOf), error),
      mayBeOneItem: (error) =>
        isHoldfastError(error) && !error.retryable && !hasCode(error, "KERNEL_OUTCOME_UNKNOWN"),
      logger: options.logger,
      pendingMaxCount: options.pendingMaxCount,
      weigh: (item) => (item.kind === "insert" ? 4 : 1 + item.change.events.length),
      batchMaxWeight: EVENTS_MAX_WEIGHT,
    });
  }

  /** How full the waiting line is, 0 to 1. */
  get fill(): number {
    return this.#loop.fill;
  }

  /** Nothing waits, and no transaction is under way. */
  get isIdle(): boolean {
    return this.#loop.isIdle;
  }

  get stats(): { readonly batches: number; readonly items: number; readonly failures: number } {
    return this.#loop.stats;
  }

  /** Stores a new job, unless one with its id or idempotency key is there. @throws what the store throws. */
  insert(insert: JobInsert): Promise<InsertResult> {
    return this.#loop.add({ kind: "insert", insert }) as Promise<InsertResult>;
  }

  /**
   * Commits the job's state as it is when its turn comes, with all events that wait by then. False when
   * another gate leads the job by now: nothing was changed.
   */
  async update(change: PendingChange): Promise<boolean> {
    change.isQueued = true;
    const out = await this.#loop.add({ kind: "update", change, taken: [], update: undefined });
    return out === "committed";
  }

  close(): Promise<void> {
    return this.#loop.close();
  }

  async #commit(items: readonly Item[]): Promise<readonly (Out | Error)[]> {
    const { store, monotonicNow, onCommitted, onDuration, onEnding } = this.#options;
    const startedAt = monotonicNow();
    for (const item of items) {
      if (item.kind === "insert") continue;
      item.taken = [...item.taken, ...item.change.events];
      item.change.events = [];
      item.change.isQueued = false;
      // Now, with the events that led to it: the job goes on while the transaction begins, and an end that was
      // written without its result would never get one.
      item.update = item.change.isDropped ? undefined : updateOf(item.change.job);
    }
    const committed = await store.coordination.transaction(async (tx) => {
      const inserts = items.flatMap((item) => (item.kind === "insert" ? [item.insert.row] : []));
      const updates = new Map<Item, JobUpdate>();
      for (const item of items) {
        if (item.kind === "update" && item.update !== undefined && !item.change.isDropped)
          updates.set(item, item.update);
      }
      const inserted = inserts.length === 0 ? [] : await store.jobs.insert(inserts, tx);
      const updated = updates.size === 0 ? [] : await store.jobs.update([...updates.values()], tx);
      let insertIndex = 0;
      let updateIndex = 0;
      const appends: LogAppend[] = [];
      const outcomes = items.map((item) => {
        const from = appends.length;
        if (item.kind === "insert") {
          const outcome = inserted[insertIndex++];
          if (outcome?.kind === "inserted")
            appends.push(...appendsOf(outcome.row.jobId, item.insert.eventsOf(outcome.row)));
          return { item, outcome, from, to: appends.length };
        }
        const isCurrent = updates.has(item) && updated[updateIndex++] === true;
        if (isCurrent) appends.push(...appendsOf(item.change.job.jobId, item.taken));
        return { item, outcome: isCurrent, from, to: appends.length };
      });
      const positions = appends.length === 0 ? [] : await store.coordination.log.append(appends, { tx });
      const ended = outcomes.flatMap(({ item, outcome }) =>
        item.kind === "update" && outcome === true && item.taken.some(({ type }) => type === "job.result")
          ? [item.change.job]
          : [],
      );
      if (ended.length > 0) await onEnding(ended, tx);
      return { outcomes, appends, positions };
    });
    onDuration(monotonicNow() - startedAt);
    const { appends, positions } = committed;
    return committed.outcomes.map(({ item, outcome, from, to }): Out | Error => {
      const entries = appends.slice(from, to).map((append, index): LogEntry => {
        const position = positions[from + index] as Position;
        return { ...append, position, appendedAt: 0 };
      });
      if (item.kind === "update") {
        if (outcome !== true) return "deposed";
        const head = entries.at(-1)?.position;
        if (head !== undefined) item.change.job.head = head;
        onCommitted(item.change.job.jobId, entries);
        return "committed";
      }
      if (typeof outcome !== "object") return new Error("the store answered fewer inserts than it was given");
      if (outcome.kind === "exists") return outcome;
      const first = entries[0]?.position;
      const head = entries.at(-1)?.position;
      if (first === undefined || head === undefined) return new Error("a new job has no first event");
      onCommitted(outcome.row.jobId, entries);
      return { kind: "inserted", row: outcome.row, first, head };
    });
  }
}

const jobIdOf = (item: Item): string =>
  item.kind === "insert" ? item.insert.row.jobId : item.change.job.jobId;

const updateOf = (job: GateJob): JobUpdate => ({
  jobId: job.jobId,
  fence: job.fence,
  status: job.status,
  state: encodeGateState(job),
});

const appendsOf = (jobId: string, events: readonly JobEvent[]): readonly LogAppend[] =>
  events.map((event) => ({ stream: jobStream(jobId), payload: event as unknown as LogAppend["payload"] }));
