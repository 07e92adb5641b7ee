import type { Position } from "@holdfast/coordination";
import type { Logger } from "@holdfast/kernel";
import type { ResetReason } from "../model/messages.ts";
import type { Channel, FrameCache, Subscriber } from "./channel.ts";
import type { ChannelBounds, ChannelEvent, ChannelLog } from "./channel-log.ts";
import type { Outlet } from "./outlet.ts";
import type { PageFrames } from "./page-frames.ts";

/** While a client catches up, at most so much waits for it: the rest stays in the history. */
const CATCH_UP_QUEUE_BYTES = 262_144;
/** Events read at a time: few at first, because they may be large, then about so many characters of them. */
const FIRST_PAGE_COUNT = 16;
const PAGE_MAX_COUNT = 100;
const PAGE_LENGTH = 262_144;

/** How a kind of connection writes what a subscription has for it. */
export interface Writer {
  readonly outlet: Outlet;
  writeEvents(events: readonly ChannelEvent[], frames: FrameCache): void;
  writeReset(channel: string, reason: ResetReason, position: Position): void;
}

/**
 * One channel of one connection: from the history up to the line of live events, without gap or repeat. Catching
 * up is paced by the client, so that resuming a long history is no slow reading.
 */
export class Subscription implements Subscriber {
  readonly channel: Channel;
  readonly #log: ChannelLog;
  readonly #writer: Writer;
  readonly #logger: Logger;
  readonly #pages: PageFrames;
  #run = 0;

  constructor(parts: {
    readonly channel: Channel;
    readonly log: ChannelLog;
    readonly writer: Writer;
    readonly logger: Logger;
    readonly pages: PageFrames;
  }) {
    this.channel = parts.channel;
    this.#log = parts.log;
    this.#writer = parts.writer;
    this.#logger = parts.logger;
    this.#pages = parts.pages;
  }

  onEvents(events: readonly ChannelEvent[], frames: FrameCache): void {
    this.#writer.writeEvents(events, frames);
  }

  onReset(reason: ResetReason, bounds: ChannelBounds): void {
    this.#writer.writeReset(this.channel.name, reason, bounds.head);
  }

  /** Goes on after `position`. A second call starts over from the new position. */
  startFrom(position: Position): void {
    this.#run += 1;
    this.channel.leave(this);
    if (this.channel.join(this, position)) return;
    const run = this.#run;
    this.#catchUp(position, run).catch((err: unknown) => {
      if (run !== this.#run) return;
      this.#logger.warn({ err, channel: this.channel.name }, "cannot read the history of a channel");
      // The client keeps its position and resumes from it on its next connection.
      this.#writer.outlet.close("failed", "the history cannot be read");
    });
  }

  stop(): void {
    this.#run += 1;
    this.channel.leave(this);
  }

  async #catchUp(position: Position, run: number): Promise<void> {
    const { outlet } = this.#writer;
    let after = position;
    let limit = FIRST_PAGE_COUNT;
    while (run === this.#run && outlet.isOpen) {
      const read = await this.#log.read(this.channel.name, { after, limit });
      if (run !== this.#run || !outlet.isOpen) return;
      if (read.kind === "reset") {
        after = read.bounds.head;
        this.#writer.writeReset(this.channel.name, read.reason, after);
      }
      for (const { events, frames } of this.#pages.piecesOf(read.kind === "reset" ? [] : read.events)) {
        while (outlet.isOpen && outlet.queuedBytes > CATCH_UP_QUEUE_BYTES) await outlet.drained();
        if (run !== this.#run || !outlet.isOpen) return;
        this.#writer.writeEvents(events, frames);
        after = events.at(-1)?.position ?? after;
      }
      if (this.channel.join(this, after)) return;
      if (read.kind === "events") limit = pageCountAfter(read.events);
      if (read.kind === "events" && read.events.length === 0) {
        throw new Error("the log announced events that it cannot be asked for");
      }
    }
  }
}

/** How many events like these to read next. */
const pageCountAfter = (events: readonly ChannelEvent[]): number => {
  const length = events.reduce((sum, { payloadText }) => sum + payloadText.length, 1);
  return Math.max(1, Math.min(PAGE_MAX_COUNT, Math.floor((PAGE_LENGTH * events.length) / length)));
};
