import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { TestLiveServer } from "../src/testing/index.ts";
import { handled, RawSocket } from "./raw-socket.ts";

const answersOf = (frame: Record<string, unknown>) => frame["channels"] as Record<string, unknown>[];

expectNoLeaks();

describe("the full form", () => {
  it("answers a hello with the client's id, the ping interval and the limits", async () => {
    await using server = await TestLiveServer.start({ limits: { channelMaxCount: 3 } });
    using socket = await RawSocket.open(server);
    const welcome = await socket.hello({ client: "b-1" });
    expect(welcome).toMatchObject({
      version: 2,
      client: "b-1",
      pingIntervalMs: 25_000,
      limits: { channelMaxCount: 3, frameMaxBytes: 65_536, eventMaxBytes: 262_144 },
    });
  });

  it("gives a position also for a channel that never had an event", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({ id: 1, subscribe: ["a"] });
    const [answer] = answersOf(await socket.frameWith("ok", 1));
    expect(answer).toMatchObject({ channel: "a", state: "new", position: { offset: "0" } });
  });

  it("numbers events of a channel 1, 2, 3 and tells who caused them", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({ id: 1, subscribe: ["a"] });
    await socket.frameWith("ok", 1);
    for (const name of ["x", "y", "z"]) {
      await server.live.broadcast("a", name, {}, { origin: { client: "c", mutation: name } });
    }
    const last = await socket.frameWith("event", "z");
    expect(last).toMatchObject({ offset: "3", origin: { client: "c", mutation: "z" } });
    expect(socket.frames.filter((frame) => "offset" in frame).map((frame) => frame["offset"])).toEqual([
      "1",
      "2",
      "3",
    ]);
  });

  it("has a code of its own for names, counts, frames and messages that are wrong, and goes on after them", async () => {
    await using server = await TestLiveServer.start({ limits: { channelMaxCount: 2, frameMaxBytes: 2_000 } });
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({ id: 1, subscribe: ["a", "x".repeat(256), "b", "c", "tab\tname"] });
    const answers = answersOf(await socket.frameWith("ok", 1));
    const codes = answers.map((answer) => (answer["error"] as { code: string } | undefined)?.code);
    expect(codes).toEqual([
      undefined,
      "LIVE_INVALID_CHANNEL",
      undefined,
      "LIVE_TOO_MANY_CHANNELS",
      "LIVE_INVALID_CHANNEL",
    ]);
    socket.send({ id: 2, subscribe: [{ channel: 7 }] });
    expect(await socket.frameWith("id", 2)).toMatchObject({ error: { code: "LIVE_INVALID_MESSAGE" } });
    socket.send("{");
    socket.send({ id: 3, unsubscribe: ["a"] });
    await socket.frameWith("ok", 3);
    socket.send({ id: 4, subscribe: ["x".repeat(3_000)] });
    await vi.waitFor(() =>
      expect(socket.frames.at(-1)).toMatchObject({ error: { code: "LIVE_FRAME_TOO_LARGE" } }),
    );
    expect((await socket.closed).code).toBe(4413);
  });

  it("cuts off a frame far beyond the limit while it is being read", async () => {
    await using server = await TestLiveServer.start({ limits: { frameMaxBytes: 1_000 } });
    using socket = await RawSocket.open(server);
    socket.send("x".repeat(100_000));
    expect((await socket.closed).code).toBe(1009);
  });

  it("refuses a version that it does not speak, for good", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    socket.send({ hello: { version: 1 } });
    expect((await socket.closed).code).toBe(4400);
  });

  it("publishes where that is permitted, delivers to the origin too, and leaves no hole in its offsets", async () => {
    await using server = await TestLiveServer.start({ authorize: ({ channel }) => channel === "open" });
    using socket = await RawSocket.open(server);
    await socket.hello({ client: "me" });
    socket.send({ id: 1, subscribe: ["open"] });
    await socket.frameWith("ok", 1);
    socket.send({ id: 2, publish: { channel: "open", event: "e", payload: { x: 1 }, mutation: "m1" } });
    expect((await socket.frameWith("ok", 2))["published"]).toMatchObject({ offset: "1" });
    expect(await socket.frameWith("event", "e")).toMatchObject({
      offset: "1",
      origin: { client: "me", mutation: "m1" },
      payload: { x: 1 },
    });
    socket.send({ id: 3, publish: { channel: "closed", event: "e", payload: {} } });
    expect(await socket.frameWith("id", 3)).toMatchObject({ error: { code: "LIVE_FORBIDDEN" } });
  });

  it("tells a publisher over its rate when to come back, also on a socket", async () => {
    const publishWaitMs = (): number => 2_500;
    await using server = await TestLiveServer.start({ authorize: () => true, publishWaitMs });
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({ id: 1, publish: { channel: "a", event: "e", payload: {} } });
    expect(await socket.frameWith("id", 1)).toMatchObject({
      error: { code: "KERNEL_OVERLOADED", retryable: true, retryAfterMs: 2_500 },
    });
  });

  it("replays on a second subscribe from an earlier position, and goes on live without a hole", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({ id: 1, subscribe: ["a"] });
    const [answer] = answersOf(await socket.frameWith("ok", 1));
    const { epoch } = answer?.["position"] as { epoch: string };
    for (const name of ["x", "y"]) await server.live.broadcast("a", name);
    await socket.frameWith("event", "y");
    socket.frames.length = 0;
    socket.send({ id: 2, subscribe: [{ channel: "a", position: { epoch, offset: "0" } }] });
    await socket.frameWith("event", "y");
    await server.live.broadcast("a", "z");
    await socket.frameWith("event", "z");
    expect(socket.frames.map((frame) => frame["offset"])).toEqual([undefined, "1", "2", "3"]);
    expect(server.live.subscriberCount("a")).toBe(1);
  });

  it("closes a client that does not answer pings, and keeps one that does", async () => {
    const clock = new VirtualClock();
    await using server = await TestLiveServer.start({ clock });
    using alive = await RawSocket.open(server);
    await alive.hello();
    using frozen = await RawSocket.open(server);
    await frozen.hello();
    for (let round = 1; round <= 3; round += 1) {
      await clock.advance(round === 1 ? 25_000 : 15_000);
      await alive.frameWith("ping", round);
      alive.send({ pong: round });
      await handled(alive);
      await clock.advance(10_000);
      if (round === 1) expect((await frozen.closed).code).toBe(4004);
    }
    expect(alive.socket.readyState).toBe(alive.socket.OPEN);
  });

  it("sends what was published right before it goes", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["a"] });
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    await server.live.broadcast("a", "last");
    const closing = server.live.close();
    await socket.closed;
    expect(socket.frames).toEqual([{ channel: "a", event: "last", payload: {} }]);
    await closing;
  });

  it("says bye with the spread before it goes, and refuses new connections meanwhile", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    await server.live.drain({ overMs: 0, spreadMs: 7_000, reason: "deploy" });
    expect(await socket.frameWith("bye")).toEqual({ bye: { reason: "deploy", spreadMs: 7_000 } });
    expect((await socket.closed).code).toBe(4000);
    await expect(RawSocket.open(server)).rejects.toThrow("503");
  });

  it("tells presence as a snapshot, joins and leaves, also when a connection dies, outside the offsets", async () => {
    await using server = await TestLiveServer.start();
    using a = await RawSocket.open(server);
    using b = await RawSocket.open(server);
    await a.hello({ client: "a" });
    await b.hello({ client: "b" });
    a.send({ id: 1, subscribe: [{ channel: "room", presence: { name: "Ada" } }] });
    expect(answersOf(await a.frameWith("ok", 1))[0]?.["present"]).toMatchObject([
      { client: "a", data: { name: "Ada" } },
    ]);
    b.send({ id: 1, subscribe: [{ channel: "room", presence: { name: "Bob" } }] });
    expect(answersOf(await b.frameWith("ok", 1))[0]?.["present"]).toMatchObject([
      { client: "a" },
      { client: "b" },
    ]);
    expect((await a.frameWith("presence"))["presence"]).toMatchObject({
      channel: "room",
      join: { client: "b" },
    });
    b.socket.terminate();
    await vi.waitFor(() => expect(a.frames.at(-1)).toMatchObject({ presence: { leave: { client: "b" } } }));
    expect((await server.log.bounds("room")).head.offset).toBe(0n);
  });

  it("cuts off a client that sends faster than it can be served", async () => {
    let release: (() => void) | undefined;
    const gate = new Promise<boolean>((resolve) => {
      release = () => resolve(true);
    });
    await using server = await TestLiveServer.start({ authorize: () => gate });
    using socket = await RawSocket.open(server);
    await socket.hello();
    for (let id = 0; id < 300; id += 1) socket.send({ id, subscribe: ["a"] });
    expect((await socket.closed).code).toBe(4429);
    release?.();
  });
});
