import { type Abortable, newId, type Random } from "@holdfast/kernel";
import { StoreConflictError } from "../../errors.ts";
import { checkBatch, checkInteger, checkNumber, checkText, compareByCodePoint } from "../../input-checks.ts";
import type { Json } from "../../json.ts";
import { checkLimit, LIST_LIMIT_DEFAULT } from "../../lease/grant-checks.ts";
import { encodeWakeUp, type Notifier } from "../../notifier.ts";
import { checkClaim, checkLeaseMs, encodeResult, PURGE_LIMIT_DEFAULT } from "../../queue/queue-checks.ts";
import {
  draftFailures,
  draftTasks,
  FAILURES_MAX_COUNT,
  jitterShare,
  LAPSED_ERROR_TEXT,
  type TaskDraft,
} from "../../queue/task-draft.ts";
import type {
  ClaimedTask,
  CompleteOutcome,
  FailOutcome,
  FailResult,
  LapsedTask,
  NewTask,
  QueueStats,
  RenewOutcome,
  TaskFailure,
  TaskQueue,
  TaskRecord,
  TaskRef,
  TaskState,
} from "../../queue/task-queue.ts";
import { queueKey } from "../../wake-ups.ts";
import { arrayLiteral } from "./array-literal.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";
import {
  type ClaimRow,
  type RecordRow,
  type StatsRow,
  toClaimedTask,
  toRecord,
  toStats,
} from "./task-rows.ts";

interface TxOption extends Abortable {
  readonly tx?: SqlExecutor;
}

/** A dedupe key may be freed between being in our way and being looked up; each such round adds the task. */
const ENQUEUE_TRIES = 5;

export interface QueueParts {
  readonly statements: StatementRunner;
  readonly notifier: Notifier;
  readonly random: Random;
  readonly payloadMaxBytes: number;
}

export class PostgresTaskQueue implements TaskQueue<SqlExecutor> {
  readonly name: string;
  readonly #statements: StatementRunner;
  readonly #notifier: Notifier;
  readonly #random: Random;
  readonly #payloadMaxBytes: number;
  readonly #wakeUp: string;

  constructor(name: string, parts: QueueParts) {
    this.name = name;
    this.#statements = parts.statements;
    this.#notifier = parts.notifier;
    this.#random = parts.random;
    this.#payloadMaxBytes = parts.payloadMaxBytes;
    this.#wakeUp = encodeWakeUp([queueKey(name)]);
  }

  async enqueue(tasks: readonly NewTask[], options: TxOption = {}): Promise<readonly string[]> {
    const drafts = draftTasks(tasks, this.#payloadMaxBytes);
    const ids = drafts.map(({ id }) => id ?? newId("task", this.#random));
    const result = [...ids];
    // Without a dedupe key of its own a task can only be kept out by its own id, so there is nothing to look up.
    let open = drafts.map((_, index) => index);
    for (let tries = 0; tries < ENQUEUE_TRIES && open.length > 0; tries += 1) {
      const added = new Set(await this.#insert(open, drafts, ids, options));
      const inTheWay = open.filter(
        (index) => drafts[index]?.dedupeKey !== undefined && !added.delete(ids[index] as string),
      );
      if (inTheWay.length === 0) return result;
      const found = await this.#statements.run<{ readonly n: number; readonly id: string | null }>(
        "find-existing-tasks",
        [
          this.name,
          arrayLiteral(inTheWay.map((index) => ids[index])),
          arrayLiteral(inTheWay.map((index) => drafts[index]?.dedupeKey)),
        ],
        options,
      );
      open = [];
      for (const { n, id } of found) {
        const index = inTheWay[n - 1] as number;
        if (id === null) open.push(index);
        else result[index] = id;
      }
    }
    if (open.length > 0) throw new StoreConflictError(`enqueue to ${this.name}`);
    return result;
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
        this.name,
        arrayLiteral(indexes.map((index) => ids[index])),
        arrayLiteral(chosen.map(({ type }) => type)),
        arrayLiteral(chosen.map(({ payloadText }) => payloadText)),
        arrayLiteral(chosen.map(({ priorityRank }) => priorityRank)),
        arrayLiteral(chosen.map(({ delayMs }) => delayMs)),
        arrayLiteral(chosen.map(({ maxAttempts }) => maxAttempts)),
        arrayLiteral(chosen.map(({ backoff }) => backoff.baseMs)),
        arrayLiteral(chosen.map(({ backoff }) => backoff.factor)),
        arrayLiteral(chosen.map(({ backoff }) => backoff.capMs)),
        arrayLiteral(chosen.map(({ group }) => group)),
        arrayLiteral(chosen.map(({ dedupeKey }) => dedupeKey)),
        this.#wakeUp,
      ],
      options,
      // Ids that the caller chose make the call repeatable: what was added is then found there.
      { isRepeatable: chosen.every(({ id }) => id !== undefined) },
    );
    return rows.map(({ id }) => id);
  }

  async claim(
    options: TxOption & {
      readonly worker: string;
      readonly maxCount: number;
      readonly leaseMs: number;
      readonly types?: readonly string[];
    },
  ): Promise<readonly ClaimedTask[]> {
    checkClaim(options);
    const { types, maxCount, worker, leaseMs } = options;
    const rows = await this.#statements.run<ClaimRow>(
      "claim-tasks",
      [this.name, maxCount, types === undefined ? null : arrayLiteral(types), worker, leaseMs],
      options,
    );
    return rows.map(toClaimedTask);
  }

