import type { Clock } from "@holdfast/kernel";
import type { LoadTestAction, OnActionEnd, WorkflowContext } from "../workflow.ts";

/** What a load test needs of the context of its shard. */
export type LoadMeter = Pick<WorkflowContext<unknown>, "count" | "record" | "progress">;

export const REQUESTS = "requests";
export const ERRORS = "errors";
export const LATENCY = "latency";

/** Most different error names; the rest counts as `errors.other`. A name made from a message must not fill the memory. */
const ERROR_NAMES_MAX_COUNT = 50;
const ERROR_NAME_MAX_CHARACTERS = 64;

/**
 * Starts actions and records how each one went: `requests`, `errors`, `errors.<name>` and the histogram
 * `latency` in milliseconds. A failed action has its latency recorded too, so that a timeout cannot hide:
 * the histogram has exactly as many values as `requests` counts.
 */
export class LoadRecorder {
  readonly #action: LoadTestAction;
  readonly #meter: LoadMeter;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #errorNames = new Set<string>();
  readonly #inFlight = new Set<{ readonly from: number }>();
  #settledCount = 0;

  constructor(options: {
    readonly action: LoadTestAction;
    readonly meter: LoadMeter;
    readonly clock: Clock;
    /** Handed to every action. */
    readonly signal: AbortSignal;
  }) {
    this.#action = options.action;
    this.#meter = options.meter;
    this.#clock = options.clock;
    this.#signal = options.signal;
  }

  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  /** Actions that ended, well or not: what the counter `requests` says. */
  get settledCount(): number {
    return this.#settledCount;
  }

  /** Runs one action whose latency counts from `from` (monotonic ms). Never rejects. */
  run(from: number): Promise<void> {
    return new Promise((resolve) => this.start(from, resolve));
  }

  /**
   * The same for a caller that needs no promise of its own, as the open model, which starts tens of thousands
   * a second: calls `onEnd` once the action has ended, after it was counted.
   */
  start(from: number, onEnd: () => void): void {
    const entry = { from };
    this.#inFlight.add(entry);
    const end: OnActionEnd = (failure) => {
      if (this.#inFlight.delete(entry)) this.#settle(from, failure && this.#nameOf(failure.error));
      onEnd();
    };
    const fail = (error: unknown): void => end({ error });
    try {
      if (this.#action.start === undefined) this.#action(this.#signal).then(() => end(), fail);
      else this.#action.start(this.#signal, end);
    } catch (error) {
      fail(error);
    }
  }

  /** Counts what is still in flight as `errors.unfinished` and closes. */
  countUnfinished(): void {
    for (const { from } of this.#inFlight) this.#settle(from, "unfinished");
    this.close();
  }

  /** Ignores whatever settles from now on. */
  close(): void {
    this.#inFlight.clear();
  }

  #settle(from: number, errorName: string | undefined): void {
    this.#meter.record(LATENCY, Math.max(0, this.#clock.monotonicNow() - from));
    this.#meter.count(REQUESTS);
    this.#settledCount += 1;
    if (errorName === undefined) return;
    this.#meter.count(ERRORS);
    this.#meter.count(`${ERRORS}.${errorName}`);
  }

  #nameOf(error: unknown): string {
    const { code, name } = (typeof error === "object" && error !== null ? error : {}) as {
      readonly code?: unknown;
      readonly name?: unknown;
    };
    const text = typeof code === "string" && code !== "" ? code : typeof name === "string" ? name : "Error";
    const short = text.slice(0, ERROR_NAME_MAX_CHARACTERS) || "Error";
    if (this.#errorNames.has(short)) return short;
    if (this.#errorNames.size >= ERROR_NAMES_MAX_COUNT) return "other";
    this.#errorNames.add(short);
    return short;
  }
}
