import type { Abortable, Logger, Random } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkNumber, checkText } from "../../input-checks.ts";
import type { Json } from "../../json.ts";
import { checkLimit, LIST_LIMIT_DEFAULT } from "../../lease/grant-checks.ts";
import type { Notifier } from "../../notifier.ts";
import { buryDamaged, damagedTask } from "../../queue/damaged-tasks.ts";
import {
  checkClaim,
  checkLeaseMs,
  encodeProgress,
  encodeResult,
  PURGE_LIMIT_DEFAULT,
  priorityRanks,
} from "../../queue/queue-checks.ts";
import { checkLimits } from "../../queue/queue-limits.ts";
import { draftFailures, FAILURES_MAX_COUNT, LAPSED_ERROR_TEXT } from "../../queue/task-draft.ts";
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
import { queueKey } from "../../wake-ups.ts";
import { PieceReader } from "./payload-pieces.ts";
import { QueueScripts } from "./queue-scripts.ts";
import { RedisSchedules } from "./schedules.ts";
import type { QueueScriptName, ScriptRunner } from "./script-runner.ts";
import { TaskReader } from "./task-codec.ts";
import { TaskIntake } from "./task-intake.ts";
import { type RecordReply, toRecord, toSettings, toStats } from "./task-replies.ts";

interface TxOption extends Abortable {
  readonly tx?: never;
}

export interface RedisQueueParts {
  readonly scripts: ScriptRunner;
  readonly notifier: Notifier;
  readonly namespace: string;
  readonly channel: string;
  readonly random: Random;
  readonly logger: Logger;
  readonly payloadMaxBytes: number;
}

export class RedisTaskQueue implements TaskQueue<never> {
  readonly name: string;
  readonly schedules: RedisSchedules;
  readonly #scripts: QueueScripts;
  readonly #intake: TaskIntake;
  readonly #parts: RedisQueueParts;
  readonly #reader = new TaskReader();

