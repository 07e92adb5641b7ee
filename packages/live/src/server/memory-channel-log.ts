import {
  type Abortable,
  type Clock,
  ClosedError,
  keepNewest,
  OverloadedError,
  type Random,
  randomInt,
  systemClock,
  systemRandom,
  type Timer,
} from "@holdfast/kernel";
import { checkCount, checkMs } from "../model/option-checks.ts";
import {
  type ChannelBounds,
  type ChannelEvent,
  type ChannelFollower,
  type ChannelLog,
  type ChannelRead,
  type EventDraft,
  type Following,
  type Published,
  READ_LIMIT_DEFAULT,
  resetReason,
} from "./channel-log.ts";

export interface MemoryChannelLogOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Events kept per channel, at least 0. Default 500. */
  readonly historyMaxCount?: number;
  /** How long an event is kept, milliseconds, at least 1. Default 300_000 (5 min). */
  readonly historyMaxAgeMs?: number;
  /** How long the position of an idle channel is kept after its last event, milliseconds. Default 3_600_000 (1 h). */
  readonly positionTtlMs?: number;
  /** Channels known at once. At the bound the longest idle one nobody follows is forgotten. Default 100_000. */
  readonly channelMaxCount?: number;
  /** How long an idempotency key is kept, milliseconds. Default 300_000 (5 min). */
  readonly idempotencyTtlMs?: number;
  /** Idempotency keys kept at once; beyond it the oldest is forgotten. Default 100_000. */
  readonly idempotencyMaxCount?: number;
}

interface StoredEvent {
  readonly event: ChannelEvent;
  readonly at: number;
}

interface Channel {
  readonly name: string;
  readonly epoch: bigint;
  head: bigint;
  trimmedTo: bigint;
  /** Offsets trimmedTo + 1 … head, from index `first` on; what lies before is dropped now and then. */
  events: StoredEvent[];
  first: number;
  readonly followers: Set<ChannelFollower>;
  usedAt: number;
}

/**
 * Channels of this process: a restart forgets them, which clients notice by the epoch. Delivers to followers
 * synchronously, so it is also the fastest and, on a virtual clock, the deterministic one.
 */
