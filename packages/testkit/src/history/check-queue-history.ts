import type { Violation } from "./violation.ts";

export interface QueueHistory {
  /** Tasks whose enqueueing was answered. */
  readonly acknowledged: Iterable<string>;
  /** Tasks whose enqueueing was sent and never answered. */
  readonly unknown: Iterable<string>;
  /** The effects that were committed with the completions, one entry each time. */
  readonly effects: Iterable<string>;
}

/** After everything was worked off: no acknowledged task is lost, and none has its effect twice. */
export const checkQueueHistory = (history: QueueHistory): readonly Violation[] => {
  const violations: Violation[] = [];
  const counts = new Map<string, number>();
  for (const task of history.effects) counts.set(task, (counts.get(task) ?? 0) + 1);
  const acknowledged = new Set(history.acknowledged);
  const unknown = new Set(history.unknown);
  for (const task of acknowledged) {
    if (!counts.has(task)) violations.push({ invariant: "no task lost", detail: `${task} had no effect` });
  }
  for (const [task, count] of counts) {
    if (count > 1) {
      violations.push({ invariant: "no double completion", detail: `${task} had its effect ${count} times` });
    }
    if (!acknowledged.has(task) && !unknown.has(task)) {
      violations.push({ invariant: "no task from nowhere", detail: `${task} was never enqueued` });
    }
  }
  return violations;
};
