import { FAILURES_MAX_COUNT } from "../../queue/task-draft.ts";
import type { QueueGate } from "./queue-gate.ts";
import type { StoredFailure, Task } from "./task.ts";
import type { TaskIndex } from "./task-index.ts";
import type { Change } from "./transactor.ts";

/** How tasks of one queue end or go back, with what that means to those that wait for them. */
export class TaskEnds {
  readonly #index: TaskIndex;
  readonly #gate: QueueGate;
  readonly #wakeKey: string;

  constructor(index: TaskIndex, gate: QueueGate, wakeKey: string) {
    this.#index = index;
    this.#gate = gate;
    this.#wakeKey = wakeKey;
  }

  complete(task: Task, resultText: string | undefined, now: number, change: Change): void {
    if (!task.keepCompleted) {
      this.forget(task, now, change);
      return;
    }
    const { status } = task;
    this.#index.setStatus(task, { ...status, state: "completed", resultText, finishedAt: now }, now, change);
    this.#release(task.id, "completed", now, change);
    this.#slotFreed(change);
  }

  cancel(task: Task, now: number, change: Change): void {
    this.#index.setStatus(task, { ...task.status, state: "cancelled", finishedAt: now }, now, change);
    this.#release(task.id, "cancelled", now, change);
    this.#slotFreed(change);
  }

  /** Deletes a task, whatever its state. To those that wait for it it has ended well. */
  forget(task: Task, now: number, change: Change): void {
    this.#index.delete(task, now, change);
    this.#release(task.id, "completed", now, change);
    this.#slotFreed(change);
  }

  /** Pending again; without `delayMs`, as a lapsed claim, in its old place, before what came after it. */
  giveBack(
    task: Task,
    attempt: number,
    errorText: string,
    delayMs: number | undefined,
    now: number,
    change: Change,
  ): void {
    const failures = appendFailure(task, errorText, now);
    this.#index.setStatus(
      task,
      {
        ...task.status,
        state: "pending",
        attempt,
        runAt: delayMs === undefined ? task.status.runAt : now + delayMs,
        worker: undefined,
        failures,
        lastDelayMs: delayMs ?? 0,
      },
      now,
      change,
    );
    change.wakeOnCommit(this.#wakeKey);
  }

  bury(task: Task, attempt: number, errorText: string, now: number, change: Change): void {
    const failures = appendFailure(task, errorText, now);
    this.#index.setStatus(
      task,
      { ...task.status, state: "dead", attempt, failures, finishedAt: now },
      now,
      change,
    );
    this.#release(task.id, "dead", now, change);
    this.#slotFreed(change);
  }

  /** Tells those that wait for a task what became of it. */
  #release(id: string, end: "completed" | "dead" | "cancelled", now: number, change: Change): void {
    for (const task of this.#index.waitingFor(id)) {
      if (end !== "completed" && !task.afterAnyEnd) continue;
      const waitsFor = task.status.waitsFor.filter((other) => other !== id);
      if (waitsFor.length > 0) {
        this.#index.setStatus(task, { ...task.status, waitsFor }, now, change);
        continue;
      }
      const runAt = Math.max(now, task.status.runAt);
      this.#index.setStatus(task, { ...task.status, state: "pending", runAt, waitsFor }, now, change);
      change.wakeOnCommit(this.#wakeKey);
    }
  }

  /** Where a limit may have held tasks back, somebody must look again. */
  #slotFreed(change: Change): void {
    if (this.#gate.settings.limits !== undefined) change.wakeOnCommit(this.#wakeKey);
  }
}

const appendFailure = (task: Task, errorText: string, at: number): readonly StoredFailure[] => {
  const { attempt, worker = "", failures } = task.status;
  return [...failures.slice(1 - FAILURES_MAX_COUNT), { attempt, at, worker, errorText }];
};
