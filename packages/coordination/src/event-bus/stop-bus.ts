import { type Clock, ClosedError, type Deferred, deferred } from "@holdfast/kernel";
import type { Envelope } from "./envelope.ts";
import type { Subscription } from "./subscription.ts";

/** The part of a bus that is emptying itself. */
export interface BusDrain {
  readonly queuedCount: number;
  /** Called for each event whose handlers have all settled. */
  onSettled(envelope: Envelope): void;
}

export interface DrainParts {
  /** In the order in which they are to be handed out. */
  readonly queued: readonly Envelope[];
  readonly drainMs: number;
  readonly clock: Clock;
  readonly subscriptions: () => readonly Subscription[];
  readonly hasRoom: (envelope: Envelope) => boolean;
  readonly dispatch: (envelope: Envelope) => void;
  readonly inFlightCount: () => number;
  /** Lets the bus count what is queued here, and tell what settled; undefined when it is over. */
  readonly expose: (drain: BusDrain | undefined) => void;
}

/**
 * Hands out what is queued as the inboxes have room, waits for its handlers, and gives up at the deadline.
 * An event is given out only when every inbox has room for it, so nothing is dropped on the way.
 */
export const drainBus = async (
  parts: DrainParts,
): Promise<{ readonly undelivered: readonly Envelope[]; readonly cutShort: readonly Envelope[] }> => {
  const { queued, clock, dispatch, hasRoom, inFlightCount } = parts;
  const cutShort: Envelope[] = [];
  let next = 0;
  let isLate = false;
  let moved: Deferred<void> | undefined;
  parts.expose({
    get queuedCount() {
      return queued.length - next;
    },
    onSettled(envelope) {
      if (envelope.isCutShort) cutShort.push(envelope);
      moved?.resolve();
    },
  });
  const timer = clock.schedule(parts.drainMs, () => {
    isLate = true;
    moved?.resolve();
  });
  try {
    for (;;) {
      while (!isLate && next < queued.length && hasRoom(queued[next] as Envelope)) {
        next += 1;
        dispatch(queued[next - 1] as Envelope);
      }
      if (isLate || (next === queued.length && inFlightCount() === 0)) break;
      moved = deferred<void>();
      await moved.promise;
    }
    const undelivered = queued.slice(next);
    next = queued.length;
    for (const subscription of parts.subscriptions()) subscription.cut(new ClosedError("the event bus"));
    return { undelivered, cutShort };
  } finally {
    timer.cancel();
    parts.expose(undefined);
  }
};
