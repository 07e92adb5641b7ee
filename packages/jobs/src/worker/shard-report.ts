import { type Clock, InvalidInputError, type Logger } from "@holdfast/kernel";
import type { Measurements, TaskProgress } from "@holdfast/protocol/contract";
import { Meter } from "../model/measurements.ts";
import type { ShardUpdate } from "./executor.ts";

type LogLine = TaskProgress["logs"][number];

/** Most lines in one update (the contract's bound); a workflow that logs in a loop must not flood its job. */
const LOG_LINES_MAX_COUNT = 200;
const LOG_MESSAGE_MAX_CHARACTERS = 8_192;

/** Gathers what one attempt tells of itself: progress, measurements, log lines. Cheap to call; read by `takeUpdate`. */
export class ShardReport {
  readonly #clock: Clock;
  readonly #meter = new Meter();
  readonly log: Logger;
  #done = 0;
  #total = 0;
  #progressChanged = false;
  #lines: LogLine[] = [];
  #droppedCount = 0;
  #windowStart: number;
  #windowStartedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#windowStart = clock.wallNow();
    this.#windowStartedAt = clock.monotonicNow();
    this.log = this.#logger({});
  }

  get progress(): { readonly done: number; readonly total: number } {
    return { done: this.#done, total: this.#total };
  }

  setProgress(done: number, total?: number): void {
    checkAmount("progress.done", done);
    if (total !== undefined) checkAmount("progress.total", total);
    this.#done = done;
    this.#total = total ?? this.#total;
    this.#progressChanged = true;
  }

  count(name: string, amount?: number): void {
    this.#meter.count(name, amount);
  }

  record(name: string, value: number): void {
    this.#meter.record(name, value);
  }

  totals(): Measurements {
    return this.#meter.totals();
  }

  /** What changed since the last call; undefined when nothing did. */
  takeUpdate(): ShardUpdate | undefined {
    const { counters, histograms } = this.#meter.takeWindow();
    const logs = this.#takeLines();
    const now = this.#clock.monotonicNow();
    const windowStart = this.#windowStart;
    const windowMs = Math.max(0, now - this.#windowStartedAt);
    this.#windowStart = this.#clock.wallNow();
    this.#windowStartedAt = now;
    const changed = this.#progressChanged || logs.length > 0 || hasKeys(counters) || hasKeys(histograms);
    this.#progressChanged = false;
    if (!changed) return undefined;
    return { progress: this.progress, windowStart, windowMs, counters, histograms, logs };
  }

  #takeLines(): LogLine[] {
    const lines = this.#lines;
    if (this.#droppedCount > 0) {
      const message = `${this.#droppedCount} more lines were dropped: at most ${LOG_LINES_MAX_COUNT} are kept per report`;
      lines.splice(LOG_LINES_MAX_COUNT - 1);
      lines.push({ at: this.#clock.wallNow(), level: "warn", message });
    }
    this.#lines = [];
    this.#droppedCount = 0;
    return lines;
  }

  #logger(bound: object): Logger {
    const write =
      (level: LogLine["level"]) =>
      (fields: object, message: string): void => {
        if (this.#lines.length >= LOG_LINES_MAX_COUNT) {
          this.#droppedCount += this.#droppedCount === 0 ? 2 : 1;
          return;
        }
        this.#lines.push({
          at: this.#clock.wallNow(),
          level,
          message: lineOf(message, { ...bound, ...fields }),
        });
      };
    return {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
      child: (fields) => this.#logger({ ...bound, ...fields }),
    };
  }
}

const checkAmount = (field: string, value: unknown): void => {
  if (typeof value === "number" && value >= 0 && value < Number.POSITIVE_INFINITY) return;
  throw new InvalidInputError(field, value, "a finite number of at least 0");
};

const hasKeys = (record: object): boolean => {
  for (const _key in record) return true;
  return false;
};

const lineOf = (message: unknown, fields: object): string => {
  const text = hasKeys(fields) ? `${String(message)} ${jsonOf(fields)}` : String(message);
  return text.length > LOG_MESSAGE_MAX_CHARACTERS
    ? `${text.slice(0, LOG_MESSAGE_MAX_CHARACTERS - 1)}…`
    : text;
};

const jsonOf = (fields: object): string => {
  try {
    return JSON.stringify(fields, (_key, value: unknown) => {
      if (value instanceof Error) return { name: value.name, message: value.message };
      return typeof value === "bigint" ? value.toString() : value;
    });
  } catch {
    return "(fields that are not JSON)";
  }
};
