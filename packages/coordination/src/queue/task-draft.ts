import { InvalidInputError } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkNumber, checkText, encodeJson } from "../input-checks.ts";
import type { Json } from "../json.ts";
import {
  BACKOFF_KINDS,
  type Backoff,
  JITTER_KINDS,
  type NewTask,
  TASK_PRIORITIES,
  type TaskFailure,
} from "./task-queue.ts";

/** A new task with its defaults filled in and its limits checked: what every backend stores. */
export interface TaskDraft {
  readonly id: string | undefined;
  readonly type: string;
  readonly payloadText: string;
  /** 0 (low) to 3 (critical): the place in {@link TASK_PRIORITIES}. */
  readonly priorityRank: number;
  readonly delayMs: number;
  readonly maxAttempts: number;
  /** undefined: {@link BACKOFF_DEFAULT}. */
  readonly backoff: Backoff | undefined;
  readonly group: string | undefined;
  readonly dedupeKey: string | undefined;
  /** 0 when the key counts only while the task lives. */
  readonly dedupeWindowMs: number;
  readonly limitKey: string | undefined;
  /** Without repeats; empty when nothing is waited for. */
  readonly after: readonly string[];
  /** What is waited for may also have ended dead or cancelled. */
  readonly afterAnyEnd: boolean;
  readonly timeoutMs: number | undefined;
  readonly keepCompleted: boolean;
}

/** A failure report, checked, with its error clipped to what the history keeps. */
export interface FailureDraft {
  readonly id: string;
  readonly token: bigint;
  readonly errorText: string;
  readonly retry: boolean;
  readonly retryDelayMs: number | undefined;
  readonly uncounted: boolean;
  /** Goes back to before what was enqueued after it. */
  readonly keepsPlace: boolean;
}

export const BACKOFF_DEFAULT: Backoff = {
  baseMs: 1000,
  factor: 2,
  capMs: 60_000,
  kind: "exponential",
  jitter: "half",
};
/** A year: longer waits are mistakes, and the sum of time and delay must stay a valid instant. */
export const DELAY_MAX_MS = 365 * 86_400_000;
export const FAILURES_MAX_COUNT = 20;
export const FAILURE_MAX_BYTES = 4096;
export const TASK_ID_MAX_LENGTH = 256;
export const WORKER_MAX_LENGTH = 256;
const AFTER_MAX_COUNT = 1000;
const NOTHING: readonly string[] = [];

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
  const dedupeWindowMs = task.dedupeWindowMs ?? 0;
  checkNumber("task.dedupeWindowMs", dedupeWindowMs, 0, DELAY_MAX_MS);
  if (dedupeWindowMs > 0 && task.dedupeKey === undefined) {
    throw new InvalidInputError("task.dedupeKey", task.dedupeKey, "given with a dedupeWindowMs");
  }
  if (task.limitKey !== undefined) checkText("task.limitKey", task.limitKey, 256);
  if (task.timeoutMs !== undefined) checkNumber("task.timeoutMs", task.timeoutMs, 1, 2 ** 31 - 1);
  return {
    id: task.id,
    type: task.type,
    payloadText: encodeJson("task.payload", task.payload, payloadMaxBytes),
    priorityRank,
    delayMs,
    maxAttempts,
    backoff: task.backoff === undefined ? undefined : draftBackoff(task.backoff),
    group: task.group,
    dedupeKey: task.dedupeKey,
    dedupeWindowMs,
    limitKey: task.limitKey,
    after: task.after === undefined ? NOTHING : draftAfter(task.after),
    afterAnyEnd: task.afterEnd === "any",
    timeoutMs: task.timeoutMs,
    keepCompleted: task.keepCompleted ?? true,
  };
};

