import type { WebSocketLike } from "../client/platform.ts";
import { CLOSE_CODES } from "../model/close-codes.ts";
import { DEFAULT_LIMITS } from "../model/limits.ts";
import type { ClientFrame, ServerFrame, SubscribeAnswer, Welcome } from "../model/messages.ts";

type State = "opening" | "open" | "closing" | "closed";

/**
 * The client's end of a WebSocket whose server is the test. As in a browser, everything is told later, never
 * within the call that caused it: a close above all.
 */
export class FakeSocket implements WebSocketLike {
  onopen: WebSocketLike["onopen"] = null;
  onmessage: WebSocketLike["onmessage"] = null;
  onclose: WebSocketLike["onclose"] = null;
  onerror: WebSocketLike["onerror"] = null;
  readonly url: string;
  readonly sent: ClientFrame[] = [];
  state: State = "opening";

  constructor(url: string) {
    this.url = url;
  }

  send(text: string): void {
    if (this.state !== "open") throw new Error(`send on a socket that is ${this.state}`);
    this.sent.push(JSON.parse(text) as ClientFrame);
  }

  close(): void {
    if (this.state === "closing" || this.state === "closed") return;
    this.state = "closing";
  }

  /** The frames with this key. */
  sentWith<K extends keyof ClientFrame>(key: K): readonly ClientFrame[] {
    return this.sent.filter((frame) => frame[key] !== undefined);
  }

  /** The server takes the connection. */
  accept(): void {
    this.state = "open";
    call(this.onopen, {});
  }

  receive(frame: ServerFrame): void {
    this.receiveText(JSON.stringify(frame));
  }

  receiveText(data: string): void {
    call(this.onmessage, { data });
  }

  /** The server takes the connection and welcomes the client. */
  welcome(welcome: Partial<Welcome> = {}): void {
    this.accept();
    this.receive({
      welcome: {
        version: 2,
        client: "c-1",
        time: 0,
        pingIntervalMs: 25_000,
        pingTimeoutMs: 10_000,
        limits: DEFAULT_LIMITS,
        ...welcome,
      },
    });
  }

  /** Answers the newest subscribe. */
  acknowledge(answers: readonly SubscribeAnswer[] = []): void {
    const { id, subscribe = [] } = this.sentWith("subscribe").at(-1) ?? {};
    const given = new Map(answers.map((answer) => [answer.channel, answer]));
    const channels = subscribe.map(
      ({ channel, position }): SubscribeAnswer =>
        given.get(channel) ??
        (position === undefined
          ? { channel, state: "new", position: { epoch: "1", offset: "0" } }
          : { channel, state: "recovered", position, upTo: position.offset }),
    );
    this.receive({ ok: id ?? 0, channels });
  }

  /** The close that the client asked for, or the server's own, arrives. */
  finishClose(code: number = CLOSE_CODES.shutdown, reason = ""): void {
    this.state = "closed";
    call(this.onclose, { code, reason });
  }

  fail(): void {
    this.state = "closed";
    call(this.onerror, {});
    call(this.onclose, { code: 1006, reason: "" });
  }
}

const call = (handler: ((event: never) => void) | null, event: unknown): void => handler?.(event as never);
