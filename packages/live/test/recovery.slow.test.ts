import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient, type BroadcastClientOptions, type Gap } from "../src/client/index.ts";
import { MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { RawSocket } from "./raw-socket.ts";

/** A client of one channel, with all it was given. */
const follow = async (server: TestLiveServer, options: BroadcastClientOptions = {}) => {
  const client = new BroadcastClient(server.url, {
    webSocket: WebSocket as never,
    tabs: false,
    reconnectDelay: 5,
    reconnectDelayMax: 20,
    ...options,
  });
  const seen: unknown[] = [];
  const gaps: Gap[] = [];
  client.onGap((gap) => gaps.push(gap));
  client.subscribe("a", ({ payload }) => seen.push(payload["n"]));
  client.connect();
  await client.ready("a");
  return { client, seen, gaps, [Symbol.dispose]: () => client.disconnect() };
};

const cutWhile = async (
  server: TestLiveServer,
  client: BroadcastClient,
  body: () => Promise<void>,
): Promise<void> => {
  server.refuse();
  server.cut();
  await vi.waitFor(() => expect(client.state).toBe("reconnecting"));
  await body();
  server.refuse(false);
  await vi.waitFor(() => expect(client.state).toBe("connected"));
};

const publish = async (server: TestLiveServer, from: number, to: number): Promise<void> => {
  for (let n = from; n <= to; n += 1) await server.live.broadcast("a", "e", { n });
};

const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index + 1);

expectNoLeaks();

describe("recovery", () => {
  it("brings what was sent during a cut when nothing was ever received before it", async () => {
    await using server = await TestLiveServer.start();
    using reader = await follow(server);
    await cutWhile(server, reader.client, () => publish(server, 1, 5));
    await vi.waitFor(() => expect(reader.seen).toEqual(upTo(5)));
    expect(reader.gaps).toEqual([]);
  });

  it("replays nothing over three cuts in a row without new events", async () => {
    await using server = await TestLiveServer.start();
    using reader = await follow(server);
    await publish(server, 1, 3);
    await vi.waitFor(() => expect(reader.seen).toHaveLength(3));
    for (let cut = 0; cut < 3; cut += 1) {
      await cutWhile(server, reader.client, async () => undefined);
      await reader.client.ready("a");
    }
    await publish(server, 4, 4);
    await vi.waitFor(() => expect(reader.seen).toEqual(upTo(4)));
    expect(server.live.stats()).toMatchObject({ recoveries: 3, resets: 0, eventsOut: 4 });
  });

  it("announces one gap after a cut that was longer than the history, and goes on from there", async () => {
    await using log = new MemoryChannelLog({ historyMaxCount: 3 });
    await using server = await TestLiveServer.start({ log });
    using reader = await follow(server);
    await publish(server, 1, 1);
    await vi.waitFor(() => expect(reader.seen).toEqual([1]));
    await cutWhile(server, reader.client, () => publish(server, 2, 9));
    await reader.client.ready("a");
    await publish(server, 10, 10);
    await vi.waitFor(() => expect(reader.seen).toEqual([1, 10]));
    expect(reader.gaps).toEqual([{ channel: "a", reason: "trimmed" }]);
  });

  it("announces a gap when the server comes back without its history", async () => {
    const first = await TestLiveServer.start();
    using reader = await follow(first);
    await publish(first, 1, 2);
    await vi.waitFor(() => expect(reader.seen).toEqual([1, 2]));
    const { port } = first;
    await first.close();
    await using second = await TestLiveServer.start({ port });
    await vi.waitFor(() => expect(reader.gaps).toEqual([{ channel: "a", reason: "epoch-changed" }]));
    await publish(second, 3, 3);
    await vi.waitFor(() => expect(reader.seen).toEqual([1, 2, 3]));
  });

  it("works when a connection resumed while the one before still lingers on the server, and once more later", async () => {
    await using server = await TestLiveServer.start();
    using lingering = await RawSocket.open(server);
    await lingering.hello({ client: "same" });
    lingering.send({ id: 1, subscribe: ["a"] });
    await lingering.frameWith("ok", 1);
    await publish(server, 1, 1);
    const { epoch } = await lingering.frameWith("event");
    const resume = async (offset: string): Promise<RawSocket> => {
      const socket = await RawSocket.open(server);
      await socket.hello({ client: "same" });
      socket.send({ id: 1, subscribe: [{ channel: "a", position: { epoch, offset } }] });
      await socket.frameWith("ok", 1);
      return socket;
    };
    using resumed = await resume("1");
    await publish(server, 2, 2);
    await resumed.frameWith("offset", "2");
    lingering.socket.terminate();
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    resumed.socket.terminate();
    await publish(server, 3, 4);
    using later = await resume("2");
    await later.frameWith("offset", "4");
    expect(later.frames.flatMap((frame) => ("offset" in frame ? [frame["offset"]] : []))).toEqual(["3", "4"]);
  });

  it("brings a long history to a client that was away, although it is larger than its queue", async () => {
    const queueMaxBytes = 600_000;
    await using server = await TestLiveServer.start({ queueMaxBytes });
    using reader = await follow(server);
    const text = "x".repeat(20_000);
    await cutWhile(server, reader.client, async () => {
      for (const n of upTo(200)) await server.live.broadcast("a", "e", { n, text });
    });
    await vi.waitFor(() => expect(reader.seen).toEqual(upTo(200)), { timeout: 30_000 });
    expect(server.live.stats()).toMatchObject({ slowCloses: 0 });
  });

  it("brings long histories of many channels at once without taking their reader for a slow one", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    const names = Array.from({ length: 64 }, (_, index) => `c${index}`);
    const text = "x".repeat(20_000);
    for (const name of names)
      for (let n = 1; n <= 10; n += 1) await server.live.broadcast(name, "e", { n, text });
    const after = { epoch: "0", offset: "0" };
    socket.send({ id: 1, subscribe: names.map((channel) => ({ channel, position: after })) });
    const had = (): readonly unknown[] => socket.frames.filter((frame) => "offset" in frame);
    await vi.waitFor(() => expect(had()).toHaveLength(640), { timeout: 15_000 });
    for (const name of names)
      expect(
        socket.frames.flatMap((frame) => (frame["channel"] === name ? [Number(frame["offset"])] : [])),
      ).toEqual(upTo(10));
    expect(server.live.stats()).toMatchObject({ slowCloses: 0 });
  });
});

