/** Running counts of one server since it began, and what it holds now. */
export interface LiveStats {
  readonly connectionCount: number;
  readonly subscriptionCount: number;
  readonly channelCount: number;
  /** Bytes waiting in the queues of all connections. */
  readonly queuedBytes: number;
  readonly connectionsOpened: number;
  readonly connectionsRefused: number;
  readonly eventsIn: number;
  /** Deliveries: one event to one connection counts once. */
  readonly eventsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly slowCloses: number;
  /** Subscriptions that went on from a position with everything they missed. */
  readonly recoveries: number;
  /** Subscriptions that were told that their position is lost. */
  readonly resets: number;
}

/** The counters behind {@link LiveStats}; parts of the server add to them. */
export class LiveCounters {
  connectionsOpened = 0;
  connectionsRefused = 0;
  eventsIn = 0;
  eventsOut = 0;
  bytesIn = 0;
  bytesOut = 0;
  slowCloses = 0;
  recoveries = 0;
  resets = 0;
}