  constructor(name: string, parts: RedisQueueParts) {
    this.name = name;
    this.#parts = parts;
    this.#scripts = new QueueScripts(parts.scripts, parts.namespace, parts.channel, name);
    this.#intake = new TaskIntake(this.#scripts, parts.random, parts.payloadMaxBytes);
    this.schedules = new RedisSchedules(this.#scripts, this.#intake);
  }

  async enqueue(tasks: readonly NewTask[], options: TxOption = {}): Promise<readonly string[]> {
    const ids = await this.#intake.enqueue(tasks, options);
    // Those of this process need not wait for the message to come back.
    this.#parts.notifier.wakeHere(queueKey(this.name));
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
    const { worker, maxCount, leaseMs, types } = options;
    if (types?.length === 0) return [];
    const ranks = priorityRanks(options.priorities).join("");
    const args = [`${maxCount}`, worker, `${Math.round(leaseMs * 1000)}`, ranks, ...(types ?? [])];
    const reply = await this.#scripts.run<readonly (string | readonly string[])[]>(
      "claim-tasks",
      args,
      options,
      false,
    );
    if (reply.length === 0) return [];
    const last = reply.at(-1);
    const pieces = new PieceReader(typeof last === "object" ? last : []);
    const end = typeof last === "object" ? reply.length - 1 : reply.length;
    const token = BigInt(reply[0] as string);
    const claimed: ClaimedTask[] = [];
    const damaged: TaskFailure[] = [];
    for (let index = 1; index < end; index += 3) {
      const id = reply[index] as string;
      try {
        const { meta, enqueuedAt, payload } = this.#reader.read(reply[index + 2] as string, pieces);
        claimed.push({
          id,
          type: meta.t,
          payload,
          group: meta.g,
          token,
          attempt: Number(reply[index + 1]),
          maxAttempts: meta.m,
          enqueuedAt,
          timeoutMs: meta.o,
        });
      } catch (error) {
        damaged.push(damagedTask({ id, token }, error));
      }
    }
    await buryDamaged(this, damaged, { logger: this.#parts.logger, signal: options.signal });
    return claimed;
  }

  async renew(
    refs: readonly TaskRef[],
    options: Abortable & { readonly leaseMs: number },
  ): Promise<readonly RenewOutcome[]> {
    checkBatch("refs", refs);
    checkLeaseMs(options.leaseMs);
    if (refs.length === 0) return [];
    const args = [`${Math.round(options.leaseMs * 1000)}`];
    for (const { id, token } of refs) args.push(id, token.toString());
    return this.#scripts.run("renew-claims", args, { signal: options.signal }, true);
  }

  async complete(
    completions: readonly (TaskRef & { readonly result?: Json })[],
    options: TxOption = {},
  ): Promise<readonly CompleteOutcome[]> {
    checkBatch("completions", completions);
    const args: string[] = [];
    for (const { id, token, result } of completions) {
      args.push(id, token.toString(), encodeResult(result, this.#parts.payloadMaxBytes) ?? "");
    }
    if (args.length === 0) return [];
    const reply = await this.#scripts.run<readonly string[]>("complete-tasks", args, options, false);
    return reply.map((done) => (done === "1" ? "completed" : "stale"));
  }

  async fail(failures: readonly TaskFailure[], options: TxOption = {}): Promise<readonly FailResult[]> {
    const drafts = draftFailures(failures);
    if (drafts.length === 0) return [];
    const args = [`${FAILURES_MAX_COUNT}`];
    for (const { id, token, errorText, retry, retryDelayMs, uncounted } of drafts) {
      args.push(id, token.toString(), errorText, retry ? "1" : "0", `${retryDelayMs ?? ""}`);
      args.push(`${this.#parts.random.next()}`, uncounted ? "1" : "0");
    }
    const reply = await this.#scripts.run<readonly (readonly [FailOutcome, string, string])[]>(
      "fail-tasks",
      args,
      options,
      false,
    );
    return reply.map(([outcome, attempt, waitMs]) => ({
      outcome,
      attempt: Number(attempt),
      ...(outcome === "retrying" ? { retryInMs: Number(waitMs) } : {}),
    }));
  }

  async cancelGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#count("cancel-groups", groups, options);
  }

  async deleteGroups(groups: readonly string[], options: TxOption = {}): Promise<number> {
    checkBatch("groups", groups);
    return this.#count("delete-groups", groups, options);
  }

  async recoverLapsed(options: TxOption & { readonly limit?: number } = {}): Promise<readonly LapsedTask[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    const reply = await this.#scripts.run<
      readonly (readonly [string, string, string, string, LapsedTask["outcome"]])[]
    >("recover-tasks", [`${limit}`, LAPSED_ERROR_TEXT, `${FAILURES_MAX_COUNT}`], options, false);
    return reply.map(([id, group, attempt, worker, outcome]) => ({
      id,
      group: group === "" ? undefined : group,
      attempt: Number(attempt),
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
    const reply = await this.#scripts.run<readonly RecordReply[]>(
      "list-tasks",
      [
        "",
        group === undefined ? "0" : "1",
        group ?? "",
        afterId ?? "",
        `${limit}`,
        states === undefined ? "0" : "1",
        ...(states ?? []),
      ],
      options,
      true,
    );
    return reply.map((record) => toRecord(record, this.#reader));
  }

  async get(id: string, options: Abortable = {}): Promise<TaskRecord | undefined> {
    checkText("task.id", id, 256);
    const args = [id, "0", "", "", "1", "0"];
    const [record] = await this.#scripts.run<readonly RecordReply[]>("list-tasks", args, options, true);
    return record === undefined ? undefined : toRecord(record, this.#reader);
  }

  async requeueDead(ids: readonly string[], options: Abortable = {}): Promise<readonly string[]> {
    checkBatch("ids", ids);
    return this.#scripts.run("requeue-dead", ids, options, false);
  }

  async reportProgress(
    reports: readonly (TaskRef & { readonly progress: Json })[],
    options: Abortable = {},
  ): Promise<readonly ProgressOutcome[]> {
    checkBatch("reports", reports);
    const args = reports.flatMap(({ id, token, progress }) => [
      id,
      token.toString(),
      encodeProgress(progress),
    ]);
    const reply = await this.#scripts.run<readonly string[]>("report-progress", args, options, true);
    return reply.map((done) => (done === "1" ? "recorded" : "stale"));
  }

  async pause(options: Abortable = {}): Promise<void> {
    await this.#scripts.run("change-settings", ["pause", "1"], options, true);
  }

  async resume(options: Abortable = {}): Promise<void> {
    await this.#scripts.run("change-settings", ["pause", "0"], options, true);
  }

  async setLimits(limits: QueueLimits | undefined, options: Abortable = {}): Promise<void> {
    const { concurrency, rate, perKey } = checkLimits(limits) ?? {};
    const args = [
      concurrency,
      rate?.count,
      rate?.perMs,
      perKey?.concurrency,
      perKey?.rate?.count,
      perKey?.rate?.perMs,
    ];
    await this.#scripts.run(
      "change-settings",
      // The two times are in microseconds there.
      [
        "limit",
        ...args.map((value, index) => `${value === undefined ? "" : index % 3 === 2 ? value * 1000 : value}`),
      ],
      options,
      true,
    );
  }

  async settings(options: Abortable = {}): Promise<QueueSettings> {
    return toSettings(await this.#scripts.run<readonly string[]>("read-settings", [], options, true));
  }

  async stats(options: Abortable = {}): Promise<QueueStats> {
    return toStats(await this.#scripts.run<readonly string[]>("queue-stats", [], options, true));
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
    const states = options.states ?? ["completed", "cancelled"];
    const args = [`${options.olderThanMs}`, `${limit}`, ...new Set(states)];
    return this.#count("purge-tasks", args, { signal: options.signal });
  }

  onAvailable(listener: () => void): () => void {
    return this.#parts.notifier.subscribe(queueKey(this.name), listener);
  }

  async nextDueInMs(options: Abortable = {}): Promise<number | undefined> {
    const reply = await this.#scripts.run<string>("next-due", [], options, true);
    return reply === "" ? undefined : Number(reply);
  }

  /** These may be repeated without harm: what is gone or cancelled is not counted again. */
  async #count(
    script: Extract<QueueScriptName, "cancel-groups" | "delete-groups" | "purge-tasks">,
    args: readonly string[],
    options: TxOption | { readonly signal: AbortSignal | undefined },
  ): Promise<number> {
    return Number(await this.#scripts.run<string>(script, args, options, true));
  }
}
