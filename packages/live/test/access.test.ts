import { type Clock, silentLogger, systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { UnauthenticatedError } from "../src/model/index.ts";
import { allowsOrigin, LiveServer, MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { handled, RawSocket } from "./raw-socket.ts";

const logLines: string[] = [];
const remember = (fields: object, message: string): void => {
  logLines.push(JSON.stringify(fields) + message);
};
const logger = { debug: remember, info: remember, warn: remember, error: remember, child: () => logger };

/** Tokens read `user:secret`; the expiry is the test's. */
const guarded = (rest: object = {}, expiresInMs?: number, clock: Clock = systemClock) =>
  TestLiveServer.start({
    clock,
    authenticate: async ({ token = "" }) => {
      const [user, secret] = token.split(":");
      if (secret !== "secret") throw new UnauthenticatedError("unknown token");
      return {
        user: user ?? "",
        ...(expiresInMs === undefined ? {} : { expiresAt: clock.wallNow() + expiresInMs }),
      };
    },
    logger,
    ...rest,
  });

expectNoLeaks();

describe("the Origin of a page", () => {
  it("must be in the list exactly: no prefix, no suffix, no other scheme, no other port", () => {
    const rules = { origins: ["https://app.example.org"], missingOrigin: "refuse" as const };
    expect(allowsOrigin({ origin: "https://app.example.org" }, rules)).toBe(true);
    for (const origin of [
      undefined,
      "",
      "null",
      "http://app.example.org",
      "https://app.example.org:8443",
      "https://app.example.org.evil.example",
      "https://evil.example/https://app.example.org",
      "https://xapp.example.org",
      "https://APP.example.org/",
    ]) {
      expect(allowsOrigin({ origin }, rules)).toBe(false);
    }
  });

  it("is refused at the upgrade with 403 when it is wrong or missing", async () => {
    await using server = await TestLiveServer.start({
      origins: ["https://app.example.org"],
      missingOrigin: "refuse",
    });
    await expect(RawSocket.open(server)).rejects.toThrow("403");
    await expect(RawSocket.open(server, { origin: "https://app.example.org.evil.example" })).rejects.toThrow(
      "403",
    );
    using socket = await RawSocket.open(server, { origin: "https://app.example.org" });
    await socket.hello();
    expect(server.live.stats()).toMatchObject({ connectionsRefused: 2, connectionsOpened: 1 });
  });

  it("may not be any when tokens are asked for", () => {
    const log = new MemoryChannelLog();
    const make = () => new LiveServer({ log, origins: "*", authenticate: async () => ({}) });
    expect(make).toThrow("origins");
  });
});

describe("tokens", () => {
  it("let in whoever has a valid one, and stop who has not for good", async () => {
    await using server = await guarded();
    using good = await RawSocket.open(server);
    await good.hello({ token: "ada:secret" });
    for (const hello of [{}, { token: "ada:wrong" }]) {
      using bad = await RawSocket.open(server);
      bad.send({ hello: { version: 2, ...hello } });
      expect((await bad.closed).code).toBe(4401);
      expect(bad.frames).toMatchObject([{ error: { code: "LIVE_UNAUTHENTICATED" } }]);
    }
  });

  it("are neither in an address nor in a log", async () => {
    logLines.length = 0;
    await using server = await guarded();
    const client = new BroadcastClient(server.url, {
      webSocket: WebSocket as never,
      tabs: false,
      getToken: () => "ada:not-the-secret",
    });
    client.connect();
    await vi.waitFor(() => expect(client.state).toBe("disconnected"));
    using bad = await RawSocket.open(server);
    bad.send({ hello: { version: 2, token: "bob:not-the-secret" }, subscribe: ["a"] });
    await bad.closed;
    expect(logLines.join()).not.toContain("not-the-secret");
    expect(server.url).not.toContain("secret");
  });

  it("must come in time: silent and simple connections are closed, to come back", async () => {
    await using server = await guarded({ authenticateWithinMs: 50 });
    using silent = await RawSocket.open(server);
    using simple = await RawSocket.open(server);
    simple.send({ subscribe: ["a"] });
    expect((await silent.closed).code).toBe(4005);
    expect((await simple.closed).code).toBe(4005);
    expect(server.live.channels).toEqual([]);
  });

  it("that cannot be checked just now send the client away to try again", async () => {
    await using server = await TestLiveServer.start({
      authenticate: async () => {
        throw new Error("the token service is down");
      },
    });
    using socket = await RawSocket.open(server);
    socket.send({ hello: { version: 2, token: "t" } });
    expect((await socket.closed).code).toBe(4003);
  });

  it("that expire without a refresh close the connection after the grace, to come back", async () => {
    const clock = new VirtualClock();
    await using server = await guarded({ expiryGraceMs: 50 }, 100, clock);
    using socket = await RawSocket.open(server);
    await socket.hello({ token: "ada:secret" });
    await clock.advance(149);
    await handled(socket);
    expect(socket.socket.readyState).toBe(socket.socket.OPEN);
    await clock.advance(1);
    expect((await socket.closed).code).toBe(4002);
  });

  it("can be refreshed on the open connection, which then lives on; another user's closes it", async () => {
    const clock = new VirtualClock();
    await using server = await guarded({ expiryGraceMs: 100 }, 150, clock);
    using socket = await RawSocket.open(server);
    await socket.hello({ token: "ada:secret" });
    for (let id = 1; id <= 4; id += 1) {
      await clock.advance(100);
      socket.send({ id, refresh: { token: "ada:secret" } });
      expect((await socket.frameWith("ok", id))["expiresAt"]).toBeGreaterThan(0);
    }
    expect(socket.socket.readyState).toBe(socket.socket.OPEN);
    socket.send({ id: 9, refresh: { token: "bob:secret" } });
    expect((await socket.closed).code).toBe(4403);
  });
});

describe("permissions", () => {
  it("refuse one channel and leave the others alone", async () => {
    await using server = await guarded({
      authorize: async ({ identity, channel }: { identity: { user?: string }; channel: string }) =>
        channel.startsWith(`${identity.user}:`),
    });
    using socket = await RawSocket.open(server);
    await socket.hello({ token: "ada:secret" });
    socket.send({ id: 1, subscribe: ["ada:orders", "bob:orders"] });
    expect((await socket.frameWith("ok", 1))["channels"]).toMatchObject([
      { channel: "ada:orders", state: "new" },
      { channel: "bob:orders", state: "refused", error: { code: "LIVE_FORBIDDEN", retryable: false } },
    ]);
    await server.live.broadcast("bob:orders", "private");
    await server.live.broadcast("ada:orders", "own");
    await socket.frameWith("event", "own");
    expect(JSON.stringify(socket.frames)).not.toContain("private");
  });

  it("that are gone at a refresh take their channel away, and no other", async () => {
    const allowed = new Set(["a", "b"]);
    await using server = await guarded({
      authorize: ({ channel }: { channel: string }) => allowed.has(channel),
    });
    using socket = await RawSocket.open(server);
    await socket.hello({ token: "ada:secret" });
    socket.send({ id: 1, subscribe: ["a", "b"] });
    await socket.frameWith("ok", 1);
    allowed.delete("a");
    socket.send({ id: 2, refresh: { token: "ada:secret" } });
    await socket.frameWith("ok", 2);
    expect(await socket.frameWith("error")).toMatchObject({
      channel: "a",
      error: { code: "LIVE_FORBIDDEN" },
    });
    expect(server.live.channels).toEqual(["b"]);
  });

  it("that take too long to decide are an error for that channel, to be tried again", async () => {
    await using server = await guarded({
      hookTimeoutMs: 30,
      authorize: () => new Promise<boolean>(() => undefined),
    });
    using socket = await RawSocket.open(server);
    await socket.hello({ token: "ada:secret" });
    socket.send({ id: 1, subscribe: ["a"] });
    expect((await socket.frameWith("ok", 1))["channels"]).toMatchObject([
      { state: "refused", error: { code: "KERNEL_TIMEOUT", retryable: true } },
    ]);
  });

  it("that name no instant as a token's end are a failure of the application, by the field's name", async () => {
    const said: unknown[] = [];
    const warn = (fields: object): void =>
      void said.push((fields as { err?: { field?: string } }).err?.field);
    await using server = await TestLiveServer.start({
      authenticate: async () => ({ user: "ada", expiresAt: Number.NaN }),
      logger: { ...silentLogger, warn },
    });
    using socket = await RawSocket.open(server);
    socket.send({ hello: { version: 2, token: "any" } });
    expect((await socket.closed).code).toBe(4003);
    expect(said).toEqual(["identity.expiresAt"]);
  });
});
