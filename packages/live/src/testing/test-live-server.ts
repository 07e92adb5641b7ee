import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type Clock, systemClock } from "@holdfast/kernel";
import { isObject } from "../model/parse.ts";
import type { ChannelLog } from "../server/channel-log.ts";
import { answerError, answerJson, readJson } from "../server/http-answer.ts";
import { LiveServer } from "../server/live-server.ts";
import { MemoryChannelLog } from "../server/memory-channel-log.ts";
import type { LiveServerOptions } from "../server/server-options.ts";

export interface TestLiveServerOptions extends Partial<LiveServerOptions> {
  /** Default 0: a free one. */
  readonly port?: number;
}

/**
 * A live server on loopback with the open route `POST /test/broadcast`, and with hooks to break its connections.
 * For tests only: anybody may publish.
 */
export class TestLiveServer implements AsyncDisposable {
  readonly live: LiveServer;
  readonly log: ChannelLog;
  readonly #http: Server;
  readonly #ownsLog: boolean;
  readonly #sockets = new Set<Socket>();
  #isRefusing = false;

  private constructor(options: TestLiveServerOptions) {
    this.#ownsLog = options.log === undefined;
    const clock: Clock = options.clock ?? systemClock;
    this.log = options.log ?? new MemoryChannelLog({ clock });
    this.live = new LiveServer({ origins: [], missingOrigin: "allow", ...options, log: this.log });
    this.#http = createServer((request, response) => {
      if (request.method === "POST" && request.url === "/test/broadcast") {
        readJson(request, 1_000_000)
          .then(async (body) => answerJson(response, 200, await this.#publish(body)))
          .catch((error: unknown) => answerError(response, error));
      } else if (!this.live.handle(request, response)) answerJson(response, 404, { error: "not found" });
    });
    this.#http.on("connection", (socket) => {
      if (this.#isRefusing) {
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.live.attach(this.#http);
  }

  static async start(options: TestLiveServerOptions = {}): Promise<TestLiveServer> {
    const server = new TestLiveServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#http.once("error", reject);
      server.#http.listen(options.port ?? 0, "127.0.0.1", resolve);
    });
    return server;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws/broadcast`;
  }

  get httpUrl(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Ends every connection without a word, as a broken network does. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Drops new connections at once, until told otherwise. */
  refuse(isRefusing = true): void {
    this.#isRefusing = isRefusing;
  }

  async close(): Promise<void> {
    const closed = this.live.close({ spreadMs: 0 });
    // Frozen clients would only be let go after their time.
    this.cut();
    await closed;
    await new Promise<void>((resolve) => this.#http.close(() => resolve()));
    if (this.#ownsLog) await this.log.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #publish(body: unknown): Promise<object> {
    const fields = isObject(body) ? body : {};
    const channel = String(fields["channel"]);
    const event = String(fields["event"] ?? fields["event_type"]);
    const payload = isObject(fields["payload"]) ? fields["payload"] : {};
    const { id, position } = await this.live.broadcast(channel, event, payload);
    const subscriberCount = this.live.subscriberCount(channel);
    const { epoch, offset } = position;
    return {
      status: "broadcasted",
      channel,
      event,
      subscriberCount,
      id,
      epoch: `${epoch}`,
      offset: `${offset}`,
    };
  }
}
