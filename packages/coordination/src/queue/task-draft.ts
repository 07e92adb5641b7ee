import type { Random } from "@holdfast/kernel";
import { InvalidInputError } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkNumber, checkText, encodeJson } from "../input-checks.ts";
import type { Json } from "../json.ts";
import { type Backoff, type NewTask, TASK_PRIORITIES, type TaskFailure } from "./task-queue.ts";

/** A new task with its defaults filled in and its limits checked: what every backend stores. */
export interface TaskDraft {
  readonly id: string | undefined;
  readonly type: string;
  readonly payloadText: string;
  /** 0 (low) to 3 (critical): the place in {@link TASK_PRIORITIES}. */
  readonly priorityRank: number;
  readonly delayMs: number;
  readonly maxAttempts: number;
  readonly backoff: Backoff;
  readonly group: string | undefined;
  readonly dedupeKey: string | undefined;
}

/** A failure report, checked, with its error clipped to what the history keeps. */
export interface FailureDraft {
  readonly id: string;
  readonly token: bigint;
  readonly errorText: string;
  readonly retry: boolean;
  readonly retryDelayMs: number | undefined;
  readonly uncounted: boolean;
}

export const BACKOFF_DEFAULT: Backoff = { baseMs: 1000, factor: 2, capMs: 60_000 };
/** A year: longer waits are mistakes, and the sum of time and delay must stay a valid instant. */
export const DELAY_MAX_MS = 365 * 86_400_000;
export const FAILURES_MAX_COUNT = 20;
export const FAILURE_MAX_BYTES = 4096;
export const TASK_ID_MAX_LENGTH = 256;
export const WORKER_MAX_LENGTH = 256;

/** What the history records when a claim's lease ran out. */
export const LAPSED_ERROR: Json = {
  code: "COORDINATION_CLAIM_LAPSED",
  message: "the worker neither finished nor renewed before its lease ended",
};
export const LAPSED_ERROR_TEXT: string = JSON.stringify(LAPSED_ERROR);

/** @throws InvalidInputError, PayloadTooLargeError */
export const draftTasks = (tasks: readonly NewTask[], payloadMaxBytes: number): readonly TaskDraft[] => {
  checkBatch("tasks", tasks);
  return tasks.map((task) => draftTask(task, payloadMaxBytes));
};

const draftTask = (task: NewTask, payloadMaxBytes: number): TaskDraft => {
  checkText("task.type", task.type, 256);
  if (task.id !== undefined) checkText("task.id", task.id, TASK_ID_MAX_LENGTH);
  if (task.group !== undefined) checkText("task.group", task.group, 256);
  if (task.dedupeKey !== undefined) checkText("task.dedupeKey", task.dedupeKey, 512);
  const priorityRank = TASK_PRIORITIES.indexOf(task.priority ?? "normal");
  if (priorityRank < 0) {
    throw new InvalidInputError("task.priority", task.priority, `one of ${TASK_PRIORITIES.join(", ")}`);
  }
  const delayMs = task.delayMs ?? 0;
  checkNumber("task.delayMs", delayMs, 0, DELAY_MAX_MS);
  const maxAttempts = task.maxAttempts ?? 3;
  checkInteger("task.maxAttempts", maxAttempts, 1, 1000);
  const backoff: Backoff = {
    baseMs: task.backoff?.baseMs ?? BACKOFF_DEFAULT.baseMs,
    factor: task.backoff?.factor ?? BACKOFF_DEFAULT.factor,
    capMs: task.backoff?.capMs ?? BACKOFF_DEFAULT.capMs,
  };
  checkNumber("task.backoff.baseMs", backoff.baseMs, 0, DELAY_MAX_MS);
  checkNumber("task.backoff.factor", backoff.factor, 1, 100);
  checkNumber("task.backoff.capMs", backoff.capMs, 0, DELAY_MAX_MS);
  return {
    id: task.id,
    type: task.type,
    payloadText: encodeJson("task.payload", task.payload, payloadMaxBytes),
    priorityRank,
    delayMs,
    maxAttempts,
    backoff,
    group: task.group,
    dedupeKey: task.dedupeKey,
  };
};

/** @throws InvalidInputError */
export const draftFailures = (failures: readonly TaskFailure[]): readonly FailureDraft[] => {
  checkBatch("failures", failures);
  return failures.map((failure) => {
    if (failure.retryDelayMs !== undefined) {
      checkNumber("failure.retryDelayMs", failure.retryDelayMs, 0, DELAY_MAX_MS);
    }
    return {
      id: failure.id,
      token: failure.token,
      errorText: clipError(failure.error),
      retry: failure.retry ?? true,
      retryDelayMs: failure.retryDelayMs,
      uncounted: failure.uncounted ?? false,
    };
  });
};

/** The error as JSON text of at most {@link FAILURE_MAX_BYTES}; a longer one is kept as the start of its text. */
export const clipError = (error: Json): string => {
  const text = encodeJson("failure.error", error, Number.POSITIVE_INFINITY);
  if (Buffer.byteLength(text) <= FAILURE_MAX_BYTES) return text;
  // Escaping may double the text and each character may take four bytes, so shorten until it fits.
  for (let length = FAILURE_MAX_BYTES; ; length = Math.floor(length * 0.75)) {
    const clipped = JSON.stringify({ truncated: true, start: text.slice(0, length) });
    if (Buffer.byteLength(clipped) <= FAILURE_MAX_BYTES) return clipped;
  }
};

/**
 * The wait after attempt number `attempt` failed: the ceiling `min(capMs, baseMs * factor^(attempt-1))`,
 * shortened at random by up to half, so that tasks which failed together do not return together.
 */
export const backoffMs = (backoff: Backoff, attempt: number, random: Random): number =>
  backoffCeilingMs(backoff, attempt) * jitterShare(random);

export const backoffCeilingMs = (backoff: Backoff, attempt: number): number =>
  // The exponent is cut so that the power stays finite; at factor 1.1 the cap is long reached by then.
  Math.min(backoff.capMs, backoff.baseMs * backoff.factor ** Math.min(Math.max(0, attempt - 1), 100));

/** Uniform in (0.5, 1]. */
export const jitterShare = (random: Random): number => 1 - random.next() / 2;
