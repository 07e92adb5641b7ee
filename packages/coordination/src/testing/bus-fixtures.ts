import { VirtualClock } from "@holdfast/kernel/testing";
import { expect } from "vitest";
import type { BusEvent, HandlerFailure } from "../event-bus/bus-event.ts";
import type { EventBusOptions } from "../event-bus/bus-options.ts";
import { EventBus } from "../event-bus/event-bus.ts";

type Events = { a: { readonly n?: number }; b: { readonly n?: number }; nothing: Record<never, never> };

/** A bus on a virtual clock, with what its handlers saw and how they failed. */
export const setUpBus = (options: EventBusOptions = {}) => {
  const clock = new VirtualClock();
  const failures: HandlerFailure[] = [];
  const bus = new EventBus<Events>({ clock, onError: (failure) => failures.push(failure), ...options });
  const seen: (number | undefined)[] = [];
  const note = (event: BusEvent<"a" | "b", { readonly n?: number }>): void => {
    seen.push(event.data.n);
  };
  return { clock, bus, failures, seen, note, settle: () => clock.advance(0) };
};

/** No event is lost from the counts, neither by the bus nor by a subscription. */
export const expectLaw = (bus: EventBus<Events>): void => {
  const { published, processed, unrouted, queued, inFlight, evicted, rejected, dropped, subscriptions } =
    bus.stats();
  expect(published).toBe(processed + unrouted + queued + inFlight + evicted);
  expect(dropped).toBe(evicted + rejected);
  for (const each of subscriptions) {
    expect(each.received).toBe(
      each.succeeded + each.failed + each.timedOut + each.dropped + each.running + each.waiting,
    );
  }
};
