import { type Clock, childController, untilAborted } from "@holdfast/kernel";
import type { LoadTestAction } from "../workflow.ts";
import { type ClosedPlan, runClosedModel } from "./closed-model.ts";
import { type LoadMeter, LoadRecorder } from "./load-recorder.ts";
import { type OpenPlan, plannedCountOf, runOpenModel } from "./open-model.ts";

export type LoadPlan = ({ readonly model: "open" } & OpenPlan) | ({ readonly model: "closed" } & ClosedPlan);

export interface GenerateLoadOptions {
  readonly action: LoadTestAction;
  readonly meter: LoadMeter;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /**
   * How long actions that are in flight at the end may take, milliseconds; then their signal aborts, and 1 s
   * later they count as `errors.unfinished`. Default 10_000.
   */
  readonly drainMs?: number;
}

/** What one shard of a load test did beside its measurements. */
export interface LoadOutcome {
  readonly model: "open" | "closed";
  readonly plannedCount: number | null;
  readonly lateCount: number;
  readonly missedCount: number;
  /** From the first start to the end of the last action, milliseconds. */
  readonly elapsedMs: number;
}

/** How often progress is told, and how closely a starved event loop is noticed. */
const TICK_MS = 100;
const ABORT_GRACE_MS = 1_000;

/**
 * Carries out one shard of a load test.
 *
 * Measures `requests`, `errors`, `errors.<name>`, the histogram `latency` (ms) and, in the open model,
 * `load.late` and `load.missed`. Every planned action is accounted for: planned = started + missed, and
 * started = requests. Progress counts requests; how many there will be is planned in the open model and
 * estimated from the time that has passed in the closed one.
 * @throws signal.reason when aborted; actions in flight are aborted and no longer counted.
 */
export const generateLoad = async (plan: LoadPlan, options: GenerateLoadOptions): Promise<LoadOutcome> => {
  const { clock, meter, signal } = options;
  signal.throwIfAborted();
  const actions = childController(signal);
  const recorder = new LoadRecorder({ action: options.action, meter, clock, signal: actions.signal });
  const startedAt = clock.monotonicNow();
  const ticker = startTicker(clock, (now) => {
    meter.progress(recorder.settledCount, expectedCount(plan, recorder.settledCount, now - startedAt));
  });
  try {
    let open = { plannedCount: null as number | null, lateCount: 0, missedCount: 0 };
    const closedUsers =
      plan.model === "closed"
        ? runClosedModel(plan, { recorder, clock, signal, lastTickAt: ticker.lastAt })
        : undefined;
    if (plan.model === "open") open = await runOpenModel(plan, { recorder, meter, clock, signal });
    else await endOf(plan.durationMs, closedUsers, { clock, signal });
    await drain(recorder, { clock, signal, actions, drainMs: options.drainMs ?? 10_000 });
    recorder.countUnfinished();
    meter.progress(recorder.settledCount, recorder.settledCount);
    return {
      model: plan.model,
      plannedCount: open.plannedCount,
      lateCount: open.lateCount,
      missedCount: open.missedCount,
      elapsedMs: clock.monotonicNow() - startedAt,
    };
  } finally {
    ticker.stop();
    recorder.close();
    actions.dispose();
  }
};

const expectedCount = (plan: LoadPlan, settledCount: number, elapsedMs: number): number =>
  plan.model === "open"
    ? Math.max(settledCount, plannedCountOf(plan))
    : Math.round(settledCount * Math.max(1, plan.durationMs / elapsedMs));

/** Waits for the virtual users, at most until their time is over. */
const endOf = async (
  durationMs: number,
  users: Promise<void> | undefined,
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> => {
  const timer = childController(options.signal);
  try {
    const timeOver = options.clock.sleep(durationMs, { signal: timer.signal });
    timeOver.catch(() => undefined);
    await untilAborted(Promise.race([users, timeOver]), options.signal);
  } finally {
    timer.abort();
    timer.dispose();
  }
};

/** Waits until nothing is in flight; aborts the actions after `drainMs` and gives up a second later. */
const drain = async (
  recorder: LoadRecorder,
  options: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly actions: AbortController;
    readonly drainMs: number;
  },
): Promise<void> => {
  const { clock, signal, actions, drainMs } = options;
  const idleWithin = async (limitMs: number): Promise<boolean> => {
    const endsAt = clock.monotonicNow() + limitMs;
    while (recorder.inFlightCount > 0) {
      const leftMs = endsAt - clock.monotonicNow();
      if (leftMs <= 0) return false;
      await clock.sleep(Math.min(leftMs, DRAIN_POLL_MS), { signal });
    }
    return true;
  };
  if (await idleWithin(drainMs)) return;
  actions.abort(new DOMException("the load test is over", "AbortError"));
  await idleWithin(ABORT_GRACE_MS);
};

/** The end of a test is no hot path, and polling needs no hook in every action. */
const DRAIN_POLL_MS = 5;

const startTicker = (
  clock: Clock,
  onTick: (now: number) => void,
): { readonly lastAt: () => number; readonly stop: () => void } => {
  let lastAt = clock.monotonicNow();
  const tick = (): void => {
    lastAt = clock.monotonicNow();
    onTick(lastAt);
    timer = clock.schedule(TICK_MS, tick);
  };
  let timer = clock.schedule(TICK_MS, tick);
  return { lastAt: () => lastAt, stop: () => timer.cancel() };
};
