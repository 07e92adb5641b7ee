import type { Abortable, Random } from "@holdfast/kernel";
import { StoreConflictError } from "../../errors.ts";
import { draftTasks, type TaskDraft } from "../../queue/task-draft.ts";
import { TaskIds } from "../../queue/task-ids.ts";
import { BACKOFF_KINDS, type Backoff, JITTER_KINDS, type NewTask } from "../../queue/task-queue.ts";
import { arrayLiteral } from "./array-literal.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";

interface TxOption extends Abortable {
  readonly tx?: SqlExecutor | undefined;
}

/** A dedupe key may be freed between being in our way and being looked up; each such round adds the task. */
const ENQUEUE_TRIES = 5;

/** Puts tasks into one queue: in one statement, save for tasks that wait for others, which take a transaction. */
export class TaskIntake {
  readonly #queue: string;
  readonly #wakeUp: string;
  readonly #statements: StatementRunner;
  readonly #ids: TaskIds;
  readonly #payloadMaxBytes: number;

  constructor(
    queue: string,
    wakeUp: string,
    parts: {
      readonly statements: StatementRunner;
      readonly random: Random;
      readonly payloadMaxBytes: number;
    },
  ) {
    this.#queue = queue;
    this.#wakeUp = wakeUp;
    this.#statements = parts.statements;
    this.#ids = new TaskIds(parts.random);
    this.#payloadMaxBytes = parts.payloadMaxBytes;
  }

  /** @throws InvalidInputError, PayloadTooLargeError */
  check(tasks: readonly NewTask[]): void {
    draftTasks(tasks, this.#payloadMaxBytes);
  }

  async enqueue(tasks: readonly NewTask[], options: TxOption = {}): Promise<readonly string[]> {
    const drafts = draftTasks(tasks, this.#payloadMaxBytes);
    if (drafts.length === 0) {
      options.signal?.throwIfAborted();
      return [];
    }
    const ids = drafts.map(({ id }) => id ?? this.#ids.next());
    if (options.tx === undefined && drafts.some(({ after }) => after.length > 0)) {
      return this.#statements.ownTransaction(
        "enqueue-tasks",
        (tx) => this.#enqueueDrafts(drafts, ids, { tx, signal: options.signal }),
        { signal: options.signal },
      );
    }
    return this.#enqueueDrafts(drafts, ids, options);
  }

  async #enqueueDrafts(
    drafts: readonly TaskDraft[],
    ids: readonly string[],
    options: TxOption,
  ): Promise<readonly string[]> {
    const result = [...ids];
    if (areAlike(drafts)) {
      await this.#insertAlike(drafts, ids, options);
      return result;
    }
    // Without a dedupe key of its own a task can only be kept out by its own id, so there is nothing to look up.
    let open = drafts.map((_, index) => index);
    const linked: number[] = [];
    for (let tries = 0; tries < ENQUEUE_TRIES && open.length > 0; tries += 1) {
      const added = new Set(await this.#insert(open, drafts, ids, options));
      const inTheWay: number[] = [];
      for (const index of open) {
        const wasAdded = added.delete(ids[index] as string);
        if (wasAdded && (drafts[index] as TaskDraft).after.length > 0) linked.push(index);
        if (!wasAdded && drafts[index]?.dedupeKey !== undefined) inTheWay.push(index);
      }
      open = [];
      if (inTheWay.length === 0) break;
      const found = await this.#statements.run<{ readonly n: number; readonly id: string | null }>(
        "find-existing-tasks",
        [
          this.#queue,
          arrayLiteral(inTheWay.map((index) => ids[index])),
          arrayLiteral(inTheWay.map((index) => drafts[index]?.dedupeKey)),
        ],
        options,
      );
      for (const { n, id } of found) {
        const index = inTheWay[n - 1] as number;
        if (id === null) open.push(index);
        else result[index] = id;
      }
    }
    if (open.length > 0) throw new StoreConflictError(`enqueue to ${this.#queue}`);
    if (linked.length > 0) await this.#link(linked, drafts, ids, options);
    return result;
  }

  async #insertAlike(drafts: readonly TaskDraft[], ids: readonly string[], options: TxOption): Promise<void> {
    const first = drafts[0] as TaskDraft;
    // Ids of our own making are new, so nothing can be in their way.
    const areNew = drafts.every(({ id }) => id === undefined);
    await this.#statements.run(
      areNew ? "enqueue-new-tasks" : "enqueue-alike-tasks",
      [
        this.#queue,
        arrayLiteral(ids),
        lines(drafts),
        first.type,
        first.priorityRank,
        first.delayMs,
        first.maxAttempts,
        first.group ?? null,
        first.keepCompleted,
        this.#wakeUp,
        first.backoff === undefined ? null : encodeBackoff(first.backoff),
      ],
      options,
      { isRepeatable: isRepeatable(drafts) },
    );
  }

  async #insert(
    indexes: readonly number[],
    drafts: readonly TaskDraft[],
    ids: readonly string[],
    options: TxOption,
  ): Promise<readonly string[]> {
    const chosen = indexes.map((index) => drafts[index] as TaskDraft);
    const rows = await this.#statements.run<{ readonly id: string }>(
      "enqueue-tasks",
      [
        this.#queue,
        arrayLiteral(indexes.map((index) => ids[index])),
        arrayLiteral(chosen.map(({ type }) => type)),
        lines(chosen),
        arrayLiteral(chosen.map(({ priorityRank }) => priorityRank)),
        arrayLiteral(chosen.map(({ delayMs }) => delayMs)),
        arrayLiteral(chosen.map(({ maxAttempts }) => maxAttempts)),
        arrayLiteral(chosen.map(({ backoff }) => (backoff === undefined ? null : encodeBackoff(backoff)))),
        arrayLiteral(chosen.map(({ group }) => group)),
        arrayLiteral(chosen.map(({ dedupeKey }) => dedupeKey)),
        arrayLiteral(chosen.map(({ dedupeWindowMs }) => (dedupeWindowMs === 0 ? null : dedupeWindowMs))),
        arrayLiteral(chosen.map(({ limitKey }) => limitKey)),
        arrayLiteral(chosen.map(({ after }) => (after.length === 0 ? null : after.length))),
        arrayLiteral(chosen.map(({ timeoutMs }) => timeoutMs)),
        arrayLiteral(chosen.map(({ keepCompleted }) => keepCompleted)),
        this.#wakeUp,
      ],
      options,
      { isRepeatable: isRepeatable(chosen) },
    );
    return rows.map(({ id }) => id);
  }

  /** Inside a transaction: until it commits nobody sees tasks that wait for more than they should. */
  async #link(
    indexes: readonly number[],
    drafts: readonly TaskDraft[],
    ids: readonly string[],
    options: TxOption,
  ): Promise<void> {
    const pairs = indexes.flatMap((index) => {
      const { after, afterAnyEnd } = drafts[index] as TaskDraft;
      return after.map((dependency) => ({ dependent: ids[index], dependency, afterAnyEnd }));
    });
    await this.#statements.run(
      "link-dependencies",
      [
        this.#queue,
        arrayLiteral(pairs.map(({ dependent }) => dependent)),
        arrayLiteral(pairs.map(({ dependency }) => dependency)),
        arrayLiteral(pairs.map(({ afterAnyEnd }) => afterAnyEnd)),
      ],
      options,
    );
    await this.#statements.run(
      "start-dependents",
      [this.#queue, arrayLiteral(indexes.map((index) => ids[index]))],
      options,
    );
  }
}

