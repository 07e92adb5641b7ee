import { type Clock, deferred, type Timer } from "@holdfast/kernel";
import type { LoadMeter, LoadRecorder } from "./load-recorder.ts";

export interface OpenPlan {
  /** Actions per second of all shards together, above 0. */
  readonly ratePerSecond: number;
  /** This shard starts every `shardCount`th action, beginning with number `shard`. */
  readonly shard: number;
  readonly shardCount: number;
  /** Most actions in flight, at least 1. */
  readonly inFlightMax: number;
  readonly durationMs: number;
}

export interface OpenOutcome {
  /** Actions that the plan had for this shard: always `startedCount + missedCount`. */
  readonly plannedCount: number;
  readonly startedCount: number;
  /** Started more than 2 ms after their time because too many were in flight or the machine was busy. */
  readonly lateCount: number;
  /** Never started, because too many were in flight until the end. */
  readonly missedCount: number;
}

/**
 * How late a start may be and still count as on time. Timers of the platform fire up to 1 ms after the
 * millisecond they were set for; counting that as the server's latency would falsify fast servers.
 */
const START_TOLERANCE_MS = 2;

/** Actions that are due in this shard: the shards take turns, so together they have what the rate asks for. */
export const plannedCountOf = (plan: OpenPlan): number => {
  const plannedByAll = Math.ceil((plan.durationMs * plan.ratePerSecond) / 1_000);
  return Math.max(0, Math.ceil((plannedByAll - plan.shard) / plan.shardCount));
};

/**
 * Starts actions at the times that a plan fixed beforehand, whether or not earlier ones have ended.
 *
 * The latency of an action that starts late counts from when it should have started, so a stalled server
 * cannot hide behind requests that were never sent (coordinated omission, Gil Tene). Where the bound on
 * actions in flight holds starts back they follow as soon as one ends, in order; those held back until the
 * end are counted as `load.missed`, late ones as `load.late`.
 *
 * Resolves when the last action was started or the time is over; actions may still be in flight then.
 * @throws signal.reason when aborted.
 */
export const runOpenModel = (
  plan: OpenPlan,
  options: {
    readonly recorder: LoadRecorder;
    readonly meter: LoadMeter;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  },
): Promise<OpenOutcome> => new OpenModel(plan, options).run(options.signal);

class OpenModel {
  readonly #plan: OpenPlan;
  readonly #recorder: LoadRecorder;
  readonly #meter: LoadMeter;
  readonly #clock: Clock;
  readonly #done = deferred<OpenOutcome>();
  readonly #startedAt: number;
  readonly #plannedCount: number;
  #nextIndex = 0;
  #lateCount = 0;
  #timer: Timer | undefined;
  /** When the timer fires. */
  #wakeAt: number | undefined;
  #ended = false;
  #pumping = false;
  /** Only the end of an action that left room where there was none has anything to start. */
  readonly #onActionEnd = (): void => {
    if (this.#recorder.inFlightCount === this.#plan.inFlightMax - 1 && !this.#pumping) this.#pump();
  };

  constructor(
    plan: OpenPlan,
    options: { readonly recorder: LoadRecorder; readonly meter: LoadMeter; readonly clock: Clock },
  ) {
    this.#plan = plan;
    this.#recorder = options.recorder;
    this.#meter = options.meter;
    this.#clock = options.clock;
    this.#startedAt = options.clock.monotonicNow();
    this.#plannedCount = plannedCountOf(plan);
  }

  async run(signal: AbortSignal): Promise<OpenOutcome> {
    signal.throwIfAborted();
    const onAbort = (): void => {
      this.#ended = true;
      this.#done.reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      this.#pump();
      return await this.#done.promise;
    } finally {
      this.#timer?.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** From the plan alone: a late start never shifts the ones after it. */
  #plannedAt(index: number): number {
    const { shard, shardCount, ratePerSecond } = this.#plan;
    return this.#startedAt + ((index * shardCount + shard) * 1_000) / ratePerSecond;
  }

  /** Starts what is due as far as the bound allows, and sets the timer for what is next. */
  #pump(): void {
    if (this.#ended) return;
    const now = this.#clock.monotonicNow();
    const endsAt = this.#startedAt + this.#plan.durationMs;
    // An action may end before its start returns; the loop sees the room that it left.
    this.#pumping = true;
    while (this.#nextIndex < this.#plannedCount && this.#recorder.inFlightCount < this.#plan.inFlightMax) {
      const plannedAt = this.#plannedAt(this.#nextIndex);
      if (plannedAt > now || (now >= endsAt && now - plannedAt > START_TOLERANCE_MS)) break;
      this.#nextIndex += 1;
      this.#start(plannedAt, now);
    }
    this.#pumping = false;
    const isOver = now >= endsAt || this.#nextIndex >= this.#plannedCount;
    if (isOver) {
      this.#end();
      return;
    }
    const isHeldBack = this.#recorder.inFlightCount >= this.#plan.inFlightMax;
    const wakeAt = isHeldBack ? endsAt : Math.min(endsAt, this.#plannedAt(this.#nextIndex));
    // Under full load every ended action comes here; the timer for the end is set already.
    if (wakeAt === this.#wakeAt) return;
    this.#timer?.cancel();
    this.#wakeAt = wakeAt;
    this.#timer = this.#clock.schedule(wakeAt - now, () => {
      this.#wakeAt = undefined;
      this.#pump();
    });
  }

  #start(plannedAt: number, now: number): void {
    const isLate = now - plannedAt > START_TOLERANCE_MS;
    if (isLate) {
      this.#lateCount += 1;
      this.#meter.count("load.late");
    }
    this.#recorder.start(isLate ? plannedAt : now, this.#onActionEnd);
  }

  #end(): void {
    this.#ended = true;
    const missedCount = this.#plannedCount - this.#nextIndex;
    if (missedCount > 0) this.#meter.count("load.missed", missedCount);
    this.#done.resolve({
      plannedCount: this.#plannedCount,
      startedCount: this.#nextIndex,
      lateCount: this.#lateCount,
      missedCount,
    });
  }
}
