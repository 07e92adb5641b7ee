import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { EventStreamSocket } from "../src/client/event-stream-socket.ts";
import { BroadcastClient } from "../src/client/index.ts";
import { FakeSocket } from "../src/testing/fake-socket.ts";
import { setUpClient } from "./client-on-fake-sockets.ts";

describe("waiting for a channel", () => {
  it("ends at once when the server has refused it before", async () => {
    const { client, clock, connected } = setUpClient();
    client.subscribe("a", () => undefined);
    const socket = await connected();
    const error = { code: "LIVE_FORBIDDEN", message: "not yours", retryable: false };
    socket.acknowledge([{ channel: "a", state: "refused", error }]);
    await clock.advance(0);
    client.subscribe("a", () => undefined);
    await expect(client.ready("a")).rejects.toMatchObject({ code: "LIVE_FORBIDDEN" });
  });

  it("ends at once after a terminal end, and waits again after a new connect", async () => {
    const { client, connected } = setUpClient();
    const socket = await connected();
    socket.finishClose(4401, "unknown token");
    client.subscribe("a", () => undefined);
    await expect(client.ready("a")).rejects.toMatchObject({ code: "LIVE_NOT_CONNECTED" });
    const next = await connected();
    const ready = client.ready("a");
    next.acknowledge();
    await ready;
  });
});

describe("publishing", () => {
  it("sends nothing for a caller that has given up before", async () => {
    const { client, connected } = setUpClient();
    const socket = await connected();
    const reason = new Error("not needed");
    const signal = AbortSignal.abort(reason);
    await expect(client.publish("a", "e", {}, { signal })).rejects.toBe(reason);
    expect(socket.sentWith("publish")).toEqual([]);
  });
});

describe("a stream of events in place of a socket", () => {
  const open = (clock: VirtualClock) => {
    const responses: ((body: string) => void)[] = [];
    const socket = new EventStreamSocket("http://test/sse", {
      clock,
      fetch: () =>
        new Promise((resolve) => {
          responses.push((text) => {
            const body = new ReadableStream({
              start: (controller) => controller.enqueue(new TextEncoder().encode(text)),
            });
            resolve(new Response(body, { status: 200 }));
          });
        }),
    });
    const told: Record<string, unknown>[] = [];
    socket.onmessage = ({ data }: { readonly data: string }) => told.push(JSON.parse(data));
    return { socket, responses, told };
  };

  it("acknowledges all channels that were asked for one after the other before it began", async () => {
    const clock = new VirtualClock();
    const { socket, responses, told } = open(clock);
    socket.send(JSON.stringify({ hello: { version: 2 } }));
    socket.send(JSON.stringify({ id: 1, subscribe: [{ channel: "a" }] }));
    await clock.advance(0);
    socket.send(JSON.stringify({ id: 2, subscribe: [{ channel: "b" }] }));
    await clock.advance(0);
    expect(responses.length).toBe(2);
    const channels = ["a", "b"].map((channel) => ({ channel, position: { epoch: "7", offset: "3" } }));
    responses[1]?.(`id: 7:3,7:3\nevent: subscribed\ndata: ${JSON.stringify({ channels })}\n\n`);
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    const position = { epoch: "7", offset: "3" };
    expect(told.filter((frame) => "ok" in frame)).toEqual([
      { ok: 1, channels: [{ channel: "a", state: "new", position }] },
      { ok: 2, channels: [{ channel: "b", state: "new", position }] },
    ]);
    socket.close();
  });

  it("is tried less and less often while the server is away, and not more often than was allowed", async () => {
    const clock = new VirtualClock();
    let fetchCount = 0;
    const client = new BroadcastClient("ws://test/ws/broadcast", {
      tabs: false,
      reconnectJitter: 0,
      maxReconnectAttempts: 5,
      eventStreamUrl: "http://test/sse",
      platform: {
        clock,
        openSocket: (url) => {
          const socket = new FakeSocket(url);
          queueMicrotask(() => socket.fail());
          return socket;
        },
        fetch: async () => {
          fetchCount += 1;
          throw new TypeError("fetch failed");
        },
        onWake: () => () => undefined,
      },
    });
    const delays: number[] = [];
    client.onStateChange((state, { delayMs }) => {
      if (state === "reconnecting") delays.push(delayMs);
    });
    client.subscribe("a", () => undefined);
    client.connect();
    await clock.advance(120_000);
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000]);
    expect(client.detail).toMatchObject({ terminal: true });
    expect(fetchCount).toBe(2);
    expect(clock.pendingCount).toBe(0);
  });

  it("leaves no timer behind when it is closed at its welcome", async () => {
    const clock = new VirtualClock();
    const { socket } = open(clock);
    socket.onmessage = () => socket.close();
    socket.send(JSON.stringify({ hello: { version: 2 } }));
    await clock.advance(0);
    expect(clock.pendingCount).toBe(0);
  });
});
