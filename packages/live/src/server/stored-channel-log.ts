import type { Json, Log, LogEntry, LogTailItem, Position } from "@holdfast/coordination";
import {
  type Abortable,
  assert,
  type Clock,
  ClosedError,
  type Logger,
  silentLogger,
  systemClock,
  TaskGroup,
} from "@holdfast/kernel";
import { EventTooLargeError } from "../errors.ts";
import { DEFAULT_LIMITS } from "../model/limits.ts";
import { checkCount } from "../model/option-checks.ts";
import { isObject, parseOrigin } from "../model/parse.ts";
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

/** The newest entries are trimmed off in steps, so that most publishes cost one call to the store. */
const TRIM_STEPS = 4;
/** How long until a store is followed again that failed, milliseconds. */
const RETRY_MS = 1_000;

export interface StoredChannelLogOptions<Tx> {
  /** The log of a coordination store: memory, Redis or PostgreSQL. The owner closes the store. */
  readonly log: Log<Tx>;
  /** Streams are named `prefix:channel`; two prefixes never mix. Default `live`. */
  readonly prefix?: string;
  /** Events kept per channel, at least 1; up to a quarter more stay for a while. Default 500. */
  readonly historyMaxCount?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * Channels in a coordination store, for any number of servers: each publishes into the store, and each feeds its own
 * clients from there, its publisher's too, so that every event has one way to every client.
 *
 * Differs from the memory log in three points: history is bounded by count alone; on PostgreSQL a channel's first event
 * gives it its epoch; and an idempotency key is looked for in the history of its channel, so it holds as long as that,
 * and two servers that are given one key in the same moment may both publish.
 */
export class StoredChannelLog<Tx = never> implements ChannelLog {
  readonly isShared = true;
  readonly #log: Log<Tx>;
  readonly #prefix: string;
  readonly #historyMaxCount: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tails: TaskGroup;
  /** Keyed publishes of this server run one after the other, so that the same key is seen by the second. */
  readonly #keyed = new Map<string, Promise<unknown>>();
  #isClosed = false;

  /** @throws InvalidInputError for a `historyMaxCount` that is no whole number from 1. */
  constructor(options: StoredChannelLogOptions<Tx>) {
    this.#log = options.log;
    this.#prefix = options.prefix ?? "live";
    this.#historyMaxCount = checkCount("historyMaxCount", options.historyMaxCount ?? 500, 1);
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#tails = new TaskGroup({ logger: this.#logger });
  }

  async publish(drafts: readonly EventDraft[], options: Abortable = {}): Promise<readonly Published[]> {
    this.#enter(options);
    if (drafts.every(({ idempotencyKey }) => idempotencyKey === undefined))
      return this.#append(drafts, options);
    const results: Published[] = [];
    for (const draft of drafts) results.push(await this.#publishKeyed(draft, options));
    return results;
  }

  /**
   * Publishes with a transaction of the store, where it has some: the events are there when it commits and never
   * were when it does not. No idempotency keys: the transaction is done once by itself.
   * @throws EventTooLargeError for a payload above 256 KiB; nothing was published.
   */
  async publishIn(
    tx: Tx,
    drafts: readonly Omit<EventDraft, "idempotencyKey">[],
  ): Promise<readonly Published[]> {
    this.#enter({});
    for (const { channel, payloadText } of drafts) {
      // A larger one would fill the queue of every client that is to receive it.
      const bytes = Buffer.byteLength(payloadText);
      if (bytes <= DEFAULT_LIMITS.eventMaxBytes) continue;
      const limit = DEFAULT_LIMITS.eventMaxBytes;
      throw new EventTooLargeError(
        `an event on channel "${channel}" has ${bytes} bytes; ${limit} are allowed`,
      );
    }
    return this.#append(drafts, { tx });
  }

  async read(
    channel: string,
    options: Abortable & { readonly after: Position; readonly limit?: number },
  ): Promise<ChannelRead> {
    this.#enter(options);
    const { after, limit = READ_LIMIT_DEFAULT, signal } = options;
    const read = await this.#log.read(this.#stream(channel), { after, limit, signal });
    // Stricter than the store: a position before the first event is of its own life of the channel too.
    const reason = read.kind === "reset" ? read.reason : resetReason(after, read.bounds);
    if (reason !== undefined) return { kind: "reset", reason, bounds: read.bounds };
    const entries = read.kind === "entries" ? read.entries : [];
    return { kind: "events", events: entries.map((entry) => toEvent(channel, entry)), bounds: read.bounds };
  }

  async bounds(channel: string, options: Abortable = {}): Promise<ChannelBounds> {
    this.#enter(options);
    return this.#log.bounds(this.#stream(channel), options);
  }

  async follow(channel: string, follower: ChannelFollower, options: Abortable = {}): Promise<Following> {
    const bounds = await this.bounds(channel, options);
    this.#enter(options);
    const stopped = new AbortController();
    this.#tails.spawn(`tail of ${channel}`, async (signal) => {
      const either = AbortSignal.any([signal, stopped.signal]);
      await this.#tail(channel, bounds.head, follower, either);
    });
    return { bounds, close: () => stopped.abort(new ClosedError(`the tail of ${channel}`)) };
  }

  async check(options: Abortable = {}): Promise<void> {
    await this.bounds("health", options);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#tails.stop(new ClosedError("the channel log"));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #enter(options: Abortable): void {
    options.signal?.throwIfAborted();
    if (this.#isClosed) throw new ClosedError("the channel log");
  }

  #stream(channel: string): string {
    return `${this.#prefix}:${channel}`;
  }

