import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient, type BroadcastClientOptions } from "../src/client/index.ts";
import { UnauthenticatedError } from "../src/model/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

expectNoLeaks();

/** A client in a network that lets no WebSocket through. */
const behindProxy = (server: TestLiveServer, options: BroadcastClientOptions = {}) => {
  let socketCount = 0;
  const client = new BroadcastClient(server.url, {
    tabs: false,
    reconnectDelay: 5,
    reconnectDelayMax: 20,
    eventStreamUrl: `${server.httpUrl}/sse/broadcast`,
    platform: {
      openSocket: () => {
        socketCount += 1;
        // Nobody listens there: refused at once.
        return new WebSocket("ws://127.0.0.1:1/") as never;
      },
    },
    ...options,
  });
  const seen: unknown[] = [];
  client.subscribe("a", ({ payload }) => seen.push(payload["n"]));
  client.connect();
  return { client, seen, sockets: () => socketCount, [Symbol.dispose]: () => client.disconnect() };
};

describe("a client whose network lets no WebSocket through", () => {
  it("receives by server-sent events after two tries, and loses and repeats nothing over cuts and new channels", async () => {
    await using server = await TestLiveServer.start();
    using reader = behindProxy(server);
    await reader.client.ready("a");
    expect(reader.sockets()).toBe(2);
    await server.live.broadcast("a", "e", { n: 1 });
    await vi.waitFor(() => expect(reader.seen).toEqual([1]));
    reader.client.subscribe("b", ({ payload }) => reader.seen.push(payload["n"]));
    await reader.client.ready("b");
    await server.live.broadcast("b", "e", { n: 2 });
    await server.live.broadcast("a", "e", { n: 3 });
    await vi.waitFor(() => expect([...reader.seen].sort()).toEqual([1, 2, 3]));
    server.refuse();
    server.cut();
    await vi.waitFor(() => expect(reader.client.state).toBe("reconnecting"));
    for (const n of [4, 5]) await server.live.broadcast("a", "e", { n });
    server.refuse(false);
    await vi.waitFor(() => expect(reader.seen.filter((n) => n !== 2)).toEqual([1, 3, 4, 5]), {
      timeout: 30_000,
    });
  });

  it("cannot publish, and says so", async () => {
    await using server = await TestLiveServer.start({ authorize: () => true });
    using reader = behindProxy(server);
    await reader.client.ready("a");
    await expect(reader.client.publish("a", "e")).rejects.toMatchObject({ code: "LIVE_NOT_CONNECTED" });
  });

  it("shows its token in a header, and stops when it is refused", async () => {
    await using server = await TestLiveServer.start({
      authenticate: async ({ token }) => {
        if (token !== "good") throw new UnauthenticatedError("unknown token");
        return {};
      },
    });
    using good = behindProxy(server, { getToken: () => "good" });
    await good.client.ready("a");
    using bad = behindProxy(server, { getToken: () => "bad" });
    await vi.waitFor(() => expect(bad.client.state).toBe("disconnected"));
    expect(bad.client.detail.terminal).toBe(true);
  });

  it("stays on WebSocket while that works", async () => {
    await using server = await TestLiveServer.start();
    using reader = behindProxy(server, { platform: {}, webSocket: WebSocket as never });
    await reader.client.ready("a");
    for (let cut = 1; cut <= 3; cut += 1) {
      server.cut();
      await vi.waitFor(() => expect(server.live.stats().connectionsOpened).toBe(cut + 1));
      await vi.waitFor(() => expect(reader.client.state).toBe("connected"));
    }
    expect(server.live.stats().connectionsOpened).toBe(4);
    await server.live.broadcast("a", "e", { n: 1 });
    await vi.waitFor(() => expect(reader.seen).toEqual([1]));
  });
});
