import { type Position, toWirePosition } from "@holdfast/coordination";
import {
  type HoldfastError,
  newId,
  OverloadedError,
  type Timer,
  toWireError,
  type WireError,
} from "@holdfast/kernel";
import { FrameTooLargeError, InvalidMessageError } from "../errors.ts";
import type { CloseReason } from "../model/close-codes.ts";
import {
  type ClientFrame,
  type Hello,
  PROTOCOL_VERSION,
  type Presence,
  type ResetReason,
  type ServerFrame,
} from "../model/messages.ts";
import { parseClientFrame, parseSimpleFrame, saysHello } from "../model/parse.ts";
import { ANONYMOUS, type Identity } from "./authorization.ts";
import type { FrameCache } from "./channel.ts";
import type { ChannelEvent } from "./channel-log.ts";
import { ClientChannels, type Subscribed } from "./client-channels.ts";
import { isUnauthenticated } from "./gatekeeper.ts";
import type { Outlet } from "./outlet.ts";
import type { ServerCore } from "./server-core.ts";
import type { Writer } from "./subscription.ts";
import { textFrame } from "./text-frame.ts";

/** Frames of one client that may wait while one is handled. A client that sends more without reading answers is cut off. */
const INBOX_MAX_COUNT = 256;
const INBOX_MAX_BYTES = 1_048_576;
/** The bytes of a change of presence, made once for all who are told of it. */
const presenceFrames = new WeakMap<object, Buffer>();

/**
 * One WebSocket client.
 *
 * It starts as `simple`; a first frame with a hello makes it `full`. Frames are handled one after the other, so
 * that answers come in order and a subscribe never overtakes an unsubscribe. In the simple form nothing is ever
 * sent but events.
 */
export class ClientConnection implements Writer {
  readonly key: string;
  readonly outlet: Outlet;
  readonly #core: ServerCore;
  readonly #remoteAddress: string | undefined;
  readonly #pingEngine: () => void;
  readonly #headerToken: string | undefined;
  readonly #closed = new AbortController();
  readonly #channels: ClientChannels;
  #form: "undecided" | "simple" | "full" = "undecided";
  #client: string;
  #identity: Identity | undefined;
  #inbox: { readonly text: string; readonly byteLength: number }[] = [];
  #inboxBytes = 0;
  #isHandling = false;
  #isWelcome = false;
  #pingTimer: Timer | undefined;
  #pongTimer: Timer | undefined;
  #authenticationTimer: Timer | undefined;
  #expiryTimer: Timer | undefined;
  #heardSincePing = true;
  #pingCount = 0;

