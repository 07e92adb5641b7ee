import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { type Abortable, ClosedError, type Deferred, deferred } from "@holdfast/kernel";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import type { EventOrigin, Payload } from "../model/messages.ts";
import { allowsOrigin } from "./authorization.ts";
import type { Channel } from "./channel.ts";
import type { ChannelEvent, Published } from "./channel-log.ts";
import { ClientConnection } from "./client-connection.ts";
import { bearerToken } from "./http-answer.ts";
import { HttpRoutes } from "./http-routes.ts";
import type { LiveStats } from "./metrics.ts";
import { type NewEvent, ServerCore } from "./server-core.ts";
import { type LiveServerOptions, toSettings } from "./server-options.ts";
import { SocketOutlet } from "./socket-outlet.ts";

/** What a handler on the server is given. */
export interface ServerEvent {
  readonly channel: string;
  readonly event: string;
  readonly payload: Payload;
  readonly id: string;
  readonly ts: number;
  readonly origin?: EventOrigin;
}

export interface DrainOptions extends Abortable {
  /** Over how long the connections are closed, a slice at a time, milliseconds. Default 5_000. */
  readonly overMs?: number;
  /** Over how long clients should spread their return, milliseconds. Default 10_000. */
  readonly spreadMs?: number;
  readonly reason?: string;
}

/**
 * Broadcasts events to WebSocket and server-sent-event clients, on any Node HTTP server.
 *
 * `attach` takes the upgrades of the server's path; `handle` answers the HTTP requests that are ours. Closing the
 * HTTP server and the log is the owner's: whoever opens, closes.
 */
export class LiveServer implements AsyncDisposable {
  readonly #core: ServerCore;
  readonly #engine: WebSocketServer;
  readonly #routes: HttpRoutes;
  readonly #connections = new Set<ClientConnection>();
  readonly #handlers = new Set<() => void>();
  readonly #detach: (() => void)[] = [];
  #emptied: Deferred<void> | undefined;
  #closing: Promise<void> | undefined;
  #state: "open" | "draining" | "closed" = "open";

