import { ClosedError, type Logger } from "@holdfast/kernel";
import { Channel } from "./channel.ts";
import type { ChannelLog } from "./channel-log.ts";
import { EncodedEvent } from "./encoded-event.ts";

/** The channels that somebody on this server follows. The log is followed only while somebody does. */
export class ChannelHub {
  readonly #log: ChannelLog;
  readonly #logger: Logger;
  readonly #channels = new Map<string, { readonly channel: Channel; holders: number }>();
  #isClosed = false;

  constructor(log: ChannelLog, logger: Logger) {
    this.#log = log;
    this.#logger = logger;
  }

  get channelNames(): readonly string[] {
    return [...this.#channels.keys()];
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  /** How many hold the channel: its subscribers on this server. */
  holderCount(name: string): number {
    return this.#channels.get(name)?.holders ?? 0;
  }

  get holderTotal(): number {
    let total = 0;
    for (const { holders } of this.#channels.values()) total += holders;
    return total;
  }

  /** Takes hold of a channel; `release` it once. Wait for its `opened` before reading its head. */
  hold(name: string): Channel {
    if (this.#isClosed) throw new ClosedError("the live server");
    let entry = this.#channels.get(name);
    if (entry === undefined) {
      const channel = new Channel(name, {
        log: this.#log,
        logger: this.#logger,
        framesOf: EncodedEvent.framesOf,
      });
      entry = { channel, holders: 0 };
      this.#channels.set(name, entry);
      // A channel that cannot be opened must not stay for those who come later.
      channel.opened.catch(() => this.#forget(name, channel));
    }
    entry.holders += 1;
    return entry.channel;
  }

  release(channel: Channel): void {
    const entry = this.#channels.get(channel.name);
    if (entry?.channel !== channel) return;
    entry.holders -= 1;
    if (entry.holders === 0) this.#forget(channel.name, channel);
  }

  /** Sends what all channels gathered in this turn, now. */
  flush(): void {
    for (const { channel } of this.#channels.values()) channel.flush();
  }

  close(): void {
    this.#isClosed = true;
    for (const { channel } of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  #forget(name: string, channel: Channel): void {
    if (this.#channels.get(name)?.channel !== channel) return;
    this.#channels.delete(name);
    channel.close();
  }
}