  async renew(
    refs: readonly TaskRef[],
    options: Abortable & { readonly leaseMs: number },
  ): Promise<readonly RenewOutcome[]> {
    checkBatch("refs", refs);
    checkLeaseMs(options.leaseMs);
    if (refs.length === 0) return [];
    const order = byId(refs);
    const rows = await this.#statements.run<{ readonly n: number; readonly outcome: RenewOutcome }>(
      "renew-claims",
      [
        this.name,
        arrayLiteral(order.map(({ item }) => item.id)),
        arrayLiteral(order.map(({ item }) => item.token)),
        options.leaseMs,
      ],
      { signal: options.signal },
      { isRepeatable: true },
    );
    const outcomes: RenewOutcome[] = refs.map(() => "lost");
    for (const { n, outcome } of rows) outcomes[order[n - 1]?.index as number] = outcome;
    return outcomes;
  }

  async complete(
    completions: readonly (TaskRef & { readonly result?: Json })[],
    options: TxOption = {},
  ): Promise<readonly CompleteOutcome[]> {
    checkBatch("completions", completions);
    const results = completions.map(({ result }) => encodeResult(result, this.#payloadMaxBytes));
    if (completions.length === 0) return [];
    const order = byId(completions);
    const rows = await this.#statements.run<{ readonly n: number }>(
      "complete-tasks",
      [
        this.name,
        arrayLiteral(order.map(({ item }) => item.id)),
        arrayLiteral(order.map(({ item }) => item.token)),
        arrayLiteral(order.map(({ index }) => results[index])),
      ],
      options,
    );
    const outcomes: CompleteOutcome[] = completions.map(() => "stale");
    for (const { n } of rows) outcomes[order[n - 1]?.index as number] = "completed";
    return outcomes;
  }

  async fail(failures: readonly TaskFailure[], options: TxOption = {}): Promise<readonly FailResult[]> {
    const drafts = draftFailures(failures);
    if (drafts.length === 0) return [];
    const rows = await this.#statements.run<{
      readonly n: number;
      readonly outcome: Exclude<FailOutcome, "stale">;
      readonly attempt: number;
      readonly delay_ms: number;
    }>(
      "fail-tasks",
      [
        this.name,
        arrayLiteral(drafts.map(({ id }) => id)),
        arrayLiteral(drafts.map(({ token }) => token)),
        arrayLiteral(drafts.map(({ errorText }) => errorText)),
        arrayLiteral(drafts.map(({ retry }) => retry)),
        arrayLiteral(drafts.map(({ retryDelayMs }) => retryDelayMs)),
        arrayLiteral(drafts.map(() => jitterShare(this.#random))),
        arrayLiteral(drafts.map(({ uncounted }) => uncounted)),
        FAILURES_MAX_COUNT,
        this.#wakeUp,
      ],
      options,
    );
    const results: FailResult[] = drafts.map(() => ({ outcome: "stale", attempt: 0 }));
    for (const { n, outcome, attempt, delay_ms } of rows) {
      results[n - 1] =
        outcome === "dead" ? { outcome, attempt } : { outcome, attempt, retryInMs: Number(delay_ms) };
    }
    return results;
  }

  async cancelGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#count("cancel-groups", [this.name, arrayLiteral(groups)], options);
  }

  async recoverLapsed(options: TxOption & { readonly limit?: number } = {}): Promise<readonly LapsedTask[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    const rows = await this.#statements.run<{
      readonly id: string;
      readonly task_group: string | null;
      readonly attempt: number;
      readonly worker: string;
      readonly outcome: LapsedTask["outcome"];
    }>("recover-tasks", [this.name, limit, LAPSED_ERROR_TEXT, FAILURES_MAX_COUNT, this.#wakeUp], options);
    return rows.map(({ id, task_group, attempt, worker, outcome }) => ({
      id,
      group: task_group ?? undefined,
      attempt,
      worker,
      outcome,
    }));
  }

  async list(
    options: TxOption & {
      readonly group?: string;
      readonly states?: readonly TaskState[];
      readonly afterId?: string;
      readonly limit?: number;
    },
  ): Promise<readonly TaskRecord[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    const { group, states, afterId } = options;
    const rows = await this.#statements.run<RecordRow>(
      "list-tasks",
      [
        this.name,
        null,
        group ?? null,
        states === undefined ? null : arrayLiteral(states),
        afterId ?? null,
        limit,
      ],
      options,
    );
    return rows.map(toRecord);
  }

  async get(id: string, options: Abortable = {}): Promise<TaskRecord | undefined> {
    checkText("task.id", id, 256);
    const [row] = await this.#statements.run<RecordRow>(
      "list-tasks",
      [this.name, id, null, null, null, 1],
      options,
    );
    return row === undefined ? undefined : toRecord(row);
  }

  async requeueDead(ids: readonly string[], options: Abortable = {}): Promise<readonly string[]> {
    checkBatch("ids", ids);
    const rows = await this.#statements.run<{ readonly n: number }>(
      "requeue-dead",
      [this.name, arrayLiteral(ids), this.#wakeUp],
      options,
    );
    const requeued = new Set(rows.map(({ n }) => n - 1));
    return ids.filter((_, index) => requeued.has(index));
  }

  async stats(options: Abortable = {}): Promise<QueueStats> {
    const [row] = await this.#statements.run<StatsRow>("queue-stats", [this.name], options);
    return toStats(row);
  }

  async purge(
    options: Abortable & {
      readonly olderThanMs: number;
      readonly states?: readonly ("completed" | "cancelled" | "dead")[];
      readonly limit?: number;
    },
  ): Promise<number> {
    checkNumber("olderThanMs", options.olderThanMs, 0, Number.MAX_SAFE_INTEGER);
    const limit = options.limit ?? PURGE_LIMIT_DEFAULT;
    checkInteger("limit", limit, 1, 2 ** 31 - 1);
    const states = arrayLiteral(options.states ?? ["completed", "cancelled"]);
    return this.#count("purge-tasks", [this.name, states, options.olderThanMs, limit], {
      signal: options.signal,
    });
  }

  async deleteGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#count("delete-groups", [this.name, arrayLiteral(groups)], options);
  }

  onAvailable(listener: () => void): () => void {
    return this.#notifier.subscribe(queueKey(this.name), listener);
  }

  async nextDueInMs(options: Abortable = {}): Promise<number | undefined> {
    const [row] = await this.#statements.run<{ readonly due_in_ms: number | null }>(
      "next-due",
      [this.name],
      options,
    );
    const dueInMs = row?.due_in_ms ?? undefined;
    return dueInMs === undefined ? undefined : Math.max(0, Number(dueInMs));
  }

  /** These may be repeated without harm: what is gone or cancelled is not counted again. */
  async #count(
    statement: "cancel-groups" | "delete-groups" | "purge-tasks",
    values: readonly unknown[],
    options: Abortable & { readonly tx?: SqlExecutor | undefined },
  ): Promise<number> {
    const [row] = await this.#statements.run<{ readonly count: number }>(statement, values, options, {
      isRepeatable: true,
    });
    return Number(row?.count ?? 0);
  }
}

/** The items in the order of their ids, each with its place in the input: one order of row locks for all callers. */
const byId = <T extends { readonly id: string }>(
  items: readonly T[],
): readonly { item: T; index: number }[] =>
  items.map((item, index) => ({ item, index })).sort((a, b) => compareByCodePoint(a.item.id, b.item.id));
