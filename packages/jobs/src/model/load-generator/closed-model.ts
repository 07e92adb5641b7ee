import type { Clock } from "@holdfast/kernel";
import type { LoadRecorder } from "./load-recorder.ts";

export interface ClosedPlan {
  /** At least 0. */
  readonly virtualUsers: number;
  readonly durationMs: number;
}

/** So many actions in a row without any time passing can only be code that never waits; let others run then. */
const INSTANT_ACTIONS_MAX_COUNT = 1_000;
/** An event loop that has not run a timer for this long is starved by actions that never wait for anything. */
const STARVED_AFTER_MS = 200;

/**
 * Runs virtual users that each start their next action when the last has ended, until the time is over.
 *
 * A slow server slows the load down, as real users that wait for it would be; latency counts from the real
 * start. Resolves when every virtual user has ended its last action. Started actions are never cut short.
 * @param options.lastTickAt When the event loop last ran a timer, monotonic ms.
 */
export const runClosedModel = async (
  plan: ClosedPlan,
  options: {
    readonly recorder: LoadRecorder;
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly lastTickAt: () => number;
  },
): Promise<void> => {
  const { recorder, clock, signal, lastTickAt } = options;
  const endsAt = clock.monotonicNow() + plan.durationMs;
  const virtualUser = async (): Promise<void> => {
    let instantCount = 0;
    for (let now = clock.monotonicNow(); now < endsAt && !signal.aborted; ) {
      await recorder.run(now);
      const after = clock.monotonicNow();
      instantCount = after === now ? instantCount + 1 : 0;
      now = after;
      if (instantCount >= INSTANT_ACTIONS_MAX_COUNT || now - lastTickAt() > STARVED_AFTER_MS) {
        instantCount = 0;
        await clock.sleep(1);
        now = clock.monotonicNow();
      }
    }
  };
  await Promise.all(Array.from({ length: plan.virtualUsers }, virtualUser));
};
