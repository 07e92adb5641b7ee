import type { IncomingMessage, ServerResponse } from "node:http";
import { fromWirePosition, type Position, toWirePosition } from "@holdfast/coordination";
import { deferred, type Timer } from "@holdfast/kernel";
import { InvalidChannelError, InvalidMessageError, TooManyChannelsError } from "../errors.ts";
import type { CloseReason } from "../model/close-codes.ts";
import { channelProblem } from "../model/limits.ts";
import type { ResetReason } from "../model/messages.ts";
import type { Channel } from "./channel.ts";
import { type ChannelEvent, resetReason, startOf } from "./channel-log.ts";
import { EncodedEvent } from "./encoded-event.ts";
import { bearerToken } from "./http-answer.ts";
import type { Outlet } from "./outlet.ts";
import type { ServerCore } from "./server-core.ts";
import type { Subscription, Writer } from "./subscription.ts";

/** Proxies cut what is silent; a comment is the least that is not. */
const COMMENT_EVERY_MS = 30_000;
export const STREAM_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  "x-accel-buffering": "no",
} as const;
const EPOCH_OFFSET = /^(\d{1,19}):(\d{1,19})$/;

/**
 * One stream of server-sent events for the channels in the address, receive only. The id of each message is the
 * position in every channel, in the order of the address: `epoch:offset`, several joined by commas. An EventSource
 * sends the last one back by itself when it returns, and goes on without loss.
 */
export class EventStream implements Writer, Outlet {
  readonly outlet: Outlet = this;
  readonly #core: ServerCore;
  readonly #response: ServerResponse;
  readonly #names: readonly string[];
  readonly #positions = new Map<string, Position>();
  readonly #subscriptions: Subscription[] = [];
  readonly #ended = deferred<void>();
  #timers: Timer[] = [];
  #isOpen = true;

  constructor(core: ServerCore, response: ServerResponse, names: readonly string[]) {
    this.#core = core;
    this.#response = response;
    this.#names = names;
    response.on("close", () => this.#end());
  }

  /** Resolves when the stream has ended. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get queuedBytes(): number {
    return this.#response.writableLength;
  }

  write(chunk: Buffer): void {
    if (!this.#isOpen) return;
    const { counters, settings } = this.#core;
    if (this.#response.writableLength + chunk.length > settings.queueMaxBytes) {
      counters.slowCloses += 1;
      this.close("slow", "the stream is read too slowly");
      return;
    }
    counters.bytesOut += chunk.length;
    this.#response.write(chunk);
  }

  drained(): Promise<void> {
    if (!this.#isOpen || !this.#response.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        this.#response.off("drain", done);
        this.#response.off("close", done);
        resolve();
      };
      this.#response.once("drain", done);
      this.#response.once("close", done);
    });
  }

  close(_reason: CloseReason, _text: string): void {
    if (!this.#isOpen) return;
    this.#response.destroy();
    this.#end();
  }

  /** Ends after what was written has been sent; the client comes back by itself. */
  finish(): void {
    if (!this.#isOpen) return;
    // An EventSource comes back only to what it took for a stream of events.
    if (!this.#response.headersSent) this.#writeHead();
    this.#response.end();
    this.#end();
  }

  /** Begins to send. Rejects only before anything was written. */
  async start(after: readonly (Position | undefined)[], expiresAt: number | undefined): Promise<void> {
    try {
      await this.#begin(after, expiresAt);
    } catch (error) {
      // Also when the client has gone before, and nothing else will let go of what was opened since.
      this.#end();
      throw error;
    }
  }

  async #begin(after: readonly (Position | undefined)[], expiresAt: number | undefined): Promise<void> {
    const { hub, settings, counters } = this.#core;
    const resets: { channel: string; reason: ResetReason }[] = [];
    const starts: (() => void)[] = [];
    for (const [index, name] of this.#names.entries()) {
      const channel = hub.hold(name);
      await this.#open(channel);
      const subscription = this.#core.subscribe(channel, this);
      this.#subscriptions.push(subscription);
      const asked = after[index];
      let from = startOf(channel.bounds);
      if (asked !== undefined && channel.bounds.isState !== true) {
        const bounds = await settings.log.bounds(name);
        const reason = resetReason(asked, bounds);
        from = reason === undefined ? { epoch: bounds.head.epoch, offset: asked.offset } : bounds.head;
        if (reason === undefined) counters.recoveries += 1;
        else {
          counters.resets += 1;
          resets.push({ channel: name, reason });
        }
      }
      this.#positions.set(name, from);
      starts.push(() => subscription.startFrom(from));
    }
    if (!this.#isOpen) {
      this.#end();
      return;
    }
    this.#writeHead();
    const channels = this.#names.map((name) => ({
      channel: name,
      position: toWirePosition(this.#head(name)),
    }));
    this.#writeMessage("subscribed", JSON.stringify({ channels }));
    for (const { channel, reason } of resets) this.#writeReset(channel, reason);
    this.#scheduleComment();
    if (expiresAt !== undefined) {
      const leftMs = Math.max(0, expiresAt - settings.clock.wallNow()) + settings.expiryGraceMs;
      this.#timers.push(settings.clock.schedule(leftMs, () => this.finish(), { unref: true }));
    }
    for (const start of starts) start();
  }