  /** @throws InvalidInputError when options contradict each other. */
  constructor(options: LiveServerOptions) {
    this.#core = new ServerCore(toSettings(options));
    const { frameMaxBytes } = this.#core.settings.limits;
    this.#engine = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // Between the two a client is told by name what was wrong; beyond, the engine cuts it off while reading.
      maxPayload: 4 * frameMaxBytes,
    });
    this.#routes = new HttpRoutes(this.#core, {
      isOpen: () => this.#state === "open",
      isFull: () => this.#isFull,
    });
  }

  /**
   * Serves the upgrades of `server` on our path. Those on other paths are left to who else listens for upgrades of
   * this server when they come, and refused with 404 where nobody does: nothing else would ever end them.
   */
  attach(server: Server): void {
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
      // Node takes its own listener off an upgraded socket, and an error that nobody hears ends the process.
      socket.on("error", () => socket.destroy());
      if (pathOf(request) === this.#core.settings.path) this.handleUpgrade(request, socket, head);
      else if (server.listenerCount("upgrade") === 1) this.#refuse(socket, "404 Not Found");
    };
    server.on("upgrade", onUpgrade);
    this.#detach.push(() => server.off("upgrade", onUpgrade));
  }

  /** Takes one upgrade, whatever its path. Refuses it with 403 for a wrong Origin, 503 when full or not open. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { settings } = this.#core;
    if (!allowsOrigin(request.headers, settings)) {
      settings.logger.warn({ origin: request.headers.origin }, "a connection was refused for its Origin");
      this.#refuse(socket, "403 Forbidden");
    } else if (this.#state !== "open" || this.#isFull) {
      this.#refuse(socket, "503 Service Unavailable");
    } else {
      this.#engine.handleUpgrade(request, socket, head, (webSocket) =>
        this.#serve(webSocket, socket, request),
      );
    }
  }

  /**
   * Answers `POST /broadcast`, `POST /broadcast/batch`, `GET /sse/broadcast` and `GET /health`. Returns false, with
   * nothing written, for every other request.
   */
  handle(request: IncomingMessage, response: ServerResponse): boolean {
    return this.#routes.handle(request, response);
  }

  /**
   * Publishes an event to everybody, on this server and on all that share the log. Trusted: no permission is asked.
   * @throws InvalidChannelError, InvalidMessageError, EventTooLargeError; nothing was published.
   * @throws ClosedError after `close`; what the log throws when it fails.
   */
  async broadcast(
    channel: string,
    event: string,
    payload: Payload = {},
    options: Abortable & Pick<NewEvent, "id" | "origin" | "idempotencyKey"> = {},
  ): Promise<Published> {
    const { signal, ...rest } = options;
    const [published] = await this.publish([{ channel, event, payload, ...rest }], { signal });
    if (published === undefined) throw new Error("broken invariant: one event, no answer");
    return published;
  }

  /** Several events at once, in order within each channel. */
  publish(events: readonly NewEvent[], options: Abortable = {}): Promise<readonly Published[]> {
    if (this.#state === "closed") return Promise.reject(new ClosedError("the live server"));
    return this.#core.publish(events, options);
  }

  /**
   * Broadcasts after a mutation was committed: a failure is logged and counted as the log's, never thrown, because
   * what was committed stays committed. Resolves with undefined then.
   */
  async announce(...args: Parameters<LiveServer["broadcast"]>): Promise<Published | undefined> {
    try {
      return await this.broadcast(...args);
    } catch (err) {
      this.#core.settings.logger.error({ err, channel: args[0] }, "an event could not be broadcast");
      return undefined;
    }
  }

  /**
   * Calls `handler` for each event of a channel from now on, on this server. One that throws or rejects is logged and
   * disturbs nobody. Returns the function that removes this handler alone.
   * @throws ClosedError after `close`; what the log throws when it cannot be followed.
   */
  async subscribe(
    channel: string,
    handler: (event: ServerEvent) => void | Promise<void>,
  ): Promise<() => void> {
    const { hub, tasks } = this.#core;
    const held = hub.hold(channel);
    await held.opened;
    if (this.#state === "closed") throw new ClosedError("the live server");
    const subscriber = {
      onEvents: (events: readonly ChannelEvent[]): void => {
        for (const event of events)
          tasks.spawn(`handler of ${channel}`, async () => handler(toServerEvent(event)));
      },
      onReset: (): void => undefined,
    };
    held.join(subscriber, held.head);
    const remove = once(() => this.#remove(held, subscriber));
    this.#handlers.add(remove);
    return () => {
      this.#handlers.delete(remove);
      remove();
    };
  }

  /** Connections and handlers that follow the channel on this server. */
  subscriberCount(channel: string): number {
    return this.#core.hub.holderCount(channel);
  }

  /** Channels that somebody follows on this server. */
  get channels(): readonly string[] {
    return this.#core.hub.channelNames;
  }

  stats(): LiveStats {
    const { hub, counters } = this.#core;
    let queuedBytes = 0;
    for (const { outlet } of this.#connections) queuedBytes += outlet.queuedBytes;
    return {
      connectionCount: this.#connections.size + this.#routes.streamCount,
      subscriptionCount: hub.holderTotal,
      channelCount: hub.channelCount,
      queuedBytes,
      ...counters,
    };
  }

  /**
   * Takes no new connections, tells the clients to come back spread over time, and closes them slice by slice.
   * Server-sent-event streams end with the first slice. Idempotent.
   */
  async drain(options: DrainOptions = {}): Promise<void> {
    const { overMs = 5_000, spreadMs = 10_000, reason = "shutdown", signal } = options;
    if (this.#state !== "open") return;
    this.#state = "draining";
    this.#core.hub.flush();
    for (const connection of this.#connections) connection.sendBye(reason, spreadMs);
    this.#routes.endStreams();
    const sliceCount = 10;
    const all = [...this.#connections];
    const sliceSize = Math.max(1, Math.ceil(all.length / sliceCount));
    for (let start = 0; start < all.length; start += sliceSize) {
      if (start > 0 && overMs > 0) await this.#core.settings.clock.sleep(overMs / sliceCount, { signal });
      for (const connection of all.slice(start, start + sliceSize)) connection.close("shutdown", reason);
    }
  }

  /** Drains at once, ends every handler and waits for what is under way. Leaves the log and the HTTP server open. Idempotent. */
  close(options: Pick<DrainOptions, "spreadMs" | "reason"> = {}): Promise<void> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(options: Pick<DrainOptions, "spreadMs" | "reason">): Promise<void> {
    await this.drain({ ...options, overMs: 0 });
    this.#state = "closed";
    // Those that a drain under way, or one that was aborted, has left.
    for (const connection of this.#connections) connection.close("shutdown", options.reason ?? "shutdown");
    for (const detach of this.#detach.splice(0)) detach();
    for (const remove of this.#handlers) remove();
    this.#handlers.clear();
    // Each ends by the client's answer, or by force a few seconds later.
    if (this.#connections.size > 0) {
      this.#emptied = deferred<void>();
      await this.#emptied.promise;
    }
    this.#core.hub.close();
    this.#engine.close();
    await this.#core.tasks.stop(new ClosedError("the live server"));
  }

  #refuse(socket: Duplex, status: string): void {
    this.#core.counters.connectionsRefused += 1;
    socket.on("error", () => undefined);
    // A client that never ends its side must not keep the socket.
    socket.once("finish", () => socket.destroy());
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  }

  #serve(webSocket: WebSocket, socket: Duplex, request: IncomingMessage): void {
    const { settings, counters } = this.#core;
    counters.connectionsOpened += 1;
    const { queueMaxBytes, clock } = settings;
    const outlet = new SocketOutlet({ webSocket, socket, queueMaxBytes, counters, clock });
    const connection = new ClientConnection({
      core: this.#core,
      outlet,
      remoteAddress: request.socket.remoteAddress,
      headerToken: bearerToken(request),
      pingEngine: () => webSocket.ping(),
    });
    this.#connections.add(connection);
    webSocket.on("message", (data: RawData, isBinary: boolean) => {
      if (isBinary) return;
      const bytes = data as Buffer;
      connection.receive(bytes.toString(), bytes.length);
    });
    webSocket.on("pong", () => connection.heard());
    webSocket.on("error", (err) => settings.logger.debug({ err }, "a connection failed"));
    webSocket.on("close", () => {
      this.#connections.delete(connection);
      connection.onClosed();
      if (this.#connections.size === 0) this.#emptied?.resolve();
    });
  }

  get #isFull(): boolean {
    return this.#connections.size + this.#routes.streamCount >= this.#core.settings.connectionMaxCount;
  }

  #remove(channel: Channel, subscriber: Parameters<Channel["leave"]>[0]): void {
    channel.leave(subscriber);
    this.#core.hub.release(channel);
  }
}

const once = (action: () => void): (() => void) => {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    action();
  };
};

const pathOf = (request: IncomingMessage): string => (request.url ?? "/").split("?", 1)[0] ?? "/";

const toServerEvent = (event: ChannelEvent): ServerEvent => ({
  channel: event.channel,
  event: event.event,
  payload: JSON.parse(event.payloadText) as Payload,
  id: event.id,
  ts: event.ts,
  ...(event.origin === undefined ? {} : { origin: event.origin }),
});
