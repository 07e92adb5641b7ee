import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient, type BroadcastClientOptions, type BroadcastEvent } from "../src/client/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

const clientOf = (
  server: TestLiveServer,
  options: BroadcastClientOptions = {},
): BroadcastClient & Disposable => {
  const client = new BroadcastClient(server.url, {
    webSocket: WebSocket as never,
    tabs: false,
    reconnectDelay: 10,
    ...options,
  });
  return Object.assign(client, { [Symbol.dispose]: () => client.disconnect() });
};

expectNoLeaks();

describe("clients over real sockets", () => {
  it("lets two clients on one channel both receive, each event once", async () => {
    await using server = await TestLiveServer.start();
    using a = clientOf(server);
    using b = clientOf(server);
    const events: BroadcastEvent[] = [];
    for (const client of [a, b]) {
      client.subscribe("order", (event) => events.push(event));
      client.connect();
      await client.ready("order");
    }
    expect(server.live.subscriberCount("order")).toBe(2);
    await server.live.broadcast("order", "created", { entity_id: "1" });
    await vi.waitFor(() => expect(events).toHaveLength(2));
    expect(events[0]).toMatchObject({
      channel: "order",
      event: "created",
      payload: { entity_id: "1" },
      via: "socket",
    });
  });

  it("leaves no socket, port or timer behind, as every test of these files", async () => {
    const server = await TestLiveServer.start();
    using client = clientOf(server);
    client.subscribe("order", () => undefined);
    client.connect();
    await client.ready("order");
    await server.close();
    expect(server.live.stats()).toMatchObject({ connectionCount: 0, subscriptionCount: 0 });
  });

  it("makes up for what was sent during a cut, once and in order", async () => {
    await using server = await TestLiveServer.start();
    using client = clientOf(server);
    const seen: unknown[] = [];
    client.subscribe("order", ({ payload }) => seen.push(payload["n"]));
    client.connect();
    await client.ready("order");
    await server.live.broadcast("order", "created", { n: 1 });
    await vi.waitFor(() => expect(seen).toEqual([1]));
    server.refuse();
    server.cut();
    await vi.waitFor(() => expect(client.state).toBe("reconnecting"));
    for (const n of [2, 3, 4]) await server.live.broadcast("order", "created", { n });
    server.refuse(false);
    await vi.waitFor(() => expect(seen).toEqual([1, 2, 3, 4]));
  });
});
