import type { WirePosition } from "@holdfast/coordination";
import {
  type Abortable,
  Emitter,
  type HoldfastError,
  InvalidInputError,
  newId,
  RemoteError,
  untilAborted,
  type WireError,
} from "@holdfast/kernel";
import { HandlerFailedError, NotConnectedError } from "../errors.ts";
import { checkChannel } from "../model/limits.ts";
import type {
  ClientFrame,
  Payload,
  PublishAnswer,
  ServerFrame,
  SubscribeAnswer,
  WireEvent,
} from "../model/messages.ts";
import { parseEvent } from "../model/parse.ts";
import { ChannelEntry, type PresenceHolder } from "./channel-entry.ts";
import { ClientLink } from "./client-link.ts";
import { type BroadcastClientOptions, type ClientSettings, toClientSettings } from "./client-options.ts";
import type {
  BroadcastEvent,
  ClientEvents,
  ConnectionState,
  EventHandler,
  Gap,
  PresenceChange,
  StateDetail,
} from "./events.ts";
import { type OkFrame, PendingCommands } from "./pending-commands.ts";
import { TabChannel } from "./tab-channel.ts";

/** How long until a channel is asked for again that the server could not serve just now, milliseconds. */
const RETRY_CHANNEL_MS = 5_000;

/**
 * One connection to a live server, for any number of handlers.
 *
 * Guaranteed: each handler is given every event of its channel once and in order, over any number of losses of the
 * connection, or is told of a gap (`onGap`) before the events that follow it. A handler that throws is reported to
 * `onError` and disturbs nobody. After `disconnect` nothing comes back by itself.
 *
 * Runs in browsers, workers and Node; everything it takes from there can be given as an option.
 */
export class BroadcastClient {
  /** This client's own name, kept over reconnects. Send it with HTTP calls so that events can tell who caused them. */
  readonly id: string;
  readonly #settings: ClientSettings;
  readonly #link: ClientLink;
  readonly #tabs: TabChannel;
  readonly #channels = new Map<string, ChannelEntry>();
  readonly #emitter: Emitter<ClientEvents>;
  readonly #commands = new PendingCommands();
  #isFlushScheduled = false;

