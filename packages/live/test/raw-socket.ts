import { vi } from "vitest";
import { type ClientOptions, WebSocket } from "ws";
import type { TestLiveServer } from "../src/testing/index.ts";

/** A socket without any client around it: says what the test says, and keeps what it hears. */
export class RawSocket implements Disposable {
  readonly socket: WebSocket;
  readonly frames: Record<string, unknown>[] = [];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data) => this.frames.push(JSON.parse(String(data)) as Record<string, unknown>));
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => resolve({ code, reason: String(reason) }));
    });
  }

  static async open(server: TestLiveServer, options: ClientOptions = {}): Promise<RawSocket> {
    const raw = new RawSocket(new WebSocket(server.url, options));
    await new Promise<void>((resolve, reject) => {
      raw.socket.once("open", resolve);
      raw.socket.once("error", reject);
    });
    return raw;
  }

  send(value: unknown): void {
    this.socket.send(typeof value === "string" ? value : JSON.stringify(value));
  }

  /** Says hello and waits for the welcome. */
  async hello(hello: object = {}): Promise<Record<string, unknown>> {
    this.send({ hello: { version: 2, ...hello } });
    return (await this.frameWith("welcome"))["welcome"] as Record<string, unknown>;
  }

  /** The newest frame that has this key, and this value for it where one is given. */
  async frameWith(key: string, value?: unknown): Promise<Record<string, unknown>> {
    return vi.waitFor(() => {
      const frame = this.frames.findLast(
        (each) => key in each && (value === undefined || each[key] === value),
      );
      if (frame === undefined) throw new Error(`no frame with ${key} in ${JSON.stringify(this.frames)}`);
      return frame;
    });
  }

  [Symbol.dispose](): void {
    this.socket.terminate();
  }
}

/** Resolves when everything that the server was sent on this socket has been handled. */
export const handled = async (raw: RawSocket): Promise<void> => {
  raw.socket.ping();
  await new Promise<void>((resolve) => raw.socket.once("pong", () => resolve()));
};
