import type { Position } from "@holdfast/coordination";
import type { Abortable } from "@holdfast/kernel";
import type { EventOrigin, ResetReason } from "../model/messages.ts";

/** What is to be published; the payload is already JSON text, so that it is serialised once. */
export interface EventDraft {
  readonly channel: string;
  readonly event: string;
  /** A JSON object. */
  readonly payloadText: string;
  readonly id: string;
  readonly origin?: EventOrigin;
  /** The same key on the same channel within the time it is kept publishes nothing and gives the first answer. */
  readonly idempotencyKey?: string;
}

/** One event in the history of its channel. */
export interface ChannelEvent {
  readonly channel: string;
  readonly event: string;
  readonly payloadText: string;
  readonly id: string;
  readonly position: Position;
  /** When the log took it, wall milliseconds. For people; order comes from the position. */
  readonly ts: number;
  readonly origin?: EventOrigin;
}

export interface Published {
  readonly id: string;
  readonly position: Position;
  /** True when the idempotency key was known: nothing was added. */
  readonly isRepeat: boolean;
}

/** Where the history of a channel starts and ends now. */
export interface ChannelBounds {
  /** Position of the newest event; offset 0 before the first. */
  readonly head: Position;
  /** Offset of the newest event that was trimmed away; 0 when all are there. */
  readonly trimmedTo: bigint;
  /**
   * True where each event is the whole state of the channel, so that only the newest counts: it is what a subscriber
   * gets first, unless it has it, and what came before is never missed.
   */
  readonly isState?: boolean;
}

export type ChannelRead =
  | { readonly kind: "events"; readonly events: readonly ChannelEvent[]; readonly bounds: ChannelBounds }
  | { readonly kind: "reset"; readonly reason: ResetReason; readonly bounds: ChannelBounds };

export interface ChannelFollower {
  /** In order, without gap or repeat, from the bounds that `follow` returned on. Must not throw. */
  onEvents(events: readonly ChannelEvent[]): void;
  /** Events may be missing; what comes next follows `bounds.head`. Must not throw. */
  onReset(reason: ResetReason, bounds: ChannelBounds): void;
}

export interface Following {
  readonly bounds: ChannelBounds;
  /** Nothing is delivered any more once this returns. Idempotent. */
  close(): void;
}

/**
 * Carries the events of all channels, of one process or of many. The port behind the server: every backend
 * passes `channelLogSuite`.
 *
 * Guaranteed: offsets of a channel are 1, 2, 3 … without gap, in the order in which everybody sees them; a reader
 * from a position gets each later event once, or is told `reset`; the epoch changes when history is lost, so an
 * old position is never taken for a new one. A follower gets each event exactly once, whoever published it.
 * History is bounded; what leaves it turns old positions into `reset: trimmed`, never into a silent gap.
 * After `close` every call rejects with ClosedError.
 */
export interface ChannelLog extends AsyncDisposable {
  /** True when other servers may be there on the same log: then presence is shared with them. Default false. */
  readonly isShared?: boolean;
  /**
   * Publishes all drafts, in order within a channel.
   * @throws OverloadedError when a bound of the backend is reached; nothing was published; retryable.
   * @throws OutcomeUnknownError when the answer was lost; repeat with the same idempotency keys.
   */
  publish(drafts: readonly EventDraft[], options?: Abortable): Promise<readonly Published[]>;
  read(
    channel: string,
    options: Abortable & {
      readonly after: Position;
      /** Most events to return, 1 to 1000. Default 100. */
      readonly limit?: number;
    },
  ): Promise<ChannelRead>;
  /** Also gives a channel that was never published to its position, so that a reader can resume from it. */
  bounds(channel: string, options?: Abortable): Promise<ChannelBounds>;
  follow(channel: string, follower: ChannelFollower, options?: Abortable): Promise<Following>;
  /** Resolves when the backend works. @throws what is wrong with it. */
  check(options?: Abortable): Promise<void>;
  close(): Promise<void>;
}

export const READ_LIMIT_DEFAULT = 100;

export const isSamePosition = (a: Position, b: Position): boolean =>
  a.epoch === b.epoch && a.offset === b.offset;

/** Where a new subscriber begins: from now on, or with the newest event of a channel of states. */
export const startOf = ({ head, isState }: ChannelBounds): Position =>
  isState === true && head.offset > 0n ? { ...head, offset: head.offset - 1n } : head;

/** Why reading cannot go on after `after`, or undefined when it can. */
export const resetReason = (after: Position, bounds: ChannelBounds): ResetReason | undefined => {
  const { head, trimmedTo } = bounds;
  // Epoch 0 is a channel that did not exist yet: whatever is in its first life came later.
  if (after.epoch !== head.epoch && after.epoch !== 0n) return "epoch-changed";
  if (after.offset > head.offset) return "ahead-of-head";
  return after.offset < trimmedTo ? "trimmed" : undefined;
};
