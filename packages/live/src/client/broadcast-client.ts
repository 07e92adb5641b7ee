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
import type { ClientFrame, Payload, PublishAnswer, ServerFrame } from "../model/messages.ts";
import { isWirePosition } from "../model/parse.ts";
import { ClientLink } from "./client-link.ts";
import { type BroadcastClientOptions, type ClientSettings, toClientSettings } from "./client-options.ts";
import type {
  ClientEvents,
  ConnectionState,
  EventHandler,
  Gap,
  PresenceChange,
  StateDetail,
} from "./events.ts";
import { FollowedChannels } from "./followed-channels.ts";
import { type OkFrame, PendingCommands } from "./pending-commands.ts";
import { TabChannel } from "./tab-channel.ts";

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
  readonly #channels: FollowedChannels;
  readonly #emitter: Emitter<ClientEvents>;
  readonly #commands = new PendingCommands();

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
    this.#channels = new FollowedChannels({
      clock: platform.clock,
      isUp: () => this.state === "connected",
      command: (name, frame) => this.#command(name, frame),
      onGap: (gap) => this.#emitter.emit("gap", gap),
      onBegin: (channel) => this.#emitter.emit("begin", channel),
      onError: (error, channel) => this.#report(error, channel),
    });
    this.#link = new ClientLink(url, this.#settings, {
      client: this.id,
      onState: (state, detail) => this.#emitter.emit("state", { state, detail }),
      onUp: () => this.#channels.onUp(),
      onDown: (error) => this.#onDown(error),
      onFrame: (frame) => this.#onFrame(frame),
      onError: (error) => this.#report(error),
      refresh: async (token) => (await this.#command("refresh", { refresh: { token } })).expiresAt,
    });
    this.#tabs = new TabChannel({
      name: tabChannelName,
      platform,
      onEvent: (event) => this.#channels.onTabEvent(event),
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
   * @throws InvalidChannelError, and InvalidInputError for an `after` that is no position; nothing was subscribed to.
   */
  subscribe(
    channel: string,
    handler: EventHandler,
    options: { readonly after?: WirePosition } = {},
  ): () => void {
    checkChannel(channel);
    const { after } = options;
    if (after !== undefined && !isWirePosition(after))
      throw new InvalidInputError("after", after, "{epoch, offset}, both decimal numbers as text");
    return this.#channels.add(channel, handler, after);
  }

  /**
   * Is present in the channel with `data` while connected, and tells who else is: first all, then each change. Of
   * several calls on one channel the data of the last counts. Returns the function that ends it.
   * @throws InvalidChannelError
   */
  present(channel: string, data: Payload, onChange: (change: PresenceChange) => void): () => void {
    checkChannel(channel);
    return this.#channels.hold(channel, { data, onChange });
  }

  /**
   * Resolves when the server has acknowledged the subscription: every event published from then on arrives.
   * @throws RemoteError with the server's code when it refused; NotConnectedError after a terminal end.
   * @throws InvalidInputError when nobody here subscribed to the channel.
   * @throws signal.reason when aborted; the subscription stays.
   */
  ready(channel: string, options: Abortable = {}): Promise<void> {
    if (!this.#channels.has(channel))
      return Promise.reject(new InvalidInputError("channel", channel, "one that was subscribed to"));
    if (this.detail.terminal) return Promise.reject(new NotConnectedError(this.detail.reason));
    return this.#channels.answered(channel, options.signal);
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

  #onDown(error: HoldfastError): void {
    this.#channels.onDown();
    this.#commands.loseAll(error);
    if (this.detail.terminal) this.#channels.settleAll(new NotConnectedError(this.detail.reason));
  }

  #onFrame(frame: ServerFrame): void {
    if ("ok" in frame) {
      this.#channels.onAnswers(frame.channels ?? []);
      this.#commands.resolve(frame);
    } else if ("error" in frame) this.#onRemoteError(frame);
    else if ("reset" in frame) this.#channels.onReset(frame.reset);
    else if ("presence" in frame) this.#channels.onPresence(frame.presence);
    else if ("channel" in frame) this.#channels.onEvent(frame);
  }

  #onRemoteError(frame: Extract<ServerFrame, { error: WireError }>): void {
    if (frame.id !== undefined && this.#commands.reject(frame.id, new RemoteError(frame.error))) return;
    if (frame.channel !== undefined && this.#channels.has(frame.channel))
      this.#channels.onRefused(frame.channel, frame.error);
    // The close that follows says the same.
    else if (frame.error.code !== "LIVE_UNAUTHENTICATED") this.#report(new RemoteError(frame.error));
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
