import type { Random } from "@holdfast/kernel";
import type { TaskDraft } from "../../queue/task-draft.ts";
import { TaskIds } from "../../queue/task-ids.ts";
import { isLive, type Task } from "./task.ts";
import type { TaskIndex } from "./task-index.ts";
import type { Change } from "./transactor.ts";

/** Puts tasks into one queue, leaving out those whose id or dedupe key is there already. */
export class TaskIntake {
  readonly #index: TaskIndex;
  readonly #wakeKey: string;
  readonly #ids: TaskIds;
  /** Dedupe keys that count for a time, with their task and that time's end. */
  readonly #windows = new Map<string, { readonly id: string; readonly until: number }>();
  #lastSeq = 0;

  constructor(index: TaskIndex, wakeKey: string, random: Random) {
    this.#index = index;
    this.#wakeKey = wakeKey;
    this.#ids = new TaskIds(random);
  }

  /** The id of each, or of the one that was in its way. */
  add(drafts: readonly TaskDraft[], now: number, change: Change): readonly string[] {
    const lastSeq = this.#lastSeq;
    const ids = drafts.map((draft) => this.#enqueueOne(draft, now, change));
    // Only now is everything there that they may wait for.
    for (const id of ids) {
      const task = this.#index.get(id);
      if (task !== undefined && task.seq > lastSeq && task.status.state === "waiting") {
        const waitsFor = task.status.waitsFor.filter((other) => !this.#hasEnded(other, task.afterAnyEnd));
        const state = waitsFor.length === 0 ? "pending" : "waiting";
        this.#index.setStatus(task, { ...task.status, state, waitsFor }, now, change);
      }
    }
    return ids;
  }

  #enqueueOne(draft: TaskDraft, now: number, change: Change): string {
    const { dedupeKey, dedupeWindowMs } = draft;
    const existing =
      (draft.id === undefined ? undefined : this.#index.get(draft.id)?.id) ??
      (dedupeKey === undefined ? undefined : this.#takenBy(dedupeKey, now));
    if (existing !== undefined) return existing;
    this.#lastSeq += 1;
    const task: Task = {
      id: draft.id ?? this.#ids.next(),
      seq: this.#lastSeq,
      type: draft.type,
      payloadText: draft.payloadText,
      priorityRank: draft.priorityRank,
      maxAttempts: draft.maxAttempts,
      backoff: draft.backoff,
      group: draft.group,
      dedupeKey,
      limitKey: draft.limitKey,
      afterAnyEnd: draft.afterAnyEnd,
      timeoutMs: draft.timeoutMs,
      keepCompleted: draft.keepCompleted,
      enqueuedAt: now,
      status: {
        state: draft.after.length === 0 ? "pending" : "waiting",
        attempt: 0,
        runAt: now + draft.delayMs,
        token: 0n,
        worker: undefined,
        leaseUntil: 0,
        resultText: undefined,
        failures: [],
        finishedAt: undefined,
        lastDelayMs: undefined,
        progressText: undefined,
        waitsFor: draft.after,
      },
    };
    this.#index.add(task, now, change);
    if (dedupeKey !== undefined && dedupeWindowMs > 0) {
      this.#openWindow(dedupeKey, { id: task.id, until: now + dedupeWindowMs }, now, change);
    }
    change.wakeOnCommit(this.#wakeKey);
    return task.id;
  }

  #takenBy(dedupeKey: string, now: number): string | undefined {
    const live = this.#index.liveWithDedupeKey(dedupeKey);
    if (live !== undefined) return live.id;
    const window = this.#windows.get(dedupeKey);
    return window !== undefined && window.until > now ? window.id : undefined;
  }

  #openWindow(
    key: string,
    window: { readonly id: string; readonly until: number },
    now: number,
    change: Change,
  ): void {
    const before = this.#windows.get(key);
    this.#windows.set(key, window);
    change.onRollback(() => {
      if (before === undefined) this.#windows.delete(key);
      else this.#windows.set(key, before);
    });
    // Those that are over go as new ones come, so the map stays about as large as what counts.
    if (this.#windows.size % 1024 !== 0) return;
    for (const [other, { until }] of this.#windows) if (until <= now) this.#windows.delete(other);
  }

  #hasEnded(id: string, anyEnd: boolean): boolean {
    const state = this.#index.get(id)?.status.state ?? "completed";
    return state === "completed" || (anyEnd && !isLive(state));
  }
}