const draftBackoff = (given: Partial<Backoff>): Backoff => {
  const backoff: Backoff = { ...BACKOFF_DEFAULT, ...given };
  checkNumber("task.backoff.baseMs", backoff.baseMs, 0, DELAY_MAX_MS);
  checkNumber("task.backoff.factor", backoff.factor, backoff.kind === "linear" ? 0 : 1, 100);
  checkNumber("task.backoff.capMs", backoff.capMs, 0, DELAY_MAX_MS);
  if (!BACKOFF_KINDS.includes(backoff.kind)) {
    throw new InvalidInputError("task.backoff.kind", backoff.kind, `one of ${BACKOFF_KINDS.join(", ")}`);
  }
  if (!JITTER_KINDS.includes(backoff.jitter)) {
    throw new InvalidInputError("task.backoff.jitter", backoff.jitter, `one of ${JITTER_KINDS.join(", ")}`);
  }
  return backoff;
};

const draftAfter = (after: readonly string[]): readonly string[] => {
  if (after.length > AFTER_MAX_COUNT) {
    throw new InvalidInputError("task.after.length", after.length, `at most ${AFTER_MAX_COUNT}`);
  }
  for (const id of after) checkText("task.after", id, TASK_ID_MAX_LENGTH);
  return [...new Set(after)];
};

/** @throws InvalidInputError */
export const draftFailures = (failures: readonly TaskFailure[]): readonly FailureDraft[] => {
  checkBatch("failures", failures);
  return failures.map((failure) => {
    if (failure.retryDelayMs !== undefined) {
      checkNumber("failure.retryDelayMs", failure.retryDelayMs, 0, DELAY_MAX_MS);
    }
    const uncounted = failure.uncounted ?? false;
    return {
      id: failure.id,
      token: failure.token,
      errorText: clipError(failure.error),
      retry: failure.retry ?? true,
      retryDelayMs: failure.retryDelayMs,
      uncounted,
      keepsPlace: uncounted && failure.retryDelayMs === undefined,
    };
  });
};

/**
 * The error as JSON text of at most {@link FAILURE_MAX_BYTES}; a longer one is kept as the start of its text. It is for
 * people: what JSON cannot hold is left out of it, since a failure that is refused would be one that nobody hears of.
 * @throws InvalidInputError for what has no JSON at all.
 */
export const clipError = (error: Json): string => {
  const text = errorText(error);
  if (Buffer.byteLength(text) <= FAILURE_MAX_BYTES) return text;
  // Escaping may double the text and each character may take four bytes, so shorten until it fits.
  for (let length = FAILURE_MAX_BYTES; ; length = Math.floor(length * 0.75)) {
    const clipped = JSON.stringify({ truncated: true, start: text.slice(0, length) });
    if (Buffer.byteLength(clipped) <= FAILURE_MAX_BYTES) return clipped;
  }
};

const errorText = (error: Json): string => {
  let text: string | undefined;
  try {
    text = JSON.stringify(error);
  } catch (cause) {
    throw new InvalidInputError("failure.error", error, "JSON", { cause });
  }
  if (text === undefined) throw new InvalidInputError("failure.error", error, "JSON");
  return text;
};

/**
 * The wait after attempt number `attempt` failed. `chance` is uniform in [0, 1); `lastMs` is the wait before, for the
 * kind that grows from it. The backends compute the same in their own languages.
 */
export const backoffMs = (
  backoff: Backoff,
  attempt: number,
  chance: number,
  lastMs: number | undefined,
): number => {
  const { baseMs, factor, capMs, kind, jitter } = backoff;
  if (kind === "decorrelated") {
    const last = Math.max(baseMs, lastMs ?? baseMs);
    return Math.min(capMs, baseMs + chance * (3 * last - baseMs));
  }
  // The exponent is cut so that the power stays finite; the cap is long reached by then.
  const step = Math.min(Math.max(0, attempt - 1), 100);
  const ceiling = Math.min(
    capMs,
    kind === "exponential"
      ? baseMs * factor ** step
      : kind === "linear"
        ? baseMs * (1 + factor * step)
        : baseMs * Math.round(GOLDEN_RATIO ** (step + 1) / Math.sqrt(5)),
  );
  if (jitter === "none") return ceiling;
  return ceiling * (jitter === "full" ? 1 - chance : 1 - chance / 2);
};

const GOLDEN_RATIO = (1 + Math.sqrt(5)) / 2;
