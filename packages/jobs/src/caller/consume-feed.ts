import { type Clock, deferred, type Timer } from "@holdfast/kernel";
import type { BegunFeed, FollowItem } from "./follow-job.ts";

export interface ConsumeOptions {
  readonly clock: Clock;
  /** Silence after which it is to be asked whether something was missed. */
  readonly silenceMs: number;
  /** Takes items as they come. False: no more for now, what is not taken stays in the feed. */
  readonly onItems: (items: readonly FollowItem[]) => boolean;
}

/** A feed that is being consumed. */
export interface Consumption {
  /** True when the job's last event was taken; false when the feed must be followed on with more care. Rejects with what `onItems` threw. */
  readonly ended: Promise<boolean>;
  /** Takes no more; `ended` becomes false. Idempotent. */
  stop(): void;
}

/**
 * Consumes a feed as its pushes come, without a generator or a wait for each of them, as long as all goes well: at
 * a gap, a lost connection or a silence it stops, and `followJob` goes on with what is left.
 */
export const consumeFeed = (
  { feed: { buffer }, peer }: BegunFeed,
  { clock, silenceMs, onItems }: ConsumeOptions,
): Consumption => {
  const done = deferred<boolean>();
  let heardAt = clock.monotonicNow();
  let isDone = false;
  let timer: Timer | undefined;
  const finish = (isEnded: boolean): void => {
    if (isDone) return;
    isDone = true;
    timer?.cancel();
    buffer.onChanged = undefined;
    stopListening();
    done.resolve(isEnded);
  };
  const take = (): void => {
    if (isDone) return;
    heardAt = clock.monotonicNow();
    const items = buffer.takeAll();
    let goesOn = true;
    try {
      goesOn = items.length === 0 || onItems(items);
    } catch (error) {
      // A push handler has nobody to throw to.
      done.reject(error);
      finish(false);
    }
    if (buffer.isEnded) finish(true);
    else if (!goesOn || buffer.needsFollow) finish(false);
  };
  const watchSilence = (): void => {
    const leftMs = heardAt + silenceMs - clock.monotonicNow();
    if (leftMs <= 0) finish(false);
    else timer = clock.schedule(leftMs, watchSilence);
  };
  let stopListening = (): void => undefined;
  stopListening = peer.onClose(() => finish(false));
  buffer.onChanged = take;
  watchSilence();
  // What came before anybody listened.
  take();
  return { ended: done.promise, stop: () => finish(false) };
};
