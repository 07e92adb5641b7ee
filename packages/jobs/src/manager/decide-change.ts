import type { CompleteOutcome, FailResult } from "@holdfast/coordination";
import {
  type Change,
  type ChangeOutcome,
  type CompletedOutcome,
  DONE,
  type FailedOutcome,
} from "./changes.ts";
import type { Effects } from "./decide/effects.ts";
import { cancelJob, cancelWorkflow, confirmStopped, timeOutJob } from "./decide/end-early.ts";
import { addError } from "./decide/finish.ts";
import { isBudgetUsedUp, useRetry } from "./decide/retry-budget.ts";
import { completeShard, failShard, retryShard } from "./decide/shard-ends.ts";
import { noteRunning } from "./decide/start-workflows.ts";
import { isTerminal } from "./job-state.ts";
import type { LedJob } from "./led-job.ts";

/** A change of a job that exists. */
export type LaterChange = Exclude<Change, { kind: "submit" }>;

/**
 * Within a batch all is concurrent, so it is decided in the order that loses nothing: what was seen before what
 * it may end, what the queue has accepted before what would make it void.
 */
export const DECISION_ORDER = [
  "events",
  "completed",
  "failed",
  "lapsed",
  "begun",
  "gate",
  "cancel",
  "timeout",
  "stopped",
] as const satisfies readonly LaterChange["kind"][];

/** What the queue said to each outcome, by {@link endKey}. */
export interface TaskEnds {
  readonly completed: Map<string, CompleteOutcome>;
  readonly failed: Map<string, FailResult>;
}

export const endKey = ({ taskId, token }: { readonly taskId: string; readonly token: bigint }): string =>
  `${token}/${taskId}`;

/** What a decision is made from and goes into. */
export interface DecisionContext {
  readonly job: LedJob;
  readonly effects: Effects;
  readonly ends: TaskEnds;
  /** Wall clock. */
  readonly now: number;
}

/** Decides one change on the state of its job. */
export const decideChange = (change: LaterChange, context: DecisionContext): ChangeOutcome => {
  const { job, effects, ends, now } = context;
  const { state } = job;
  switch (change.kind) {
    case "completed":
      return decideCompleted(change, ends.completed.get(endKey(change)), context);
    case "failed":
      return decideFailed(change, ends.failed.get(endKey(change)), context);
    case "lapsed":
      job.progress.ended(change.taskId);
      if (change.outcome === "dead") failShard(state, change.workflowIndex, change, effects, now);
      else retryShard(state, change.workflowIndex, change, effects, now);
      return DONE;
    case "begun":
      for (const index of job.begun) {
        const workflow = state.workflows[index];
        if (workflow !== undefined) noteRunning(state, workflow, effects, now);
      }
      job.begun.clear();
      return DONE;
    case "events":
      if (!isTerminal(state.status)) effects.events.push(...change.events);
      return DONE;
    case "cancel": {
      const decision =
        change.workflowId === undefined
          ? cancelJob(state, change, effects, now)
          : cancelWorkflow(state, change.workflowId, change, effects, now);
      return { kind: "cancel", decision, status: state.status };
    }
    case "timeout":
      timeOutJob(state, effects, now);
      return DONE;
    case "stopped":
      confirmStopped(state, effects, now);
      return DONE;
    case "gate":
      state.gate = change.gate;
      effects.stateChanged = true;
      return DONE;
  }
};

const decideCompleted = (
  change: CompletedOutcome,
  end: CompleteOutcome | undefined,
  { job, effects, now }: DecisionContext,
): ChangeOutcome => {
  job.progress.ended(change.taskId, change.token);
  if (end !== "completed") return { kind: "outcome", outcome: "stale" };
  effects.isTouched = true;
  completeShard(job.state, change.workflowIndex, change, effects, now);
  return { kind: "outcome", outcome: "accepted" };
};

const decideFailed = (
  change: FailedOutcome,
  end: FailResult | undefined,
  { job, effects, now }: DecisionContext,
): ChangeOutcome => {
  job.progress.ended(change.taskId, change.token);
  if (end === undefined || end.outcome === "stale") return { kind: "outcome", outcome: "stale" };
  effects.isTouched = true;
  const { shard, worker, error } = change;
  // An attempt that was given back is counted down again.
  const attempt = { shard, worker, error, attempt: end.attempt + (change.uncounted ? 1 : 0) };
  const { state } = job;
  if (end.outcome === "dead") {
    if (change.retry && isBudgetUsedUp(state, change.workflowIndex)) {
      addError(state, `${state.workflows[change.workflowIndex]?.spec.name}: no retry is left in the budget`);
    }
    failShard(state, change.workflowIndex, attempt, effects, now);
  } else {
    if (!change.uncounted) useRetry(state, change.workflowIndex, effects);
    retryShard(state, change.workflowIndex, { ...attempt, retryInMs: end.retryInMs }, effects, now);
  }
  return { kind: "outcome", outcome: "accepted" };
};
