import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { TestLiveServer } from "../src/testing/index.ts";
import { handled, RawSocket } from "./raw-socket.ts";

expectNoLeaks();

describe("the simple form", () => {
  it("subscribes, receives and unsubscribes, and the count follows", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    expect(server.live.subscriberCount("orders")).toBe(0);
    socket.send({ subscribe: ["orders"] });
    await vi.waitFor(() => expect(server.live.subscriberCount("orders")).toBe(1));
    await server.live.broadcast("orders", "created", { entity_id: "123" });
    await socket.frameWith("channel");
    expect(socket.frames).toEqual([{ channel: "orders", event: "created", payload: { entity_id: "123" } }]);
    socket.send({ unsubscribe: ["orders"] });
    await vi.waitFor(() => expect(server.live.subscriberCount("orders")).toBe(0));
    expect(server.live.channels).toEqual([]);
  });

  it("honours one frame with several names to subscribe and to unsubscribe", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["a", "b", "c"] });
    await vi.waitFor(() => expect(server.live.channels).toEqual(["a", "b", "c"]));
    socket.send({ subscribe: ["d"], unsubscribe: ["a", "b"] });
    await vi.waitFor(() => expect(server.live.channels).toEqual(["c", "d"]));
  });

  it("never brings events to a connection that is not subscribed", async () => {
    await using server = await TestLiveServer.start();
    using a = await RawSocket.open(server);
    using b = await RawSocket.open(server);
    a.send({ subscribe: ["a"] });
    b.send({ subscribe: ["b"] });
    await vi.waitFor(() => expect(server.live.channels).toHaveLength(2));
    await server.live.broadcast("a", "one");
    await server.live.broadcast("b", "two");
    await b.frameWith("event", "two");
    await a.frameWith("event", "one");
    expect([a.frames.length, b.frames.length]).toEqual([1, 1]);
  });

  it("survives malformed JSON, wrong types and unknown keys, and keeps the connection", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    for (const text of [
      "{",
      "null",
      "[]",
      "7",
      '"x"',
      '{"subscribe":"a"}',
      '{"subscribe":[7,null,{}]}',
      '{"hello":7}',
      '{"publish":1}',
      '{"unsubscribe":["never"]}',
      `{"subscribe":["${"x".repeat(300)}","\\u0000",""]}`,
    ]) {
      socket.send(text);
    }
    socket.socket.send(Buffer.from([1, 2, 3]), { binary: true });
    socket.send({ subscribe: ["fine"], unknown: true });
    await vi.waitFor(() => expect(server.live.channels).toEqual(["fine"]));
    expect(socket.frames).toEqual([]);
    expect(socket.socket.readyState).toBe(socket.socket.OPEN);
  });

  it("sends nothing but events to a connection that never says hello", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["a"], id: 1, ping: 5 });
    await handled(socket);
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    await server.live.broadcast("a", "e");
    await socket.frameWith("channel");
    await server.live.drain({ overMs: 0 });
    await socket.closed;
    expect(socket.frames).toEqual([{ channel: "a", event: "e", payload: {} }]);
  });

  it("takes a dead connection out of all channels", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["a", "b"] });
    await vi.waitFor(() => expect(server.live.channels).toHaveLength(2));
    socket.socket.terminate();
    await vi.waitFor(() => expect(server.live.channels).toEqual([]));
    expect(server.live.stats()).toMatchObject({ connectionCount: 0, subscriptionCount: 0 });
  });

  it("takes the trigger of the test server in both spellings", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["integration-test"] });
    await vi.waitFor(() => expect(server.live.channels).toHaveLength(1));
    for (const key of ["event", "event_type"]) {
      const body = { channel: "integration-test", [key]: "test_event", payload: { message: "hello" } };
      const answer = await fetch(`${server.httpUrl}/test/broadcast`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      expect(await answer.json()).toMatchObject({ status: "broadcasted", subscriberCount: 1 });
    }
    await vi.waitFor(() => expect(socket.frames).toHaveLength(2));
    expect(socket.frames[1]).toEqual({
      channel: "integration-test",
      event: "test_event",
      payload: { message: "hello" },
    });
  });
});