  constructor(parts: {
    readonly core: ServerCore;
    readonly outlet: Outlet;
    readonly remoteAddress: string | undefined;
    /** The token of the upgrade's `Authorization: Bearer`, as programs send it; a hello's own token goes before it. */
    readonly headerToken?: string | undefined;
    /** Sends a ping of the WebSocket protocol, for clients of the simple form. */
    readonly pingEngine: () => void;
  }) {
    this.#core = parts.core;
    this.outlet = parts.outlet;
    this.#remoteAddress = parts.remoteAddress;
    this.#pingEngine = parts.pingEngine;
    this.#headerToken = parts.headerToken;
    this.key = newId("c", parts.core.settings.random);
    this.#client = this.key;
    this.#channels = new ClientChannels({
      core: this.#core,
      writer: this,
      permit: (channel, token) => this.#permit("subscribe", channel, token),
      joinPresence: (channel, data) => this.#joinPresence(channel, data),
      leavePresence: (channel) => this.#core.presence.leave(channel, this.key),
      signal: this.#closed.signal,
    });
    const { clock, authenticateWithinMs } = this.#core.settings;
    if (this.#core.gatekeeper.asksForTokens) {
      this.#authenticationTimer = clock.schedule(
        authenticateWithinMs,
        () => this.outlet.close("silent", `no valid token within ${authenticateWithinMs} ms`),
        { unref: true },
      );
    } else {
      this.#identity = ANONYMOUS;
    }
    this.#schedulePing();
  }

  get isFull(): boolean {
    return this.#form === "full";
  }

  /** Takes one frame. Never throws. */
  receive(text: string, byteLength: number): void {
    this.#heardSincePing = true;
    const { counters, settings } = this.#core;
    counters.bytesIn += byteLength;
    if (byteLength > settings.limits.frameMaxBytes) {
      const message = `a frame may have ${settings.limits.frameMaxBytes} bytes, not ${byteLength}`;
      this.#sendError(new FrameTooLargeError(message));
      this.outlet.close("tooLarge", message);
      return;
    }
    this.#inboxBytes += byteLength;
    if (this.#inbox.length >= INBOX_MAX_COUNT || this.#inboxBytes > INBOX_MAX_BYTES) {
      const limit = `${INBOX_MAX_COUNT} frames or ${INBOX_MAX_BYTES} bytes`;
      this.outlet.close("limit", `more than ${limit} wait to be handled`);
      return;
    }
    this.#inbox.push({ text, byteLength });
    if (!this.#isHandling) this.#core.tasks.spawn("client frames", () => this.#handleInbox());
  }

  /** The engine saw a pong of the protocol. */
  heard(): void {
    this.#heardSincePing = true;
  }

  /** The socket is gone. Idempotent. */
  onClosed(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(new Error("the connection is closed"));
    this.#pingTimer?.cancel();
    this.#pongTimer?.cancel();
    this.#authenticationTimer?.cancel();
    this.#expiryTimer?.cancel();
    this.#inbox = [];
    this.#channels.clear();
  }

  close(reason: CloseReason, text: string): void {
    this.outlet.close(reason, text);
  }

  /** Announces that the server goes away; clients of the simple form just see the close. */
  sendBye(reason: string, spreadMs: number): void {
    if (this.isFull) this.#send({ bye: { reason, spreadMs } });
  }

  sendPresence(channel: string, change: { readonly join?: Presence; readonly leave?: Presence }): void {
    let frame = presenceFrames.get(change);
    if (frame === undefined) {
      frame = textFrame(JSON.stringify({ presence: { channel, ...change } } satisfies ServerFrame));
      presenceFrames.set(change, frame);
    }
    this.outlet.write(frame);
  }

  writeEvents(events: readonly ChannelEvent[], frames: FrameCache): void {
    this.#core.counters.eventsOut += events.length;
    this.outlet.write(this.#form === "full" ? frames.full : frames.simple);
  }

  writeReset(channel: string, reason: ResetReason, position: Position): void {
    this.#core.counters.resets += 1;
    if (this.isFull) this.#send({ reset: { channel, reason, position: toWirePosition(position) } });
  }

  async #handleInbox(): Promise<void> {
    if (this.#isHandling) return;
    this.#isHandling = true;
    try {
      for (;;) {
        const next = this.#inbox.shift();
        if (next === undefined || !this.outlet.isOpen) return;
        await this.#handle(next.text);
        this.#inboxBytes -= next.byteLength;
      }
    } catch (err) {
      if (this.#closed.signal.aborted) return;
      this.#core.settings.logger.error(
        { err, connection: this.key },
        "a client's frame could not be handled",
      );
      this.outlet.close("failed", "the frame could not be handled");
    } finally {
      this.#isHandling = false;
    }
  }

  async #handle(text: string): Promise<void> {
    if (this.#form === "undecided") this.#form = saysHello(text) ? "full" : "simple";
    if (this.#form === "simple") return this.#handleSimple(text);
    const parsed = parseClientFrame(text);
    if ("problem" in parsed) {
      this.#send({ error: parsed.problem, ...(parsed.id === undefined ? {} : { id: parsed.id }) });
      return;
    }
    const { frame } = parsed;
    if (frame.ping !== undefined) this.#send({ pong: frame.ping });
    if (frame.hello !== undefined && !(await this.#welcome(frame.hello))) return;
    if (this.#identity === undefined) return;
    if (frame.refresh !== undefined) await this.#refresh(frame.refresh.token, frame.id);
    if (frame.subscribe !== undefined || frame.unsubscribe !== undefined) await this.#changeChannels(frame);
    if (frame.publish !== undefined) await this.#publish(frame.publish, frame.id);
  }

  async #handleSimple(text: string): Promise<void> {
    // Without a hello a token can only have come with the upgrade.
    if (this.#identity === undefined) {
      const identity = this.#headerToken === undefined ? undefined : await this.#identify(this.#headerToken);
      if (identity === undefined) return;
      this.#accept(identity);
    }
    const { subscribe, unsubscribe } = parseSimpleFrame(text);
    for (const channel of new Set(subscribe)) (await this.#channels.subscribe({ channel })).start?.();
    for (const name of unsubscribe) this.#channels.unsubscribe(name);
  }

  async #welcome(hello: Hello): Promise<boolean> {
    const { settings } = this.#core;
    if (this.#isWelcome) {
      // What was permitted to one user would be another's from here on.
      this.#refuse(
        "badRequest",
        new InvalidMessageError("hello was said before; a new token comes by refresh"),
      );
      return false;
    }
    if (hello.version < PROTOCOL_VERSION) {
      this.#refuse(
        "badRequest",
        new InvalidMessageError(`hello asks for version ${hello.version}; there is ${PROTOCOL_VERSION}`),
      );
      return false;
    }
    this.#client = hello.client ?? this.#client;
    const identity = await this.#identify(hello.token ?? this.#headerToken);
    if (identity === undefined) return false;
    this.#accept(identity);
    this.#isWelcome = true;
    this.#send({
      welcome: {
        version: PROTOCOL_VERSION,
        client: this.#client,
        time: settings.clock.wallNow(),
        pingIntervalMs: settings.pingIntervalMs,
        pingTimeoutMs: settings.pingTimeoutMs,
        limits: settings.limits,
        ...(identity.expiresAt === undefined ? {} : { expiresAt: identity.expiresAt }),
      },
    });
    return true;
  }

  /** The identity behind a token; when there is none, the connection is closed and undefined comes back. */
  async #identify(token: string | undefined): Promise<Identity | undefined> {
    try {
      const { signal } = this.#closed;
      return await this.#core.gatekeeper.identify({ token, remoteAddress: this.#remoteAddress, signal });
    } catch (err) {
      if (this.#closed.signal.aborted) return undefined;
      if (isUnauthenticated(err)) {
        this.#refuse("unauthenticated", err as HoldfastError);
        return undefined;
      }
      this.#core.settings.logger.warn({ err, connection: this.key }, "authenticating a client failed");
      this.outlet.close("failed", "authenticating failed; try again");
      return undefined;
    }
  }

  #accept(identity: Identity): void {
    const { clock, expiryGraceMs } = this.#core.settings;
    this.#identity = identity;
    this.#authenticationTimer?.cancel();
    this.#expiryTimer?.cancel();
    if (identity.expiresAt === undefined) return;
    const leftMs = Math.max(0, identity.expiresAt - clock.wallNow()) + expiryGraceMs;
    this.#expiryTimer = clock.schedule(
      leftMs,
      () => this.outlet.close("expired", "the token expired and was not refreshed"),
      { unref: true },
    );
  }

  async #refresh(token: string, id: number | undefined): Promise<void> {
    const before = this.#identity;
    const identity = await this.#identify(token);
    if (identity === undefined) return;
    if (before?.user !== identity.user) {
      this.#refuse("forbidden", new InvalidMessageError("a refresh must be for the same user"));
      return;
    }
    this.#accept(identity);
    await this.#channels.recheck((channel, error) => this.#sendError(error, { channel }));
    if (id !== undefined) {
      this.#send({ ok: id, ...(identity.expiresAt === undefined ? {} : { expiresAt: identity.expiresAt }) });
    }
  }

  async #permit(action: "subscribe" | "publish", channel: string, token: string | undefined): Promise<void> {
    const identity = this.#identity ?? ANONYMOUS;
    const { signal } = this.#closed;
    await this.#core.gatekeeper.permit({ identity, action, channel, token, signal });
  }

  async #changeChannels(frame: ClientFrame): Promise<void> {
    const results: Subscribed[] = [];
    for (const request of frame.subscribe ?? []) results.push(await this.#channels.subscribe(request));
    if (this.#closed.signal.aborted) return;
    for (const name of frame.unsubscribe ?? []) this.#channels.unsubscribe(name);
    if (frame.id !== undefined) {
      const channels = results.map(({ answer }) => answer);
      this.#send({ ok: frame.id, ...(frame.subscribe === undefined ? {} : { channels }) });
    }
    // Only now, so that no event comes before the answer that says where the events begin. Of a channel that was named
    // many times the last counts: each start may read the history.
    const starts = new Map<string, () => void>();
    for (const { answer, start } of results) if (start !== undefined) starts.set(answer.channel, start);
    for (const start of starts.values()) start();
  }

  #joinPresence(channel: string, data: Presence["data"]): Promise<readonly Presence[]> {
    const user = this.#identity?.user;
    const presence = { key: this.key, client: this.#client, ...(user === undefined ? {} : { user }), data };
    return this.#core.presence.join(channel, presence, this);
  }

  async #publish(request: NonNullable<ClientFrame["publish"]>, id: number | undefined): Promise<void> {
    try {
      await this.#permit("publish", request.channel, undefined);
      const waitMs = this.#core.settings.publishWaitMs(this.#identity?.user);
      if (waitMs !== undefined) throw new OverloadedError("publishing", 0, { retryAfterMs: waitMs });
      const { mutation, ...rest } = request;
      const origin = { client: this.#client, ...(mutation === undefined ? {} : { mutation }) };
      const [published] = await this.#core.publish([{ ...rest, origin }], { signal: this.#closed.signal });
      if (id === undefined || published === undefined) return;
      this.#send({ ok: id, published: { id: published.id, ...toWirePosition(published.position) } });
    } catch (error) {
      if (!this.#closed.signal.aborted) this.#sendError(error, id === undefined ? {} : { id });
    }
  }

  #schedulePing(): void {
    const { clock, pingIntervalMs, pingTimeoutMs } = this.#core.settings;
    this.#pingTimer = clock.schedule(
      pingIntervalMs,
      () => {
        this.#schedulePing();
        this.#heardSincePing = false;
        this.#pingCount += 1;
        if (this.isFull) this.#send({ ping: this.#pingCount });
        else this.#pingEngine();
        this.#pongTimer = clock.schedule(pingTimeoutMs, () => this.#checkPong(), { unref: true });
      },
      { unref: true },
    );
  }

  #checkPong(): void {
    if (this.#heardSincePing) return;
    this.outlet.close("unresponsive", `no sign of life within ${this.#core.settings.pingTimeoutMs} ms`);
  }

  #refuse(reason: CloseReason, error: HoldfastError): void {
    this.#sendError(error);
    this.outlet.close(reason, error.message);
  }

  #sendError(error: unknown, about: { readonly id?: number; readonly channel?: string } = {}): void {
    const wire: WireError = toWireError(error);
    if (this.isFull) this.#send({ error: wire, ...about });
  }

  #send(frame: ServerFrame): void {
    this.outlet.write(textFrame(JSON.stringify(frame)));
  }
}
