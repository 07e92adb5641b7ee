import type { Abortable, Clock, Logger } from "@holdfast/kernel";
import type { BusEvent, EventPriority, HandlerFailure } from "./bus-event.ts";
import type { SubscriptionStats } from "./subscription.ts";

export interface EventBusOptions {
  /** Events that may wait to be handed out, 1 to 10_000_000. Default 1000. */
  readonly capacity?: number;
  /** Room on top of `capacity` that only critical events use. Default a quarter of it, at least 1. */
  readonly criticalHeadroom?: number;
  /**
   * What happens to a non-critical event that finds no room: refused with EventBusFullError (default), taken in
   * at the cost of the oldest event of the least urgent lane, or kept waiting for `waitMs` and then refused.
   */
  readonly overflow?: "reject" | "drop-oldest" | "wait";
  /** Longest wait for room, milliseconds, of critical events and under `wait`. Default 5000. */
  readonly waitMs?: number;
  /** Publishers that may wait for room at the same time; more are refused at once. Default 1000. */
  readonly waiterMaxCount?: number;
  /** Told of every handler that failed, timed out or lost an event. Must be fast; its errors are swallowed. */
  readonly onError?: (failure: HandlerFailure) => void;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

export interface PublishOptions extends Abortable {
  /** Default `normal`. */
  readonly priority?: EventPriority;
  /** Longest wait for room, milliseconds. Default: that of the bus. */
  readonly waitMs?: number;
}

export interface DeliverOptions extends PublishOptions {
  /** Longest wait for room and all handlers together, milliseconds. Default 60_000. */
  readonly timeoutMs?: number;
}

/** published = processed + unrouted + queued + inFlight + evicted. A copy: it does not change any more. */
export interface EventBusStats {
  /** Taken in. */
  readonly published: number;
  /** Handed out, and every handler has settled. */
  readonly processed: number;
  /** Handed out, but nobody had subscribed. */
  readonly unrouted: number;
  readonly queued: number;
  readonly inFlight: number;
  /** Taken in and then given up: dropped as the oldest, or given back by `stop`. */
  readonly evicted: number;
  /** Never taken in: refused for want of room. */
  readonly rejected: number;
  /** evicted + rejected. */
  readonly dropped: number;
  /** Publishers waiting for room. */
  readonly waiting: number;
  readonly subscriptions: readonly SubscriptionStats[];
}

/** What `stop` could not finish in its time. */
export interface StopReport {
  /** No handler was started; given back to the caller and no more in the bus. Critical ones first. */
  readonly undelivered: readonly BusEvent[];
  /** Some handlers had their turn, others were aborted or not started. */
  readonly cutShort: readonly BusEvent[];
}
