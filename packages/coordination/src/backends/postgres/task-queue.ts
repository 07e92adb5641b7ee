import type { Abortable, Clock, Logger, Random } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkNumber, checkText, compareByCodePoint } from "../../input-checks.ts";
import type { Json } from "../../json.ts";
import { checkLimit, LIST_LIMIT_DEFAULT } from "../../lease/grant-checks.ts";
import { encodeWakeUp, type Notifier } from "../../notifier.ts";
import { buryDamaged, damagedTask } from "../../queue/damaged-tasks.ts";
import {
  checkClaim,
  checkLeaseMs,
  encodeProgress,
  encodeResult,
  PURGE_LIMIT_DEFAULT,
} from "../../queue/queue-checks.ts";
import { checkLimits } from "../../queue/queue-limits.ts";
import { draftFailures, FAILURES_MAX_COUNT } from "../../queue/task-draft.ts";
import type {
  ClaimedTask,
  CompleteOutcome,
  FailOutcome,
  FailResult,
  LapsedTask,
  NewTask,
  ProgressOutcome,
  QueueLimits,
  QueueSettings,
  QueueStats,
  RenewOutcome,
  TaskFailure,
  TaskPriority,
  TaskQueue,
  TaskRecord,
  TaskRef,
  TaskState,
} from "../../queue/task-queue.ts";
import { queueKey, returnsKey } from "../../wake-ups.ts";
import { arrayLiteral } from "./array-literal.ts";
import { LapsedTasks } from "./lapsed-tasks.ts";
import { PostgresSchedules } from "./schedules.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";
import { toPartlyDoneError } from "./store-errors.ts";
import { TaskClaims } from "./task-claims.ts";
import { TaskIntake } from "./task-intake.ts";
import {
  type RecordRow,
  type SettingsRow,
  type StatsRow,
  toClaimedTask,
  toRecord,
  toSettings,
  toStats,
} from "./task-rows.ts";

interface TxOption extends Abortable {
  readonly tx?: SqlExecutor;
}

export interface QueueParts {
  readonly clock: Clock;
  readonly statements: StatementRunner;
  readonly notifier: Notifier;
  readonly random: Random;
  readonly logger: Logger;
  readonly payloadMaxBytes: number;
}

export class PostgresTaskQueue implements TaskQueue<SqlExecutor> {
  readonly name: string;
  readonly schedules: PostgresSchedules;
  readonly #intake: TaskIntake;
  readonly #statements: StatementRunner;
  readonly #notifier: Notifier;
  readonly #random: Random;
  readonly #payloadMaxBytes: number;
  readonly #logger: Logger;
  readonly #wakeUp: string;
  /** What is announced when lapsed tasks are back in their places. */
  readonly #returned: string;
  readonly #claims: TaskClaims;
  readonly #lapsed: LapsedTasks;

