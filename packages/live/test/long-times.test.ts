import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

/** A client on real sockets whose time is the test's. */
const connect = async (server: TestLiveServer) => {
  const clock = new VirtualClock();
  const client = new BroadcastClient(server.url, {
    webSocket: WebSocket as never,
    tabs: false,
    platform: { clock },
  });
  const seen: unknown[] = [];
  client.subscribe("a", ({ payload }) => seen.push(payload["n"]));
  client.connect();
  await client.ready("a");
  return { clock, client, seen, [Symbol.dispose]: () => client.disconnect() };
};

describe("over real sockets and long times", () => {
  it("stays disconnected after a disconnect: the server sees no second connection within 60 s", async () => {
    await using server = await TestLiveServer.start();
    using reader = await connect(server);
    reader.client.disconnect();
    await vi.waitFor(() => expect(server.live.stats().connectionCount).toBe(0));
    await reader.clock.advance(60_000);
    expect(reader.client.state).toBe("disconnected");
    expect(reader.clock.pendingCount).toBe(0);
    expect(server.live.stats().connectionsOpened).toBe(1);
  });

  it("brings what was sent during a cut of 10 s once and in order, over several failed tries", async () => {
    await using server = await TestLiveServer.start();
    using reader = await connect(server);
    const { client, clock, seen } = reader;
    const attempts: number[] = [];
    client.onStateChange((state, { attempt }) => state === "reconnecting" && attempts.push(attempt));
    server.refuse();
    server.cut();
    await vi.waitFor(() => expect(client.state).toBe("reconnecting"));
    const numbers = Array.from({ length: 50 }, (_, index) => index + 1);
    const cutAt = clock.monotonicNow();
    for (const n of numbers) {
      await server.live.broadcast("a", "e", { n });
      await clock.advance(200);
      // A try that was begun fails in real time.
      if (client.detail.delayMs === 0)
        await vi.waitFor(() => expect(client.detail.delayMs).toBeGreaterThan(0));
    }
    expect(clock.monotonicNow() - cutAt).toBe(10_000);
    await vi.waitFor(() => expect(attempts.length).toBeGreaterThan(1));
    expect(seen).toEqual([]);
    server.refuse(false);
    await vi.waitFor(async () => {
      await clock.advance(1_000);
      expect(seen).toEqual(numbers);
    });
  });
});