  /** Does not connect yet. @throws InvalidInputError for options out of range. */
  constructor(url: string, options: BroadcastClientOptions = {}) {
    this.#settings = toClientSettings(options);
    const { platform, tabChannelName } = this.#settings;
    this.id = newId("b", platform.random);
    this.#emitter = new Emitter<ClientEvents>((cause, event) => {
      // A failing error listener has nobody left to tell.
      if (event !== "error")
        this.#report(new HandlerFailedError(`a listener of ${String(event)} threw`, { cause }));
    });
    this.#link = new ClientLink(url, this.#settings, {
      client: this.id,
      onState: (state, detail) => this.#emitter.emit("state", { state, detail }),
      onUp: () => this.#onUp(),
      onDown: (error) => this.#onDown(error),
      onFrame: (frame) => this.#onFrame(frame),
      onError: (error) => this.#report(error),
      refresh: async (token) => (await this.#command("refresh", { refresh: { token } })).expiresAt,
    });
    this.#tabs = new TabChannel({
      name: tabChannelName,
      platform,
      onEvent: (event) => this.#onTabEvent(event),
      onMessage: (message) => this.#emitter.emit("tab", message),
      onError: (error) => this.#report(error),
    });
  }

  get state(): ConnectionState {
    return this.#link.state;
  }

  get detail(): StateDetail {
    return this.#link.detail;
  }

  /** Does nothing while open or opening; while waiting to reconnect, tries at once. */
  connect(): void {
    this.#tabs.open();
    this.#link.connect();
  }

  /** Ends the connection, or the tries to get one. Handlers stay, for the next `connect`. */
  disconnect(): void {
    this.#tabs.close();
    this.#link.disconnect();
  }

  /**
   * Calls `handler` for each event of the channel. May be called before `connect`. Returns the function that
   * removes this handler; calling it twice is harmless.
   * @param options.after Begin right after this position instead of now; `{epoch: "0", offset: "0"}` is before the
   * first event. Counts for the first handler of the channel: later ones join where it stands.
   * @throws InvalidChannelError
   */
  subscribe(
    channel: string,
    handler: EventHandler,
    options: { readonly after?: WirePosition } = {},
  ): () => void {
    checkChannel(channel);
    const registration = { handler };
    const entry = this.#entryOf(channel);
    if (options.after !== undefined) entry.line.startAfter(options.after);
    entry.handlers.add(registration);
    this.#scheduleFlush();
    return () => {
      if (entry.handlers.delete(registration)) this.#scheduleFlush();
    };
  }

  /**
   * Is present in the channel with `data` while connected, and tells who else is: first all, then each change. Of
   * several calls on one channel the data of the last counts. Returns the function that ends it.
   * @throws InvalidChannelError
   */
  present(channel: string, data: Payload, onChange: (change: PresenceChange) => void): () => void {
    checkChannel(channel);
    const holder: PresenceHolder = { data, onChange };
    const entry = this.#entryOf(channel);
    entry.holders.add(holder);
    entry.mustAsk = true;
    this.#scheduleFlush();
    return () => {
      if (!entry.holders.delete(holder)) return;
      entry.mustAsk = true;
      this.#scheduleFlush();
    };
  }

  /**
   * Resolves when the server has acknowledged the subscription: every event published from then on arrives.
   * @throws RemoteError with the server's code when it refused; NotConnectedError after a terminal end.
   * @throws InvalidInputError when nobody here subscribed to the channel.
   * @throws signal.reason when aborted; the subscription stays.
   */
  ready(channel: string, options: Abortable = {}): Promise<void> {
    const entry = this.#channels.get(channel);
    if (entry === undefined)
      return Promise.reject(new InvalidInputError("channel", channel, "one that was subscribed to"));
    if (this.detail.terminal) return Promise.reject(new NotConnectedError(this.detail.reason));
    return entry.answered(options.signal);
  }

  /**
   * Publishes through the server, where that is permitted.
   * @throws NotConnectedError when not connected; nothing was sent.
   * @throws OutcomeUnknownError when the connection ended before the answer; retryable with an idempotency key.
   * @throws RemoteError with the server's code, `LIVE_FORBIDDEN` for example.
   */
  async publish(
    channel: string,
    event: string,
    payload: Payload = {},
    options: Abortable & { readonly mutation?: string; readonly idempotencyKey?: string } = {},
  ): Promise<PublishAnswer> {
    checkChannel(channel);
    const { signal, ...rest } = options;
    signal?.throwIfAborted();
    const answer = this.#command("publish", { publish: { channel, event, payload, ...rest } });
    const { published } = await untilAborted(answer, signal);
    if (published === undefined)
      throw new NotConnectedError("the server did not say what became of the event");
    return published;
  }

  /** Tells the other tabs of this browser, and nobody else; handlers there get it with `via: "tab"`. */
  emit(channel: string, message: { readonly type: string; readonly [key: string]: unknown }): void {
    checkChannel(channel);
    const { type, ...payload } = message;
    this.#tabs.sendEvent({ channel, event: type, payload, id: newId("t", this.#settings.platform.random) });
  }

  /** Sends anything that can be cloned to the other tabs' `onTabMessage`. */
  sendToTabs(message: unknown): void {
    this.#tabs.sendMessage(message);
  }

  onTabMessage(listener: (message: unknown) => void): () => void {
    return this.#emitter.on("tab", listener);
  }

  /** Called on every change. Read `state` and `detail` for what was before. Returns the function that removes it. */
  onStateChange(listener: (state: ConnectionState, detail: StateDetail) => void): () => void {
    return this.#emitter.on("state", ({ state, detail }) => listener(state, detail));
  }

  /** Called when events of a channel may be missing, before those that follow. */
  onGap(listener: (gap: Gap) => void): () => void {
    return this.#emitter.on("gap", listener);
  }

  /**
   * Called when the server took up a channel with nothing to resume from, as it does the first time: events come from
   * then on, so whatever was read before may be older.
   */
  onBegin(listener: (channel: string) => void): () => void {
    return this.#emitter.on("begin", listener);
  }

  /** Called for what went wrong without a caller to tell: a handler, a channel refused, a terminal close. */
  onError(listener: (error: HoldfastError, channel: string | undefined) => void): () => void {
    return this.#emitter.on("error", ({ error, channel }) => listener(error, channel));
  }

  #entryOf(channel: string): ChannelEntry {
    const entry = this.#channels.get(channel) ?? new ChannelEntry(channel);
    this.#channels.set(channel, entry);
    return entry;
  }

  /** What changed in one turn goes out in one frame, and what was undone in it does not go out at all. */
  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => {
      this.#isFlushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const isUp = this.state === "connected";
    const wanted: ChannelEntry[] = [];
    const unwanted: string[] = [];
    for (const entry of this.#channels.values()) {
      if (!entry.isWanted) {
        if (isUp && entry.phase !== "idle") unwanted.push(entry.name);
        this.#channels.delete(entry.name);
        entry.settle(new NotConnectedError(`channel "${entry.name}" was left`));
      } else if (isUp && (entry.phase === "idle" || entry.mustAsk)) {
        wanted.push(entry);
      }
    }
    if (wanted.length === 0 && unwanted.length === 0) return;
    this.#ask(wanted, unwanted);
  }

  #ask(wanted: readonly ChannelEntry[], unwanted: readonly string[]): void {
    const frame: ClientFrame = {
      ...(wanted.length === 0 ? {} : { subscribe: wanted.map(({ request }) => request) }),
      ...(unwanted.length === 0 ? {} : { unsubscribe: unwanted }),
    };
    for (const entry of wanted) {
      entry.phase = "requested";
      entry.mustAsk = false;
    }
    this.#command("subscribe", frame).then(
      // Handled in `#onFrame`, in line with the events around it.
      () => undefined,
      (error: unknown) => {
        // A lost connection asks for all channels again by itself.
        if (this.state === "connected") this.#report(error as HoldfastError);
      },
    );
  }

  #onUp(): void {
    for (const entry of this.#channels.values()) entry.phase = "idle";
    this.#flush();
  }

  #onDown(error: HoldfastError): void {
    for (const entry of this.#channels.values()) {
      entry.phase = "idle";
      entry.line.onDisconnected();
    }
    this.#commands.loseAll(error);
    if (!this.detail.terminal) return;
    for (const entry of this.#channels.values()) entry.settle(new NotConnectedError(this.detail.reason));
  }

  #onFrame(frame: ServerFrame): void {
    if ("ok" in frame) this.#onOk(frame);
    else if ("error" in frame) this.#onRemoteError(frame);
    else if ("reset" in frame) {
      const { channel, reason, position } = frame.reset;
      const entry = this.#channels.get(channel);
      if (entry !== undefined) this.#emitter.emit("gap", entry.line.onReset(reason, position));
    } else if ("presence" in frame) {
      const { channel, join, leave } = frame.presence;
      if (join !== undefined) this.#tellPresence(channel, { kind: "join", presence: join });
      if (leave !== undefined) this.#tellPresence(channel, { kind: "leave", presence: leave });
    } else if ("channel" in frame) this.#onEvent(frame);
  }

  #onOk(frame: OkFrame): void {
    for (const answer of frame.channels ?? []) this.#onSubscribeAnswer(answer);
    this.#commands.resolve(frame);
  }

  #onSubscribeAnswer(answer: SubscribeAnswer): void {
    const entry = this.#channels.get(answer.channel);
    if (entry === undefined) return;
    if (answer.state === "refused") {
      this.#onRefused(entry, answer.error);
      return;
    }
    const gap = entry.line.onAnswer(answer);
    if (entry.phase === "requested") entry.phase = "subscribed";
    if (gap !== undefined) this.#emitter.emit("gap", gap);
    if (answer.present !== undefined) {
      this.#tellPresence(entry.name, { kind: "snapshot", present: answer.present });
    }
    if (answer.state === "new") this.#emitter.emit("begin", entry.name);
    entry.settle();
  }

  #onRefused(entry: ChannelEntry, wire: WireError): void {
    entry.phase = "refused";
    const error = new RemoteError(wire);
    entry.refusal = wire.retryable ? undefined : error;
    this.#report(error, entry.name);
    if (!wire.retryable) {
      entry.settle(error);
      return;
    }
    this.#settings.platform.clock.schedule(RETRY_CHANNEL_MS, () => {
      if (entry.phase !== "refused") return;
      entry.phase = "idle";
      this.#scheduleFlush();
    });
  }

  #onRemoteError(frame: Extract<ServerFrame, { error: WireError }>): void {
    if (frame.id !== undefined && this.#commands.reject(frame.id, new RemoteError(frame.error))) return;
    const entry = frame.channel === undefined ? undefined : this.#channels.get(frame.channel);
    if (entry !== undefined) this.#onRefused(entry, frame.error);
    // The close that follows says the same.
    else if (frame.error.code !== "LIVE_UNAUTHENTICATED") this.#report(new RemoteError(frame.error));
  }

  #onEvent(event: WireEvent): void {
    const entry = this.#channels.get(event.channel);
    if (entry === undefined) return;
    const verdict = entry.line.onEvent(event);
    if (verdict.kind === "recover") {
      this.#ask([entry], []);
      return;
    }
    if (verdict.kind === "drop") return;
    if (verdict.kind === "gap") this.#emitter.emit("gap", verdict.gap);
    this.#deliver(entry, { ...event, via: entry.line.isRecovering ? "recovery" : "socket" });
  }

  #onTabEvent(value: unknown): void {
    const event = parseEvent(value);
    const entry = event === undefined ? undefined : this.#channels.get(event.channel);
    if (event === undefined || entry === undefined) return;
    if (entry.line.onTabEvent(event.id).kind === "deliver") this.#deliver(entry, { ...event, via: "tab" });
  }

  #deliver(entry: ChannelEntry, event: BroadcastEvent): void {
    entry.deliver(event, (cause) => this.#reportHandler("a handler", entry.name, cause));
  }

  #tellPresence(channel: string, change: PresenceChange): void {
    this.#channels
      .get(channel)
      ?.tell(change, (cause) => this.#reportHandler("a presence listener", channel, cause));
  }

  #reportHandler(what: string, channel: string, cause: unknown): void {
    this.#report(new HandlerFailedError(`${what} of channel "${channel}" threw`, { cause }), channel);
  }

  #command(name: string, frame: ClientFrame): Promise<OkFrame> {
    return this.#commands.send(name, (id) => {
      if (!this.#link.send({ id, ...frame }))
        throw new NotConnectedError(`${name}: the client is ${this.state}`);
    });
  }

  #report(error: HoldfastError, channel?: string): void {
    this.#emitter.emit("error", { error, ...(channel === undefined ? {} : { channel }) });
  }
}
