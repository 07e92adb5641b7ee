import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { type Deferred, deferred } from "@holdfast/kernel";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { type Identity, LiveServer, type LiveServerOptions, MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { handled, RawSocket } from "./raw-socket.ts";

expectNoLeaks();

/** A store that is slow to say where a channel stands, or cannot. */
class SlowLog extends MemoryChannelLog {
  hold: Deferred<void> | undefined;
  failure: Error | undefined;

  override async bounds(...args: Parameters<MemoryChannelLog["bounds"]>) {
    await this.hold?.promise;
    if (this.failure !== undefined) throw this.failure;
    return super.bounds(...args);
  }
}

/** A server that notices when its sockets are gone, and an `authenticate` that answers when the test says so. */
const setUp = async (options: Partial<LiveServerOptions> = {}) => {
  const log = new SlowLog();
  const asked = deferred<void>();
  const identity = deferred<Identity>();
  const live = new LiveServer({
    log,
    origins: [],
    missingOrigin: "allow",
    authenticate: () => {
      asked.resolve();
      return identity.promise;
    },
    ...options,
  });
  const sockets = new Set<Socket>();
  const http = createServer((request, response) => void live.handle(request, response));
  http.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  return {
    log,
    live,
    asked: asked.promise,
    identity,
    port,
    url: `http://127.0.0.1:${port}`,
    stream: (query: string, headers: Record<string, string> = {}) => {
      const controller = new AbortController();
      const { signal } = controller;
      const response = fetch(`http://127.0.0.1:${port}/sse/broadcast?${query}`, {
        headers: { authorization: "Bearer t", ...headers },
        signal,
      });
      return {
        response,
        leave: async () => {
          controller.abort();
          await response.catch(() => undefined);
          await vi.waitFor(() => expect(sockets.size).toBe(0));
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await live.close();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => http.close(resolve));
      await log.close();
    },
  };
};

const aTurn = () => new Promise((resolve) => setImmediate(resolve));

describe("a client that leaves too early", () => {
  it("takes nobody else's channel with it, when it goes while its position is looked up", async () => {
    await using log = new SlowLog();
    await using server = await TestLiveServer.start({ log });
    using staying = await RawSocket.open(server);
    await staying.hello();
    staying.send({ id: 1, subscribe: ["a"] });
    await staying.frameWith("ok", 1);
    log.hold = deferred();
    using leaving = await RawSocket.open(server);
    await leaving.hello();
    leaving.send({ id: 1, subscribe: [{ channel: "a", position: { epoch: "0", offset: "0" } }] });
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(2));
    leaving.socket.terminate();
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    log.hold.resolve();
    await handled(staying);
    expect(server.live.subscriberCount("a")).toBe(1);
    await server.live.broadcast("a", "e");
    await staying.frameWith("event", "e");
  });

  it("leaves no stream of events behind, when it goes while it is asked who it is", async () => {
    await using server = await setUp();
    const stream = server.stream("channel=a");
    await server.asked;
    await stream.leave();
    server.identity.resolve({});
    await aTurn();
    expect(server.live.stats()).toMatchObject({ connectionCount: 0, subscriptionCount: 0 });
  });

  it("leaves no channel held, when it goes before the store fails for the next one", async () => {
    await using server = await setUp();
    server.identity.resolve({});
    server.log.hold = deferred();
    const stream = server.stream("channel=a&channel=b", { "last-event-id": "0:0,0:0" });
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    await stream.leave();
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(0));
    const { hold } = server.log;
    server.log.hold = undefined;
    // The look-up under way ends well; the next one does not.
    hold.resolve();
    await Promise.resolve();
    server.log.failure = new Error("the store is gone");
    await aTurn();
    expect(server.live.stats().subscriptionCount).toBe(0);
  });
});

describe("the end of a live server", () => {
  it("comes for all who ask for it, also at once", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    await Promise.all([server.live.close(), server.live.close()]);
    expect(await socket.closed).toMatchObject({ code: 4000 });
  });

  it("closes those at once that a slow drain, or one that was given up, has left", async () => {
    for (const isGivenUp of [false, true]) {
      await using server = await TestLiveServer.start();
      const sockets = [await RawSocket.open(server), await RawSocket.open(server)];
      for (const socket of sockets) await socket.hello();
      const controller = new AbortController();
      const draining = server.live.drain({ overMs: 60_000, signal: controller.signal });
      const isOver = draining.catch(() => undefined);
      if (isGivenUp) controller.abort(new Error("enough"));
      await server.live.close();
      for (const socket of sockets) expect(await socket.closed).toMatchObject({ code: 4000 });
      controller.abort();
      await isOver;
    }
  });

  it("is not held up by a stream of events whose client was asked who it is meanwhile", async () => {
    await using server = await setUp();
    const stream = server.stream("channel=a");
    await server.asked;
    await server.live.drain({ overMs: 0 });
    server.identity.resolve({});
    const response = await stream.response;
    expect(await response.text()).toContain("subscribed");
    await server.live.close();
  });

  it("ends a stream of events that has not begun in a way from which an EventSource comes back", async () => {
    await using server = await setUp();
    server.identity.resolve({});
    server.log.hold = deferred();
    const stream = server.stream("channel=a", { "last-event-id": "0:0" });
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    await server.live.drain({ overMs: 0 });
    const response = await stream.response;
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    expect(await response.text()).toBe("");
    server.log.hold.resolve();
  });

  it("sends an EventSource that comes meanwhile away in a way from which it comes back", async () => {
    await using server = await setUp();
    await server.live.drain({ overMs: 0 });
    const response = await server.stream("channel=a").response;
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    expect(await response.text()).toMatch(/^retry: [12]\d{3}\n\n$/);
  });

  it("is not held up by who never comes to the end of its body", async () => {
    const asked = deferred<void>();
    await using server = await setUp({
      publishWaitMs: () => {
        asked.resolve();
        return undefined;
      },
    });
    server.identity.resolve({});
    const socket = connect({ port: server.port, host: "127.0.0.1" });
    socket.on("error", () => undefined);
    const closed = new Promise((resolve) => socket.on("close", resolve));
    const head = "POST /broadcast HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n";
    socket.write(`${head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`);
    socket.resume();
    await asked.promise;
    await server.live.close();
    await closed;
  });

  it("leaves no request without an answer after it", async () => {
    await using server = await setUp();
    await server.live.close();
    const health = await fetch(`${server.url}/health`);
    expect([health.status, await health.json()]).toEqual([503, { status: "stopping" }]);
    const publish = await fetch(`${server.url}/broadcast`, { method: "POST", body: "{}" });
    expect(publish.status).toBe(503);
    await publish.arrayBuffer();
  });
});