export class MemoryChannelLog implements ChannelLog {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #historyMaxCount: number;
  readonly #historyMaxAgeMs: number;
  readonly #positionTtlMs: number;
  readonly #channelMaxCount: number;
  readonly #idempotencyTtlMs: number;
  readonly #idempotencyMaxCount: number;
  /** In the order of last use, the longest idle one first. */
  readonly #channels = new Map<string, Channel>();
  readonly #keys = new Map<string, { readonly published: Published; readonly at: number }>();
  #sweepTimer: Timer | undefined;
  #isClosed = false;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: MemoryChannelLogOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#historyMaxCount = checkCount("historyMaxCount", options.historyMaxCount ?? 500, 0);
    this.#historyMaxAgeMs = checkMs("historyMaxAgeMs", options.historyMaxAgeMs ?? 300_000, 1);
    this.#positionTtlMs = checkMs("positionTtlMs", options.positionTtlMs ?? 3_600_000, 0);
    this.#channelMaxCount = checkCount("channelMaxCount", options.channelMaxCount ?? 100_000, 1);
    this.#idempotencyTtlMs = checkMs("idempotencyTtlMs", options.idempotencyTtlMs ?? 300_000, 0);
    this.#idempotencyMaxCount = checkCount("idempotencyMaxCount", options.idempotencyMaxCount ?? 100_000, 0);
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  async publish(drafts: readonly EventDraft[], options: Abortable = {}): Promise<readonly Published[]> {
    this.#enter(options);
    const added = new Map<Channel, ChannelEvent[]>();
    // Everything that can fail comes first: either all drafts are in or none.
    this.#makeRoom(new Set(drafts.map(({ channel }) => channel)));
    const results = drafts.map((draft) => this.#add(draft, added));
    for (const [channel, events] of added) {
      for (const follower of [...channel.followers]) follower.onEvents(events);
    }
    return results;
  }

  async read(
    name: string,
    options: Abortable & { readonly after: ChannelEvent["position"]; readonly limit?: number },
  ): Promise<ChannelRead> {
    this.#enter(options);
    const channel = this.#use(name);
    const bounds = this.#boundsOf(channel);
    const reason = resetReason(options.after, bounds);
    if (reason !== undefined) return { kind: "reset", reason, bounds };
    const start = channel.first + Number(options.after.offset - channel.trimmedTo);
    const events = channel.events.slice(start, start + (options.limit ?? READ_LIMIT_DEFAULT));
    return { kind: "events", events: events.map(({ event }) => event), bounds };
  }

  async bounds(name: string, options: Abortable = {}): Promise<ChannelBounds> {
    this.#enter(options);
    return this.#boundsOf(this.#use(name));
  }

  async follow(name: string, follower: ChannelFollower, options: Abortable = {}): Promise<Following> {
    this.#enter(options);
    const channel = this.#use(name);
    // One object may follow twice.
    const own: ChannelFollower = {
      onEvents: (events) => follower.onEvents(events),
      onReset: (reason, bounds) => follower.onReset(reason, bounds),
    };
    channel.followers.add(own);
    return { bounds: this.#boundsOf(channel), close: () => void channel.followers.delete(own) };
  }

  async check(options: Abortable = {}): Promise<void> {
    this.#enter(options);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sweepTimer?.cancel();
    this.#channels.clear();
    this.#keys.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #enter(options: Abortable): void {
    options.signal?.throwIfAborted();
    if (this.#isClosed) throw new ClosedError("the memory channel log");
    this.#sweepTimer ??= this.#clock.schedule(this.#historyMaxAgeMs, () => this.#sweep(), { unref: true });
  }

  #add(draft: EventDraft, added: Map<Channel, ChannelEvent[]>): Published {
    const { idempotencyKey, ...rest } = draft;
    const key = idempotencyKey === undefined ? undefined : `${draft.channel}\n${idempotencyKey}`;
    const now = this.#clock.monotonicNow();
    const known = key === undefined ? undefined : this.#keys.get(key);
    if (known !== undefined && now - known.at < this.#idempotencyTtlMs) {
      return { ...known.published, isRepeat: true };
    }
    const channel = this.#use(draft.channel);
    channel.head += 1n;
    const position = { epoch: channel.epoch, offset: channel.head };
    const event: ChannelEvent = { ...rest, position, ts: this.#clock.wallNow() };
    channel.events.push({ event, at: now });
    this.#trim(channel, now);
    const list = added.get(channel);
    if (list === undefined) added.set(channel, [event]);
    else list.push(event);
    const published: Published = { id: event.id, position, isRepeat: false };
    if (key !== undefined) this.#remember(key, published, now);
    return published;
  }

  #remember(key: string, published: Published, at: number): void {
    this.#keys.delete(key);
    this.#keys.set(key, { published, at });
    keepNewest(this.#keys, this.#idempotencyMaxCount);
  }

  /** The channel, begun if need be, and marked as used. */
  #use(name: string): Channel {
    let channel = this.#channels.get(name);
    if (channel === undefined) {
      this.#makeRoom(new Set([name]));
      channel = {
        name,
        // Larger for a later life and different for every process, also when two start in one millisecond.
        epoch: (BigInt(this.#clock.wallNow()) << 20n) + BigInt(randomInt(this.#random, 2 ** 20)),
        head: 0n,
        trimmedTo: 0n,
        events: [],
        first: 0,
        followers: new Set(),
        usedAt: 0,
      };
    } else {
      this.#channels.delete(name);
    }
    channel.usedAt = this.#clock.monotonicNow();
    this.#channels.set(name, channel);
    return channel;
  }

  #makeRoom(names: ReadonlySet<string>): void {
    let missing = 0;
    for (const name of names) if (!this.#channels.has(name)) missing += 1;
    const excess = this.#channels.size + missing - this.#channelMaxCount;
    if (excess <= 0) return;
    const idle: string[] = [];
    for (const channel of this.#channels.values()) {
      if (idle.length >= excess) break;
      if (channel.followers.size === 0 && !names.has(channel.name)) idle.push(channel.name);
    }
    if (idle.length < excess) throw new OverloadedError("the memory channel log", this.#channelMaxCount);
    for (const name of idle) this.#channels.delete(name);
  }

  #boundsOf(channel: Channel): ChannelBounds {
    this.#trim(channel, this.#clock.monotonicNow());
    return { head: { epoch: channel.epoch, offset: channel.head }, trimmedTo: channel.trimmedTo };
  }

  #trim(channel: Channel, now: number): void {
    const oldest = now - this.#historyMaxAgeMs;
    const { events } = channel;
    while (
      channel.first < events.length &&
      (events.length - channel.first > this.#historyMaxCount || (events[channel.first]?.at ?? now) < oldest)
    ) {
      channel.first += 1;
      channel.trimmedTo += 1n;
    }
    if (channel.first > 64 && channel.first * 2 > events.length) {
      channel.events = events.slice(channel.first);
      channel.first = 0;
    }
  }

  #sweep(): void {
    const now = this.#clock.monotonicNow();
    for (const channel of this.#channels.values()) {
      this.#trim(channel, now);
      if (channel.followers.size === 0 && now - channel.usedAt > this.#positionTtlMs) {
        this.#channels.delete(channel.name);
      }
    }
    for (const [key, { at }] of this.#keys) {
      if (now - at < this.#idempotencyTtlMs) break;
      this.#keys.delete(key);
    }
    this.#sweepTimer = this.#clock.schedule(this.#historyMaxAgeMs, () => this.#sweep(), { unref: true });
  }
}