/** Ids that the caller chose make the call repeatable: what was added is then found there. */
const isRepeatable = (drafts: readonly TaskDraft[]): boolean => drafts.every(({ id }) => id !== undefined);

const areAlike = (drafts: readonly TaskDraft[]): boolean => {
  const first = drafts[0] as TaskDraft;
  return drafts.every(
    (draft) =>
      draft.dedupeKey === undefined &&
      isSameBackoff(draft.backoff, first.backoff) &&
      draft.limitKey === undefined &&
      draft.timeoutMs === undefined &&
      draft.after.length === 0 &&
      draft.type === first.type &&
      draft.group === first.group &&
      draft.priorityRank === first.priorityRank &&
      draft.delayMs === first.delayMs &&
      draft.maxAttempts === first.maxAttempts &&
      draft.keepCompleted === first.keepCompleted,
  );
};

const isSameBackoff = (one: Backoff | undefined, other: Backoff | undefined): boolean =>
  one === other ||
  (one !== undefined &&
    other !== undefined &&
    one.kind === other.kind &&
    one.baseMs === other.baseMs &&
    one.factor === other.factor &&
    one.capMs === other.capMs &&
    one.jitter === other.jitter);

/** JSON as we write it holds no line breaks, so payloads need no escaping, and the server need not read them. */
const lines = (drafts: readonly TaskDraft[]): string =>
  drafts.map(({ payloadText }) => payloadText).join("\n");

const encodeBackoff = ({ kind, baseMs, factor, capMs, jitter }: Backoff): string =>
  arrayLiteral([BACKOFF_KINDS.indexOf(kind), baseMs, factor, capMs, JITTER_KINDS.indexOf(jitter)]);
