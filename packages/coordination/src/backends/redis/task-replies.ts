import { jsonOrText } from "../../queue/damaged-tasks.ts";
import type { Limits, QueueSettings, QueueStats, TaskRecord, TaskState } from "../../queue/task-queue.ts";
import type { TaskReader } from "./task-codec.ts";

/** id, task, state, attempt, worker, whether it has a result, the result, end, progress, failures; see list-tasks.lua. */
export type RecordReply = readonly [
  id: string,
  task: string,
  state: TaskState,
  attempt: string,
  worker: string,
  hasResult: string,
  result: string,
  finishedAt: string,
  progress: string,
  failures: readonly string[],
];

export const toRecord = (reply: RecordReply, reader: TaskReader): TaskRecord => {
  const [id, task, state, attempt, worker, hasResult, result, finishedAt, progress, flat] = reply;
  const { meta, enqueuedAt, payload } = reader.inspect(task);
  const failures: TaskRecord["failures"][number][] = [];
  for (let index = 0; index < flat.length; index += 4) {
    failures.push({
      attempt: Number(flat[index]),
      at: Number(flat[index + 1]) / 1000,
      worker: flat[index + 2] as string,
      error: jsonOrText(flat[index + 3] as string),
    });
  }
  return {
    id,
    type: meta.t,
    state,
    payload,
    group: meta.g,
    attempt: Number(attempt),
    maxAttempts: meta.m,
    result: hasResult === "1" ? jsonOrText(result) : undefined,
    failures,
    worker: worker === "" ? undefined : worker,
    progress: progress === "" ? undefined : jsonOrText(progress),
    enqueuedAt,
    finishedAt: finishedAt === "" ? undefined : Number(finishedAt) / 1000,
  };
};

export const toStats = (reply: readonly string[]): QueueStats => {
  const [
    waiting = 0,
    pending = 0,
    delayed = 0,
    claimed = 0,
    completed = 0,
    dead = 0,
    cancelled = 0,
    retrying = 0,
  ] = reply.slice(0, 8).map(Number);
  return {
    waiting,
    pending,
    delayed,
    claimed,
    completed,
    dead,
    cancelled,
    total: waiting + pending + delayed + claimed + completed + dead + cancelled,
    oldestDueMs: reply[9] === "" ? undefined : Number(reply[9]),
    retrying,
    paused: reply[8] === "1",
  };
};

export const toSettings = ([paused, ...values]: readonly string[]): QueueSettings => {
  const whole = toLimits(values.slice(0, 3));
  const perKey = toLimits(values.slice(3));
  return {
    paused: paused === "1",
    limits:
      whole === undefined && perKey === undefined
        ? undefined
        : { ...whole, ...(perKey === undefined ? {} : { perKey }) },
  };
};

const toLimits = ([concurrency = "", count = "", perMicros = ""]: readonly string[]): Limits | undefined =>
  concurrency === "" && count === ""
    ? undefined
    : {
        ...(concurrency === "" ? {} : { concurrency: Number(concurrency) }),
        ...(count === "" ? {} : { rate: { count: Number(count), perMs: Number(perMicros) / 1000 } }),
      };
