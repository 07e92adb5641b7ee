import { type Timer, toWireError } from "@holdfast/kernel";
import { NotConnectedError } from "../errors.ts";
import { CLOSE_CODES } from "../model/close-codes.ts";
import { DEFAULT_LIMITS } from "../model/limits.ts";
import {
  type ClientFrame,
  PROTOCOL_VERSION,
  type ServerFrame,
  type SubscribeAnswer,
} from "../model/messages.ts";
import { isObject, parseEvent } from "../model/parse.ts";
import type { Platform, WebSocketLike } from "./platform.ts";

/** The server sends a comment every 30 s. */
const COMMENT_EVERY_MS = 30_000;
const COMMENT_LATE_MS = 10_000;

/**
 * Looks like a WebSocket to the client, over a stream of server-sent events: for networks that let no WebSocket
 * through. Receive only: a publish is refused. Any change of channels begins the stream anew from the positions
 * reached, so nothing is lost or repeated. Uses fetch, not EventSource, because the token belongs in a header.
 */
export class EventStreamSocket implements WebSocketLike {
  onopen: WebSocketLike["onopen"] = null;
  onmessage: WebSocketLike["onmessage"] = null;
  onclose: WebSocketLike["onclose"] = null;
  onerror: WebSocketLike["onerror"] = null;
  readonly #url: string;
  readonly #platform: Pick<Platform, "fetch" | "clock">;
  /** Channels in the order of the address, each with its position as `epoch:offset`, or "" for from now on. */
  readonly #positions = new Map<string, string>();
  /** Each stream tells of all channels, so its beginning answers everything that was asked before. */
  readonly #unanswered: ClientFrame[] = [];
  #token: string | undefined;
  #stream: AbortController | undefined;
  #idleTimer: Timer | undefined;
  #isClosed = false;

  constructor(url: string, platform: Pick<Platform, "fetch" | "clock">) {
    this.#url = url;
    this.#platform = platform;
    queueMicrotask(() => {
      if (!this.#isClosed) this.onopen?.({} as never);
    });
  }

  send(text: string): void {
    // Answers come later, as from a server.
    queueMicrotask(() => {
      if (!this.#isClosed) this.#handle(JSON.parse(text) as ClientFrame);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#idleTimer?.cancel();
    this.#stream?.abort();
  }

  #handle(frame: ClientFrame): void {
    if (frame.hello !== undefined) this.#welcome(frame.hello.client ?? "", frame.hello.token);
    if (frame.publish !== undefined && frame.id !== undefined) {
      const error = new NotConnectedError("an event stream cannot publish; use HTTP", { retryable: false });
      this.#tell({ error: toWireError(error), id: frame.id });
    }
    if (frame.refresh !== undefined) {
      this.#token = frame.refresh.token;
      this.#restart(frame);
    }
    if (frame.subscribe !== undefined || frame.unsubscribe !== undefined) {
      for (const name of frame.unsubscribe ?? []) this.#positions.delete(name);
      for (const { channel, position } of frame.subscribe ?? []) {
        this.#positions.set(channel, position === undefined ? "" : `${position.epoch}:${position.offset}`);
      }
      this.#restart(frame);
    }
  }

  #welcome(client: string, token: string | undefined): void {
    this.#token = token;
    this.#tell({
      welcome: {
        version: PROTOCOL_VERSION,
        client,
        time: this.#platform.clock.wallNow(),
        pingIntervalMs: COMMENT_EVERY_MS,
        pingTimeoutMs: COMMENT_LATE_MS,
        limits: DEFAULT_LIMITS,
      },
    });
    this.#keepAliveWithoutStream();
  }

  /** Nobody is asked while no channel is wanted, so nothing can be late. */
  #keepAliveWithoutStream(): void {
    // Whoever was told something may have closed us.
    if (this.#isClosed) return;
    this.#idleTimer = this.#platform.clock.schedule(COMMENT_EVERY_MS, () => {
      if (this.#positions.size === 0) this.#tell({ pong: 0 });
      this.#keepAliveWithoutStream();
    });
  }

  #restart(frame: ClientFrame): void {
    this.#stream?.abort();
    const stream = new AbortController();
    this.#stream = stream;
    this.#unanswered.push(frame);
    if (this.#positions.size === 0) {
      this.#answerAll(undefined);
      return;
    }
    this.#read(stream.signal).then(
      () => this.#lost(stream.signal, 1006, "the stream ended"),
      (error: unknown) =>
        this.#lost(stream.signal, 1006, error instanceof Error ? error.message : String(error)),
    );
  }

  async #read(signal: AbortSignal): Promise<void> {
    const query = [...this.#positions.keys()].map((name) => `channel=${encodeURIComponent(name)}`).join("&");
    const response = await this.#platform.fetch(`${this.#url}?${query}`, {
      signal,
      headers: {
        accept: "text/event-stream",
        "last-event-id": [...this.#positions.values()].join(),
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
      },
    });
    if (response.status === 401)
      return this.#lost(signal, CLOSE_CODES.unauthenticated, "the token was refused");
    if (response.status === 403)
      return this.#lost(signal, CLOSE_CODES.forbidden, "a channel is not permitted");
    if (response.status !== 200 || response.body === null)
      throw new Error(`the server answered ${response.status}`);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      const parts = (text + decoder.decode(value, { stream: true })).split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) if (!signal.aborted) this.#onMessage(part);
    }
  }

  #onMessage(message: string): void {
    const fields = new Map<string, string>();
    for (const line of message.split("\n")) {
      const at = line.indexOf(": ");
      if (at > 0) fields.set(line.slice(0, at), line.slice(at + 2));
    }
    const data = fields.get("data");
    if (data === undefined) {
      this.#tell({ pong: 0 });
      return;
    }
    const value: unknown = JSON.parse(data);
    const type = fields.get("event");
    if (type === "subscribed") this.#answerAll(value);
    else if (type === "reset" && isObject(value)) this.#tell({ reset: value } as unknown as ServerFrame);
    else {
      const event = parseEvent(value);
      if (event !== undefined) this.#tell(event);
    }
    // Only now: what was told is what need not come again.
    const positions = (fields.get("id") ?? "").split(",");
    for (const [index, name] of [...this.#positions.keys()].entries()) {
      const position = positions[index];
      if (position !== undefined) this.#positions.set(name, position);
    }
  }

  #answerAll(subscribed: unknown): void {
    for (const frame of this.#unanswered.splice(0)) this.#answer(frame, subscribed);
  }

  /** The acknowledgement that a WebSocket server would give. */
  #answer(frame: ClientFrame, subscribed: unknown): void {
    if (frame.id === undefined) return;
    const heads = isObject(subscribed) && Array.isArray(subscribed["channels"]) ? subscribed["channels"] : [];
    const channels = (frame.subscribe ?? []).flatMap(({ channel, position: asked }): SubscribeAnswer[] => {
      const head: unknown = heads.find((each) => isObject(each) && each["channel"] === channel);
      if (!isObject(head)) return [];
      const position = head["position"] as { epoch: string; offset: string };
      if (asked === undefined) return [{ channel, state: "new", position }];
      return [{ channel, state: "recovered", position: asked, upTo: position.offset }];
    });
    this.#tell({ ok: frame.id, channels });
  }

  #lost(signal: AbortSignal, code: number, reason: string): void {
    if (signal.aborted || this.#isClosed) return;
    this.close();
    this.onclose?.({ code, reason } as never);
  }

  #tell(frame: ServerFrame): void {
    if (!this.#isClosed) this.onmessage?.({ data: JSON.stringify(frame) } as never);
  }
}
