import { randomInt, seededRandom } from "@holdfast/kernel";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { UnauthenticatedError } from "../src/model/index.ts";
import { MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { handled, RawSocket } from "./raw-socket.ts";

const answersOf = (frame: Record<string, unknown>) => frame["channels"] as Record<string, unknown>[];

/** Each user may follow what bears their name. */
const startGuarded = () =>
  TestLiveServer.start({
    authenticate: async ({ token = "" }) => {
      if (!token.startsWith("user-")) throw new UnauthenticatedError("unknown token");
      return { user: token };
    },
    authorize: ({ identity, channel }) => channel === identity.user,
  });

/** What a client may say, whole or broken. */
const PIECES = [
  '{"hello":{"version":2,"client":"x"}}',
  '{"id":1,"subscribe":["a",{"channel":"b","position":{"epoch":"1","offset":"9999999999999999999"}}]}',
  '{"id":2,"unsubscribe":["a"],"subscribe":[{"channel":"__proto__","presence":{"constructor":1}}]}',
  '{"id":3,"publish":{"channel":"a","event":"e","payload":{"__proto__":{"x":1}}}}',
  '{"refresh":{"token":"t"}}',
  '{"ping":1e308}',
  '{"pong":null}',
  '{"subscribe":[null,1,{},[],""]}',
  "[]",
  "\u0000",
];

expectNoLeaks();

describe("a hostile client", () => {
  it("disturbs nobody with thousands of frames of garbage", async () => {
    await using server = await TestLiveServer.start({ authorize: () => true });
    using witness = await RawSocket.open(server);
    await witness.hello();
    witness.send({ id: 1, subscribe: ["safe"] });
    await witness.frameWith("ok", 1);
    const random = seededRandom(7);
    const pick = (): string => PIECES[randomInt(random, PIECES.length)] as string;
    for (let round = 0; round < 10; round += 1) {
      using socket = await RawSocket.open(server);
      for (let count = 0; count < 150; count += 1) {
        const text = pick();
        const at = randomInt(random, text.length);
        const broken = text.slice(0, at) + pick().slice(randomInt(random, 5)) + text.slice(at);
        socket.send(count % 3 === 0 ? broken : count % 3 === 1 ? text.slice(0, at) : text);
        if (count % 50 === 0) socket.socket.send(Buffer.from(text), { binary: true });
      }
      await Promise.race([handled(socket), socket.closed]);
    }
    await server.live.broadcast("safe", "still there");
    await witness.frameWith("event", "still there");
    await vi.waitFor(() => expect(server.live.channels).toEqual(["safe"]));
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  it("is told what is wrong with a payload nested too deeply, and nothing is published", async () => {
    await using server = await TestLiveServer.start({ authorize: () => true });
    using socket = await RawSocket.open(server);
    await socket.hello();
    const nested = "[".repeat(30_000) + "]".repeat(30_000);
    socket.send(`{"id":1,"publish":{"channel":"a","event":"e","payload":{"n":${nested}}}}`);
    expect(await socket.frameWith("id", 1)).toMatchObject({ error: { code: "LIVE_INVALID_MESSAGE" } });
    expect((await server.log.bounds("a")).head.offset).toBe(0n);
  });

  it("cannot make a server keep more than a mebibyte of what it says", async () => {
    let letGo = (): void => undefined;
    const gate = new Promise<boolean>((resolve) => {
      letGo = () => resolve(true);
    });
    await using server = await TestLiveServer.start({ authorize: () => gate });
    using socket = await RawSocket.open(server);
    await socket.hello();
    const padding = "x".repeat(60_000);
    for (let id = 0; id < 20; id += 1) socket.send({ id, subscribe: ["a"], padding });
    expect((await socket.closed).code).toBe(4429);
    letGo();
  });

  it("cannot keep one user's channels on a connection that another hello makes another user's", async () => {
    await using server = await startGuarded();
    using socket = await RawSocket.open(server);
    await socket.hello({ token: "user-ada" });
    socket.send({ id: 1, subscribe: ["user-ada"] });
    await socket.frameWith("ok", 1);
    socket.send({ hello: { version: 2, token: "user-bob" } });
    expect((await socket.closed).code).toBe(4400);
    await vi.waitFor(() => expect(server.live.channels).toEqual([]));
  });

  it("reads no channel that is not theirs: not by a position, not by presence, not by a stream of events", async () => {
    await using server = await startGuarded();
    using socket = await RawSocket.open(server);
    using victim = await RawSocket.open(server);
    await socket.hello({ token: "user-eve" });
    await victim.hello({ token: "user-ada" });
    victim.send({ id: 1, subscribe: [{ channel: "user-ada", presence: { name: "Ada" } }] });
    await victim.frameWith("ok", 1);
    await server.live.broadcast("user-ada", "secret");
    const tries = [
      "user-ada",
      { channel: "user-ada", position: { epoch: "0", offset: "0" } },
      { channel: "user-ada", presence: {} },
      { channel: "user-ada", token: "user-ada" },
      { channel: "\u0001presence\u0001user-ada" },
    ];
    for (const [id, request] of tries.entries()) {
      socket.send({ id, subscribe: [request] });
      expect(answersOf(await socket.frameWith("ok", id))).toMatchObject([{ state: "refused" }]);
    }
    await server.live.broadcast("user-ada", "secret");
    const stream = await fetch(`${server.httpUrl}/sse/broadcast?channel=user-ada`, {
      headers: { authorization: "Bearer user-eve" },
    });
    expect(stream.status).toBe(403);
    expect(await stream.text()).not.toContain("secret");
    await handled(socket);
    expect(JSON.stringify(socket.frames)).not.toMatch(/secret|Ada/);
    expect(victim.frames.filter(({ presence }) => presence !== undefined)).toEqual([]);
  });

  it("has no room in presence for more than a kibibyte, and its other channels go on", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({
      id: 1,
      subscribe: [{ channel: "room", presence: { data: "x".repeat(2_000) } }, "other"],
    });
    expect(answersOf(await socket.frameWith("ok", 1))).toMatchObject([
      { channel: "room", state: "refused", error: { code: "LIVE_INVALID_MESSAGE" } },
      { channel: "other", state: "new" },
    ]);
  });

  it("takes no more places by streams of events than by sockets", async () => {
    await using server = await TestLiveServer.start({ connectionMaxCount: 2 });
    using _socket = await RawSocket.open(server);
    const open = (): Promise<Response> => fetch(`${server.httpUrl}/sse/broadcast?channel=a`);
    const stream = await open();
    expect(stream.status).toBe(200);
    expect((await open()).status).toBe(503);
    await expect(RawSocket.open(server)).rejects.toThrow("503");
    await stream.body?.cancel();
    await vi.waitFor(() => expect(server.live.stats().connectionCount).toBe(1));
    using _next = await RawSocket.open(server);
  });

  it("cannot make a server read a history more than once for one frame", async () => {
    const log = new MemoryChannelLog();
    const read = vi.spyOn(log, "read");
    await using server = await TestLiveServer.start({ log });
    for (let count = 0; count < 3; count += 1) await server.live.broadcast("a", "e");
    const { head } = await log.bounds("a");
    using socket = await RawSocket.open(server);
    await socket.hello();
    const request = { channel: "a", position: { epoch: `${head.epoch}`, offset: "0" } };
    socket.send({ id: 1, subscribe: Array.from({ length: 200 }, () => request) });
    await socket.frameWith("ok", 1);
    await socket.frameWith("offset", "3");
    expect(read).toHaveBeenCalledOnce();
    expect(socket.frames.filter((frame) => "offset" in frame).map(({ offset }) => offset)).toEqual([
      "1",
      "2",
      "3",
    ]);
    await log.close();
  });
});