describe("a slow reader", () => {
  it("is closed at its bound, the new frame counted, while others are served, and recovers when it returns", async () => {
    await using server = await TestLiveServer.start();
    using quick = await follow(server);
    using slow = await RawSocket.open(server);
    await slow.hello();
    slow.send({ id: 1, subscribe: ["a"] });
    const { channels } = (await slow.frameWith("ok", 1)) as { channels: { position: { epoch: string } }[] };
    const epoch = channels[0]?.position.epoch;
    slow.socket.pause();
    const text = "x".repeat(200_000);
    let n = 0;
    while (server.live.stats().slowCloses === 0) {
      n += 1;
      await server.live.broadcast("a", "e", { n, text });
      expect(server.live.stats().queuedBytes).toBeLessThanOrEqual(2 * 1_048_576);
      await vi.waitFor(() => expect(quick.seen).toHaveLength(n));
      expect(n).toBeLessThan(200);
    }
    slow.socket.resume();
    expect((await slow.closed).code).toBe(4001);
    const had = slow.frames.flatMap((frame) => ("offset" in frame ? [Number(frame["offset"])] : []));
    expect(had).toEqual(upTo(had.length));
    using back = await RawSocket.open(server);
    await back.hello();
    back.send({ id: 1, subscribe: [{ channel: "a", position: { epoch, offset: String(had.length) } }] });
    await back.frameWith("offset", String(n));
    const rest = back.frames.flatMap((frame) => ("offset" in frame ? [Number(frame["offset"])] : []));
    expect([...had, ...rest]).toEqual(upTo(n));
  });
});