  writeEvents(events: readonly ChannelEvent[]): void {
    this.#core.counters.eventsOut += events.length;
    for (const event of events) {
      this.#positions.set(event.channel, event.position);
      this.#writeMessage(undefined, EncodedEvent.of(event).text);
    }
  }

  writeReset(channel: string, reason: ResetReason, position: Position): void {
    this.#core.counters.resets += 1;
    this.#positions.set(channel, position);
    this.#writeReset(channel, reason);
  }

  async #open(channel: Channel): Promise<void> {
    try {
      await channel.opened;
    } catch (error) {
      this.#core.hub.release(channel);
      throw error;
    }
  }

  #writeHead(): void {
    this.#response.writeHead(200, STREAM_HEADERS);
  }

  #head(name: string): Position {
    return this.#positions.get(name) ?? { epoch: 0n, offset: 0n };
  }

  #writeReset(channel: string, reason: ResetReason): void {
    this.#writeMessage(
      "reset",
      JSON.stringify({ channel, reason, position: toWirePosition(this.#head(channel)) }),
    );
  }

  #writeMessage(type: string | undefined, data: string): void {
    const id = this.#names.map((name) => `${this.#head(name).epoch}:${this.#head(name).offset}`).join(",");
    const name = type === undefined ? "" : `event: ${type}\n`;
    this.write(Buffer.from(`id: ${id}\n${name}data: ${data}\n\n`));
  }

  #scheduleComment(): void {
    const timer = this.#core.settings.clock.schedule(
      COMMENT_EVERY_MS,
      () => {
        this.write(Buffer.from(":\n\n"));
        if (this.#isOpen) this.#scheduleComment();
      },
      { unref: true },
    );
    this.#timers = [...this.#timers.slice(-1), timer];
  }

  #end(): void {
    this.#isOpen = false;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    for (const subscription of this.#subscriptions.splice(0)) {
      subscription.stop();
      this.#core.hub.release(subscription.channel);
    }
    this.#ended.resolve();
  }
}

/** `GET /sse/broadcast?channel=a&channel=b`, the token in `Authorization: Bearer`, never in the address. */
export const serveEventStream = async (
  core: ServerCore,
  request: IncomingMessage,
  response: ServerResponse,
  onStream: (stream: EventStream) => void,
): Promise<void> => {
  const { limits } = core.settings;
  const names = new URL(request.url ?? "/", "http://localhost").searchParams.getAll("channel");
  if (names.length === 0) throw new InvalidMessageError("name at least one channel: ?channel=NAME");
  if (names.length > limits.channelMaxCount) {
    throw new TooManyChannelsError(`a stream may follow ${limits.channelMaxCount} channels`);
  }
  for (const name of names) {
    const problem = channelProblem(name);
    if (problem !== undefined) throw problem;
  }
  if (new Set(names).size < names.length) throw new InvalidChannelError("each channel may be named once");
  const token = bearerToken(request);
  const identity = await core.gatekeeper.identify({ token, remoteAddress: request.socket.remoteAddress });
  for (const channel of names) {
    await core.gatekeeper.permit({ identity, action: "subscribe", channel, token: undefined });
  }
  // Gone while it was asked who it is: nothing would tell us of its end any more.
  if (response.destroyed) return;
  const lastId = request.headers["last-event-id"];
  const after = positionsOf(typeof lastId === "string" ? lastId : undefined, names.length);
  const stream = new EventStream(core, response, names);
  onStream(stream);
  await stream.start(after, identity.expiresAt);
};

/** The positions in a Last-Event-ID; none when it is not one of ours for so many channels. */
const positionsOf = (id: string | undefined, count: number): readonly (Position | undefined)[] => {
  const parts = id?.split(",") ?? [];
  if (parts.length !== count) return [];
  return parts.map((part) => {
    const match = EPOCH_OFFSET.exec(part);
    return match === null
      ? undefined
      : fromWirePosition({ epoch: match[1] as string, offset: match[2] as string });
  });
};
