import type { Position } from "@holdfast/coordination";
import { afterThisTurn, type Logger } from "@holdfast/kernel";
import type { ResetReason } from "../model/messages.ts";
import {
  type ChannelBounds,
  type ChannelEvent,
  type ChannelFollower,
  type ChannelLog,
  type Following,
  isSamePosition,
} from "./channel-log.ts";

/** Events that came together go out in writes of about so many characters: one write must not fill a client's queue. */
const WRITE_LENGTH = 65_536;

/** One reader of a channel on this server. */
export interface Subscriber {
  /** In order. Called once for all events that came together. Must not throw. */
  onEvents(events: readonly ChannelEvent[], frames: FrameCache): void;
  onReset(reason: ResetReason, bounds: ChannelBounds): void;
}

/** Makes the bytes for a batch of events once, however many subscribers write them. */
export class FrameCache {
  #full: Buffer | undefined;
  #simple: Buffer | undefined;
  readonly #make: (form: "full" | "simple") => Buffer;

  constructor(make: (form: "full" | "simple") => Buffer) {
    this.#make = make;
  }

  get full(): Buffer {
    this.#full ??= this.#make("full");
    return this.#full;
  }

  get simple(): Buffer {
    this.#simple ??= this.#make("simple");
    return this.#simple;
  }
}

/**
 * The subscribers that one channel has on this server, over one follower of the log. A subscriber is `live`, or it
 * catches up by itself and then joins the line exactly where it stands.
 */
export class Channel implements ChannelFollower {
  readonly name: string;
  readonly #log: ChannelLog;
  readonly #logger: Logger;
  readonly #framesOf: (events: readonly ChannelEvent[], form: "full" | "simple") => Buffer;
  readonly #live = new Set<Subscriber>();
  /** Read further than the follower has come; they join when it reaches their position. */
  readonly #ahead = new Map<Subscriber, Position>();
  /** Came in this turn; they go out together at its end, in one write to each subscriber. */
  #gathered: ChannelEvent[] = [];
  #following: Following | undefined;
  #bounds: ChannelBounds | undefined;
  #isClosed = false;
  /** Resolves when the channel has a position. Rejects when the log cannot be followed. */
  readonly opened: Promise<void>;

  constructor(
    name: string,
    parts: {
      readonly log: ChannelLog;
      readonly logger: Logger;
      readonly framesOf: (events: readonly ChannelEvent[], form: "full" | "simple") => Buffer;
    },
  ) {
    this.name = name;
    this.#log = parts.log;
    this.#logger = parts.logger;
    this.#framesOf = parts.framesOf;
    this.opened = this.#open();
    // Whoever waits for it is told; nobody else needs to be.
    this.opened.catch(() => undefined);
  }

  async #open(): Promise<void> {
    const following = await this.#log.follow(this.name, this);
    if (this.#isClosed) {
      following.close();
      return;
    }
    this.#following = following;
    // Events may have come between the answer and now.
    this.#bounds = { ...following.bounds, ...this.#bounds };
  }

  /** Position of the newest event that live subscribers have been given. Only after `opened`. */
  get head(): Position {
    return this.bounds.head;
  }

  /** Where the line stands, and what kind of channel it is. Only after `opened`. */
  get bounds(): ChannelBounds {
    if (this.#bounds === undefined) throw new Error("the channel is not open yet");
    return this.#bounds;
  }

  /**
   * Makes `subscriber` live if `after` is where the line stands (or further, also in a later life of the channel that
   * the follower has not been told of yet); then nothing is missed or repeated. Returns false when it must read on first.
   */
  join(subscriber: Subscriber, after: Position): boolean {
    const { head } = this;
    if (after.epoch < head.epoch || (after.epoch === head.epoch && after.offset < head.offset)) return false;
    if (isSamePosition(after, head)) this.#live.add(subscriber);
    else this.#ahead.set(subscriber, after);
    return true;
  }

  leave(subscriber: Subscriber): void {
    this.#live.delete(subscriber);
    this.#ahead.delete(subscriber);
  }

  onEvents(events: readonly ChannelEvent[]): void {
    if (this.#isClosed || events.length === 0) return;
    if (this.#gathered.length === 0) afterThisTurn(() => this.flush());
    this.#gathered.push(...events);
  }

  /** Sends what was gathered in this turn, now. */
  flush(): void {
    const gathered = this.#gathered;
    this.#gathered = [];
    let start = 0;
    let length = 0;
    for (const [index, { payloadText }] of gathered.entries()) {
      if (length > 0 && length + payloadText.length > WRITE_LENGTH) {
        this.#deliver(gathered.slice(start, index));
        start = index;
        length = 0;
      }
      length += payloadText.length;
    }
    this.#deliver(start === 0 ? gathered : gathered.slice(start));
  }

  #deliver(events: readonly ChannelEvent[]): void {
    const last = events.at(-1);
    if (this.#isClosed || last === undefined) return;
    this.#bounds = { trimmedTo: 0n, ...this.#bounds, head: last.position };
    const frames = new FrameCache((form) => this.#framesOf(events, form));
    for (const subscriber of this.#live) this.#guard(() => subscriber.onEvents(events, frames));
    if (this.#ahead.size > 0) this.#joinAhead(events, last.position);
  }

  onReset(reason: ResetReason, bounds: ChannelBounds): void {
    if (this.#isClosed) return;
    this.flush();
    this.#bounds = bounds;
    this.#logger.warn({ channel: this.name, reason }, "the position of a channel was lost; clients are told");
    const { head } = bounds;
    const told = [...this.#live];
    for (const [subscriber, position] of this.#ahead) {
      // Who is further in this very life has missed nothing, unless it is the log that fell behind.
      const isFurther = position.epoch === head.epoch && position.offset > head.offset;
      if (isFurther && reason !== "ahead-of-head") continue;
      this.#ahead.delete(subscriber);
      this.#live.add(subscriber);
      if (!isSamePosition(position, head)) told.push(subscriber);
    }
    for (const subscriber of told) this.#guard(() => subscriber.onReset(reason, bounds));
  }

  close(): void {
    this.#isClosed = true;
    this.#following?.close();
    this.#live.clear();
    this.#ahead.clear();
  }

  #joinAhead(events: readonly ChannelEvent[], head: Position): void {
    for (const [subscriber, { epoch, offset }] of this.#ahead) {
      if (epoch !== head.epoch || offset > head.offset) continue;
      this.#ahead.delete(subscriber);
      this.#live.add(subscriber);
      const later = events.filter(({ position }) => position.offset > offset);
      if (later.length === 0) continue;
      const frames = new FrameCache((form) => this.#framesOf(later, form));
      this.#guard(() => subscriber.onEvents(later, frames));
    }
  }

  #guard(deliver: () => void): void {
    try {
      deliver();
    } catch (err) {
      this.#logger.error({ err, channel: this.name }, "a subscriber failed; the others were served");
    }
  }
}