  constructor(name: string, parts: QueueParts) {
    this.name = name;
    this.#statements = parts.statements;
    this.#notifier = parts.notifier;
    this.#random = parts.random;
    this.#payloadMaxBytes = parts.payloadMaxBytes;
    this.#logger = parts.logger;
    this.#claims = new TaskClaims(name, parts);
    this.#wakeUp = encodeWakeUp([queueKey(name)]);
    this.#returned = encodeWakeUp([queueKey(name), returnsKey(name)]);
    this.#lapsed = new LapsedTasks(name, { ...parts, returned: this.#returned });
    this.#intake = new TaskIntake(name, this.#wakeUp, parts);
    this.schedules = new PostgresSchedules(name, parts.statements, this.#intake);
  }

  async enqueue(tasks: readonly NewTask[], options: TxOption = {}): Promise<readonly string[]> {
    const ids = await this.#intake.enqueue(tasks, options);
    // Those of this process need not wait for the notification to come back.
    if (options.tx === undefined) this.#notifier.wakeHere(queueKey(this.name));
    return ids;
  }

  async claim(
    options: TxOption & {
      readonly worker: string;
      readonly maxCount: number;
      readonly leaseMs: number;
      readonly types?: readonly string[];
      readonly priorities?: readonly TaskPriority[];
    },
  ): Promise<readonly ClaimedTask[]> {
    checkClaim(options);
    const claimed: ClaimedTask[] = [];
    const damaged: TaskFailure[] = [];
    for (const row of await this.#claims.claim(options)) {
      try {
        claimed.push(toClaimedTask(row));
      } catch (error) {
        damaged.push(damagedTask({ id: row.id as string, token: BigInt(row.token) }, error));
      }
    }
    const { tx, signal } = options;
    await buryDamaged(this, damaged, { logger: this.#logger, tx, signal });
    return claimed;
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
    const outcomes: CompleteOutcome[] = completions.map(() => "stale");
    let open = byId(completions);
    // Kept or not: the kind that was claimed last is tried first, and the other only for what that left.
    for (const forgets of [this.#claims.forgets, !this.#claims.forgets]) {
      if (open.length === 0) break;
      const ids = arrayLiteral(open.map(({ item }) => item.id));
      const tokens = arrayLiteral(open.map(({ item }) => item.token));
      const rows = await this.#statements
        .run<{ readonly n: number }>(
          forgets ? "complete-forgotten-tasks" : "complete-kept-tasks",
          forgets
            ? [this.name, ids, tokens, this.#wakeUp]
            : [this.name, ids, tokens, arrayLiteral(open.map(({ index }) => results[index])), this.#wakeUp],
          options,
        )
        .catch((error: unknown) => {
          throw open.length < completions.length ? toPartlyDoneError("complete", error, options) : error;
        });
      const done = new Set<number>();
      for (const { n } of rows) {
        done.add(n);
        outcomes[open[n - 1]?.index as number] = "completed";
      }
      open = open.filter((_, place) => !done.has(place + 1));
    }
    return outcomes;
  }

  async fail(failures: readonly TaskFailure[], options: TxOption = {}): Promise<readonly FailResult[]> {
    const drafts = draftFailures(failures);
    if (drafts.length === 0) return [];
    const keepsPlace = drafts.some((draft) => draft.keepsPlace);
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
        arrayLiteral(drafts.map(() => this.#random.next())),
        arrayLiteral(drafts.map(({ uncounted }) => uncounted)),
        FAILURES_MAX_COUNT,
        keepsPlace ? this.#returned : this.#wakeUp,
      ],
      options,
    );
    if (keepsPlace) this.#claims.lookAgain();
    const results: FailResult[] = drafts.map(() => ({ outcome: "stale", attempt: 0 }));
    for (const { n, outcome, attempt, delay_ms } of rows) {
      results[n - 1] =
        outcome === "dead" ? { outcome, attempt } : { outcome, attempt, retryInMs: Number(delay_ms) };
    }
    return results;
  }

  async cancelGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#count("cancel-groups", [this.name, arrayLiteral(groups), this.#wakeUp], options);
  }

  async recoverLapsed(options: TxOption & { readonly limit?: number } = {}): Promise<readonly LapsedTask[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    const lapsed = await this.#lapsed.recover(limit, options);
    if (lapsed.length > 0) this.#claims.lookAgain();
    return lapsed;
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

  async reportProgress(
    reports: readonly (TaskRef & { readonly progress: Json })[],
    options: Abortable = {},
  ): Promise<readonly ProgressOutcome[]> {
    checkBatch("reports", reports);
    const texts = reports.map(({ progress }) => encodeProgress(progress));
    const order = byId(reports);
    const rows = await this.#statements.run<{ readonly n: number }>(
      "report-progress",
      [
        this.name,
        arrayLiteral(order.map(({ item }) => item.id)),
        arrayLiteral(order.map(({ item }) => item.token)),
        arrayLiteral(order.map(({ index }) => texts[index])),
      ],
      options,
      { isRepeatable: true },
    );
    const outcomes: ProgressOutcome[] = reports.map(() => "stale");
    for (const { n } of rows) outcomes[order[n - 1]?.index as number] = "recorded";
    return outcomes;
  }

  pause(options: Abortable = {}): Promise<void> {
    return this.#set("pause-queue", [this.name, true, this.#wakeUp], options);
  }

  resume(options: Abortable = {}): Promise<void> {
    return this.#set("pause-queue", [this.name, false, this.#wakeUp], options);
  }

  async setLimits(limits: QueueLimits | undefined, options: Abortable = {}): Promise<void> {
    const { concurrency, rate, perKey } = checkLimits(limits) ?? {};
    const values = [concurrency, rate?.count, rate?.perMs, perKey?.concurrency, perKey?.rate?.count];
    await this.#set(
      "limit-queue",
      [this.name, ...[...values, perKey?.rate?.perMs].map((value) => value ?? null), this.#wakeUp],
      options,
    );
  }

  async settings(options: Abortable = {}): Promise<QueueSettings> {
    const [row] = await this.#statements.run<SettingsRow>("read-settings", [this.name], options);
    return toSettings(row);
  }

  async #set(
    statement: "pause-queue" | "limit-queue",
    values: readonly unknown[],
    options: Abortable,
  ): Promise<void> {
    await this.#statements.run(statement, values, options, { isRepeatable: true });
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
    return this.#count("purge-tasks", [this.name, states, options.olderThanMs, limit, this.#wakeUp], {
      signal: options.signal,
    });
  }

  async deleteGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#count("delete-groups", [this.name, arrayLiteral(groups), this.#wakeUp], options);
  }

  onAvailable(listener: () => void): () => void {
    this.#claims.hearOfReturns();
    return this.#notifier.subscribe(queueKey(this.name), listener);
  }

  nextDueInMs(options: Abortable = {}): Promise<number | undefined> {
    return this.#lapsed.nextDueInMs(this.#claims.front, options);
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