  async #append(
    drafts: readonly EventDraft[],
    options: Abortable & { readonly tx?: Tx },
  ): Promise<readonly Published[]> {
    const positions = await this.#log.append(
      drafts.map((draft) => ({ stream: this.#stream(draft.channel), payload: toPayload(draft) })),
      options,
    );
    const heads = new Map<string, bigint>();
    const published = drafts.map(({ id, channel }, index): Published => {
      const position = positions[index];
      assert(position !== undefined, "the store gave a position for each entry");
      heads.set(channel, position.offset);
      return { id, position, isRepeat: false };
    });
    for (const [channel, head] of heads)
      await this.#trim(channel, head, { addedCount: drafts.length, ...options });
    return published;
  }

  async #trim(
    channel: string,
    head: bigint,
    options: { readonly addedCount: number; readonly tx?: Tx },
  ): Promise<void> {
    const { addedCount, tx } = options;
    const step = BigInt(Math.max(1, Math.floor(this.#historyMaxCount / TRIM_STEPS)));
    const upTo = head - BigInt(this.#historyMaxCount);
    if (upTo <= 0n || head / step === (head - BigInt(addedCount)) / step) return;
    try {
      await this.#log.trim(this.#stream(channel), { upTo, ...(tx === undefined ? {} : { tx }) });
    } catch (err) {
      // A transaction that failed inside cannot go on.
      if (tx !== undefined) throw err;
      // The event is published; the next step trims more.
      this.#logger.warn({ err, channel }, "the history of a channel could not be trimmed");
    }
  }

  async #publishKeyed(draft: EventDraft, options: Abortable): Promise<Published> {
    const before = this.#keyed.get(draft.channel) ?? Promise.resolve();
    const run = before.then(async (): Promise<Published> => {
      const known = draft.idempotencyKey === undefined ? undefined : await this.#find(draft, options);
      if (known !== undefined) return known;
      const [published] = await this.#append([draft], options);
      assert(published !== undefined, "one draft has one answer");
      return published;
    });
    const settled = run.catch(() => undefined);
    this.#keyed.set(draft.channel, settled);
    try {
      return await run;
    } finally {
      if (this.#keyed.get(draft.channel) === settled) this.#keyed.delete(draft.channel);
    }
  }

  async #find({ channel, idempotencyKey }: EventDraft, options: Abortable): Promise<Published | undefined> {
    let after: Position | undefined;
    for (;;) {
      const read = await this.#log.read(this.#stream(channel), {
        after,
        limit: 1_000,
        signal: options.signal,
      });
      const entries = read.kind === "entries" ? read.entries : [];
      const found = entries.find(({ payload }) => isObject(payload) && payload["key"] === idempotencyKey);
      if (found !== undefined) {
        return { id: toEvent(channel, found).id, position: found.position, isRepeat: true };
      }
      // Trimmed meanwhile: from the oldest that is there.
      const last = read.kind === "entries" ? entries.at(-1)?.position : undefined;
      if (read.kind === "entries" && last === undefined) return undefined;
      after = last;
    }
  }

  /** Goes on from where it was when the store comes back. */
  async #tail(
    channel: string,
    from: Position,
    follower: ChannelFollower,
    signal: AbortSignal,
  ): Promise<void> {
    let after = from;
    while (!signal.aborted) {
      try {
        for await (const item of this.#log.tail(this.#stream(channel), { after, signal })) {
          signal.throwIfAborted();
          after = this.#deliver(channel, after, item, follower);
        }
      } catch (err) {
        if (signal.aborted) return;
        this.#logger.warn({ err, channel }, "a channel cannot be followed; trying again");
        await this.#clock.sleep(RETRY_MS, { signal });
      }
    }
  }

  #deliver(channel: string, after: Position, item: LogTailItem, follower: ChannelFollower): Position {
    if (item.kind === "reset") {
      // Whoever was ahead has had all that is left; in another life, or after a trim, it is news.
      const { head: newest, trimmedTo } = item.bounds;
      const head = item.reason === "ahead-of-head" ? newest : { epoch: newest.epoch, offset: trimmedTo };
      follower.onReset(item.reason, { ...item.bounds, head });
      return head;
    }
    const entries = item.entries.filter(
      ({ position }) => position.epoch !== after.epoch || position.offset > after.offset,
    );
    const last = entries.at(-1);
    if (last === undefined) return after;
    follower.onEvents(entries.map((entry) => toEvent(channel, entry)));
    return last.position;
  }
}

const toPayload = ({ event, payloadText, id, origin, idempotencyKey }: EventDraft): Json => ({
  event,
  payload: payloadText,
  id,
  ...(origin === undefined ? {} : { origin: { ...origin } }),
  ...(idempotencyKey === undefined ? {} : { key: idempotencyKey }),
});

const toEvent = (channel: string, { payload, position, appendedAt }: LogEntry): ChannelEvent => {
  assert(isObject(payload), `an entry of channel "${channel}" was written by this log`);
  const { event, payload: payloadText, id, origin } = payload;
  return {
    channel,
    event: String(event),
    payloadText: String(payloadText),
    id: String(id),
    position,
    ts: appendedAt,
    ...(isObject(origin) ? { origin: parseOrigin(origin) } : {}),
  };
};
