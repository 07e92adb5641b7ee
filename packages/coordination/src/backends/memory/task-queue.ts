import type { Abortable } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkNumber, checkText, compareByCodePoint } from "../../input-checks.ts";
import type { Json } from "../../json.ts";
import { checkLimit, LIST_LIMIT_DEFAULT } from "../../lease/grant-checks.ts";
import {
  checkClaim,
  checkLeaseMs,
  encodeProgress,
  encodeResult,
  PURGE_LIMIT_DEFAULT,
  priorityRanks,
} from "../../queue/queue-checks.ts";
import { checkLimits } from "../../queue/queue-limits.ts";
import {
  BACKOFF_DEFAULT,
  backoffMs,
  draftFailures,
  draftTasks,
  LAPSED_ERROR_TEXT,
} from "../../queue/task-draft.ts";
import type {
  ClaimedTask,
  CompleteOutcome,
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
import { queueKey } from "../../wake-ups.ts";
import type { MemoryParts } from "./parts.ts";
import { QueueGate } from "./queue-gate.ts";
import { MemorySchedules } from "./schedules.ts";
import { isLive, type Task, toRecord } from "./task.ts";
import { TaskEnds } from "./task-ends.ts";
import { TaskIndex } from "./task-index.ts";
import { TaskIntake } from "./task-intake.ts";
import type { Change, MemoryTx } from "./transactor.ts";

interface TxOption extends Abortable {
  readonly tx?: MemoryTx;
}

export class MemoryTaskQueue implements TaskQueue<MemoryTx> {
  readonly name: string;
  readonly schedules: MemorySchedules;
  readonly #parts: MemoryParts;
  readonly #payloadMaxBytes: number;
  readonly #index = new TaskIndex();
  readonly #gate = new QueueGate(this.#index);
  readonly #intake: TaskIntake;
  readonly #ends: TaskEnds;

  constructor(name: string, parts: MemoryParts, payloadMaxBytes: number) {
    this.name = name;
    this.#parts = parts;
    this.#payloadMaxBytes = payloadMaxBytes;
    this.#intake = new TaskIntake(this.#index, queueKey(name), parts.random);
    this.#ends = new TaskEnds(this.#index, this.#gate, queueKey(name));
    this.schedules = new MemorySchedules({
      run: (options, step) => this.#run(options, step),
      enqueue: (tasks, now, change) => {
        this.#intake.add(draftTasks(tasks, payloadMaxBytes), now, change);
      },
      check: (tasks) => void draftTasks(tasks, payloadMaxBytes),
    });
  }

  async enqueue(tasks: readonly NewTask[], options: TxOption = {}): Promise<readonly string[]> {
    const drafts = draftTasks(tasks, this.#payloadMaxBytes);
    return this.#run(options, (change, now) => this.#intake.add(drafts, now, change));
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
    const lanes = { types: options.types, ranks: priorityRanks(options.priorities) };
    return this.#run(options, (change, now) => {
      const claimed: ClaimedTask[] = [];
      let token: bigint | undefined;
      while (claimed.length < options.maxCount) {
        const task = this.#gate.take(lanes, now, change);
        if (task === undefined) break;
        token ??= this.#parts.tokens.next();
        const attempt = task.status.attempt + 1;
        const { worker } = options;
        this.#index.setStatus(
          task,
          { ...task.status, state: "claimed", attempt, token, worker, leaseUntil: now + options.leaseMs },
          now,
          change,
        );
        claimed.push({
          id: task.id,
          type: task.type,
          payload: JSON.parse(task.payloadText) as Json,
          group: task.group,
          token,
          attempt,
          maxAttempts: task.maxAttempts,
          enqueuedAt: task.enqueuedAt,
          timeoutMs: task.timeoutMs,
        });
      }
      return claimed;
    });
  }

  async renew(
    refs: readonly TaskRef[],
    options: Abortable & { readonly leaseMs: number },
  ): Promise<readonly RenewOutcome[]> {
    checkBatch("refs", refs);
    checkLeaseMs(options.leaseMs);
    return this.#run({ signal: options.signal }, (change, now) =>
      refs.map((ref) => {
        const task = this.#index.get(ref.id);
        if (task?.status.token !== ref.token) return "lost";
        if (task.status.state === "cancelled") return "cancelled";
        if (task.status.state !== "claimed") return "lost";
        this.#index.setStatus(task, { ...task.status, leaseUntil: now + options.leaseMs }, now, change);
        return "renewed";
      }),
    );
  }

  async complete(
    completions: readonly (TaskRef & { readonly result?: Json })[],
    options: TxOption = {},
  ): Promise<readonly CompleteOutcome[]> {
    checkBatch("completions", completions);
    const results = completions.map(({ result }) => encodeResult(result, this.#payloadMaxBytes));
    return this.#run(options, (change, now) =>
      completions.map((ref, index) => {
        const task = this.#claimedBy(ref);
        if (task === undefined) return "stale";
        const resultText = results[index];
        this.#ends.complete(task, resultText, now, change);
        return "completed";
      }),
    );
  }

  async fail(failures: readonly TaskFailure[], options: TxOption = {}): Promise<readonly FailResult[]> {
    const drafts = draftFailures(failures);
    return this.#run(options, (change, now) =>
      drafts.map((draft): FailResult => {
        const task = this.#claimedBy(draft);
        if (task === undefined) return { outcome: "stale", attempt: 0 };
        const tried = task.status.attempt;
        const attempt = draft.uncounted ? tried - 1 : tried;
        if (!draft.retry || attempt >= task.maxAttempts) {
          this.#ends.bury(task, attempt, draft.errorText, now, change);
          return { outcome: "dead", attempt };
        }
        const { backoff = BACKOFF_DEFAULT, status } = task;
        const delayMs = draft.keepsPlace
          ? undefined
          : (draft.retryDelayMs ?? backoffMs(backoff, tried, this.#parts.random.next(), status.lastDelayMs));
        this.#ends.giveBack(task, attempt, draft.errorText, delayMs, now, change);
        return { outcome: "retrying", attempt, retryInMs: delayMs ?? 0 };
      }),
    );
  }

  async cancelGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#run(options, (change, now) => {
      let count = 0;
      for (const group of groups) {
        for (const task of [...this.#index.ofGroup(group)]) {
          if (!isLive(task.status.state)) continue;
          this.#ends.cancel(task, now, change);
          count += 1;
        }
      }
      return count;
    });
  }

  async recoverLapsed(options: TxOption & { readonly limit?: number } = {}): Promise<readonly LapsedTask[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    return this.#run(options, (change, now) => {
      const lapsed: LapsedTask[] = [];
      while (lapsed.length < limit) {
        const task = this.#index.takeLapsed(now);
        if (task === undefined) break;
        const { id, group } = task;
        const { attempt, worker = "" } = task.status;
        if (attempt >= task.maxAttempts) {
          this.#ends.bury(task, attempt, LAPSED_ERROR_TEXT, now, change);
          lapsed.push({ id, group, attempt, worker, outcome: "dead" });
        } else {
          this.#ends.giveBack(task, attempt, LAPSED_ERROR_TEXT, undefined, now, change);
          lapsed.push({ id, group, attempt, worker, outcome: "retrying" });
        }
      }
      return lapsed;
    });
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
    return this.#run(options, () => {
      const tasks = group === undefined ? this.#index.tasks() : this.#index.ofGroup(group);
      const found: Task[] = [];
      for (const task of tasks) {
        if (states !== undefined && !states.includes(task.status.state)) continue;
        if (afterId !== undefined && compareByCodePoint(task.id, afterId) <= 0) continue;
        found.push(task);
      }
      return found
        .sort((a, b) => compareByCodePoint(a.id, b.id))
        .slice(0, limit)
        .map(toRecord);
    });
  }

  async get(id: string, options: Abortable = {}): Promise<TaskRecord | undefined> {
    checkText("task.id", id, 256);
    return this.#run({ signal: options.signal }, () => {
      const task = this.#index.get(id);
      return task === undefined ? undefined : toRecord(task);
    });
  }

  async requeueDead(ids: readonly string[], options: Abortable = {}): Promise<readonly string[]> {
    checkBatch("ids", ids);
    return this.#run({ signal: options.signal }, (change, now) =>
      ids.filter((id) => {
        const task = this.#index.get(id);
        if (task?.status.state !== "dead") return false;
        // A live task took over its dedupe key meanwhile: two live ones must never share it.
        if (task.dedupeKey !== undefined && this.#index.liveWithDedupeKey(task.dedupeKey)) return false;
        this.#index.setStatus(
          task,
          {
            ...task.status,
            state: "pending",
            attempt: 0,
            runAt: now,
            worker: undefined,
            finishedAt: undefined,
          },
          now,
          change,
        );
        change.wakeOnCommit(queueKey(this.name));
        return true;
      }),
    );
  }

  async reportProgress(
    reports: readonly (TaskRef & { readonly progress: Json })[],
    options: Abortable = {},
  ): Promise<readonly ProgressOutcome[]> {
    checkBatch("reports", reports);
    const texts = reports.map(({ progress }) => encodeProgress(progress));
    return this.#run(options, (change, now) =>
      reports.map((ref, index) => {
        const task = this.#claimedBy(ref);
        if (task === undefined) return "stale";
        this.#index.setStatus(task, { ...task.status, progressText: texts[index] }, now, change);
        return "recorded";
      }),
    );
  }

  stats(options: Abortable = {}): Promise<QueueStats> {
    return this.#run({ signal: options.signal }, (_change, now) => ({
      ...this.#index.stats(now),
      paused: this.#gate.settings.paused,
    }));
  }

  pause(options: Abortable = {}): Promise<void> {
    return this.#changeSettings(options, { paused: true });
  }

  resume(options: Abortable = {}): Promise<void> {
    return this.#changeSettings(options, { paused: false });
  }

  async setLimits(limits: QueueLimits | undefined, options: Abortable = {}): Promise<void> {
    return this.#changeSettings(options, { limits: checkLimits(limits) });
  }

  settings(options: Abortable = {}): Promise<QueueSettings> {
    return this.#run(options, () => this.#gate.settings);
  }

  #changeSettings(options: Abortable, changed: Partial<QueueSettings>): Promise<void> {
    return this.#run(options, (change) => {
      this.#gate.change({ ...this.#gate.settings, ...changed }, change);
      change.wakeOnCommit(queueKey(this.name));
    });
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
    checkInteger("limit", limit, 1, Number.MAX_SAFE_INTEGER);
    return this.#run({ signal: options.signal }, (change, now) => {
      let count = 0;
      for (const state of new Set(options.states ?? (["completed", "cancelled"] as const))) {
        for (const task of this.#index.finished(state)) {
          // They lie in the order in which they finished, so the first that is too young ends the search.
          if (count >= limit || (task.status.finishedAt ?? now) >= now - options.olderThanMs) break;
          this.#ends.forget(task, now, change);
          count += 1;
        }
      }
      return count;
    });
  }

  async deleteGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#run(options, (change, now) => {
      let count = 0;
      for (const group of groups) {
        for (const task of [...this.#index.ofGroup(group)]) {
          this.#ends.forget(task, now, change);
          count += 1;
        }
      }
      return count;
    });
  }

  onAvailable(listener: () => void): () => void {
    return this.#parts.wakeUps.subscribe(queueKey(this.name), listener);
  }

  nextDueInMs(options: Abortable = {}): Promise<number | undefined> {
    return this.#run({ signal: options.signal }, (_change, now) => {
      const dueAt = this.#index.nextPendingAt(now);
      const opensAt = dueAt === undefined ? undefined : this.#gate.opensAt(dueAt, now);
      const nextAt = Math.min(opensAt ?? Infinity, this.#index.nextLapseAt() ?? Infinity);
      return nextAt === Infinity ? undefined : Math.max(0, nextAt - now);
    });
  }

  #run<T>(
    options: Abortable & { readonly tx?: MemoryTx | undefined },
    step: (change: Change, now: number) => T,
  ): Promise<T> {
    return this.#parts.transactor.run(options, (change) => step(change, this.#parts.storeClock.now()));
  }

  #claimedBy(ref: TaskRef): Task | undefined {
    const task = this.#index.get(ref.id);
    return task?.status.state === "claimed" && task.status.token === ref.token ? task : undefined;
  }
}
