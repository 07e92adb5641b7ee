import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { UnauthenticatedError } from "../src/model/index.ts";
import { LiveServer, MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer, type TestLiveServerOptions } from "../src/testing/index.ts";
import { RawSocket } from "./raw-socket.ts";

const open: TestLiveServerOptions = { authorize: () => true };

const post = async (
  server: TestLiveServer,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
) => {
  const response = await fetch(server.httpUrl + path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const answer = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
  return { status: response.status, answer, retryAfter: response.headers.get("retry-after") };
};

expectNoLeaks();

describe("publishing over HTTP", () => {
  it("answers status, channel, event, count, id and position, for either spelling of the event's name", async () => {
    await using server = await TestLiveServer.start(open);
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["order"] });
    await vi.waitFor(() => expect(server.live.subscriberCount("order")).toBe(1));
    for (const [index, key] of ["event", "event_type"].entries()) {
      const body = { channel: "order", [key]: "created", payload: { entity_id: "1" } };
      const { status, answer } = await post(server, "/broadcast", body);
      expect(status).toBe(200);
      expect(answer).toMatchObject({
        status: "broadcasted",
        channel: "order",
        event: "created",
        subscriberCount: 1,
        offset: `${index + 1}`,
      });
      expect(answer["id"]).toMatch(/^e-/);
    }
    await vi.waitFor(() => expect(socket.frames).toHaveLength(2));
  });

  it("refuses a bad shape with 422, an oversize event with 413, another type with 415, and publishes nothing", async () => {
    await using server = await TestLiveServer.start({
      ...open,
      limits: { eventMaxBytes: 2_000 },
      queueMaxBytes: 10_000,
    });
    const bad = [
      "{",
      "[]",
      {},
      { channel: "a" },
      { channel: "a", event: "" },
      { channel: "", event: "e" },
      { channel: "a".repeat(256), event: "e" },
      { channel: "a", event: "e", payload: [1] },
    ];
    for (const body of bad) expect((await post(server, "/broadcast", body)).status).toBe(422);
    const large = { channel: "a", event: "e", payload: { text: "x".repeat(3_000) } };
    expect(await post(server, "/broadcast", large)).toMatchObject({
      status: 413,
      answer: { error: { code: "LIVE_EVENT_TOO_LARGE" } },
    });
    const huge = { channel: "a", event: "e", payload: { text: "x".repeat(100_000) } };
    expect((await post(server, "/broadcast", huge)).status).toBe(413);
    expect((await post(server, "/broadcast", "{}", { "content-type": "text/plain" })).status).toBe(415);
    expect((await server.log.bounds("a")).head.offset).toBe(0n);
  });

  it("takes one event for one idempotency key, and answers the same again", async () => {
    await using server = await TestLiveServer.start(open);
    const body = { channel: "a", event: "e" };
    const first = await post(server, "/broadcast", body, { "idempotency-key": "k1" });
    const again = await post(server, "/broadcast", body, { "idempotency-key": "k1" });
    const inBody = await post(server, "/broadcast", { ...body, idempotencyKey: "k1" });
    expect(again).toEqual(first);
    expect(inBody).toEqual(first);
    expect((await server.log.bounds("a")).head.offset).toBe(1n);
    expect(server.live.stats().eventsIn).toBe(1);
  });

  it("takes a batch in order, all or nothing", async () => {
    await using server = await TestLiveServer.start({ authorize: ({ channel }) => channel !== "closed" });
    const events = [1, 2, 3].map((n) => ({ channel: "a", event: "e", payload: { n } }));
    const { answer } = await post(server, "/broadcast/batch", { events }, { "idempotency-key": "b" });
    expect(answer["events"]).toMatchObject([{ offset: "1" }, { offset: "2" }, { offset: "3" }]);
    await post(server, "/broadcast/batch", { events }, { "idempotency-key": "b" });
    const mixed = { events: [events[0], { channel: "closed", event: "e" }] };
    expect((await post(server, "/broadcast/batch", mixed)).status).toBe(403);
    expect((await post(server, "/broadcast/batch", { events: [] })).status).toBe(422);
    expect((await server.log.bounds("a")).head.offset).toBe(3n);
  });

  it("asks for a token and the permission, and copies who caused it from the headers", async () => {
    await using server = await TestLiveServer.start({
      authenticate: async ({ token }) => {
        if (token !== "t") throw new UnauthenticatedError("unknown token");
        return { user: "ada" };
      },
      authorize: ({ channel }) => channel === "a",
    });
    const body = { channel: "a", event: "e" };
    expect((await post(server, "/broadcast", body)).status).toBe(401);
    const authorization = "Bearer t";
    expect((await post(server, "/broadcast", { ...body, channel: "b" }, { authorization })).status).toBe(403);
    const origin = { "x-live-client": "b-1", "x-live-mutation": "m-1" };
    expect((await post(server, "/broadcast", body, { authorization, ...origin })).status).toBe(200);
    const { head } = await server.log.bounds("a");
    const read = await server.log.read("a", { after: { ...head, offset: 0n } });
    expect(read).toMatchObject({ events: [{ origin: { client: "b-1", mutation: "m-1" } }] });
  });

  it("refuses everybody unless publishing was permitted, and pages of other origins always", async () => {
    await using closed = await TestLiveServer.start();
    expect((await post(closed, "/broadcast", { channel: "a", event: "e" })).status).toBe(403);
    await using server = await TestLiveServer.start({ ...open, origins: ["https://app.example.org"] });
    const body = { channel: "a", event: "e" };
    expect((await post(server, "/broadcast", body, { origin: "https://evil.example" })).status).toBe(403);
    expect((await post(server, "/broadcast", body, { origin: "https://app.example.org" })).status).toBe(200);
  });

  it("tells a publisher over its rate when to come back", async () => {
    await using server = await TestLiveServer.start({ ...open, publishWaitMs: () => 2_500 });
    expect(await post(server, "/broadcast", { channel: "a", event: "e" })).toMatchObject({
      status: 429,
      retryAfter: "3",
    });
  });
});

describe("health", () => {
  it("is ok while the backend works, and 503 when it does not", async () => {
    await using server = await TestLiveServer.start();
    const healthy = await fetch(`${server.httpUrl}/health`);
    expect([healthy.status, ((await healthy.json()) as { status: string }).status]).toEqual([200, "ok"]);
    await server.log.close();
    const degraded = await fetch(`${server.httpUrl}/health`);
    expect(degraded.status).toBe(503);
    expect(await degraded.json()).toMatchObject({ status: "degraded", error: { code: "KERNEL_CLOSED" } });
  });
});

describe("the server itself", () => {
  it("has no test route, and leaves other requests to others", async () => {
    await using log = new MemoryChannelLog();
    await using live = new LiveServer({ log, origins: [] });
    for (const [method, url] of [
      ["POST", "/test/broadcast"],
      ["GET", "/broadcast"],
      ["GET", "/"],
    ]) {
      expect(live.handle({ method, url } as never, {} as never)).toBe(false);
    }
  });

  it("fails every use after close, ends all connections, and the health follows", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    await server.live.close();
    expect((await socket.closed).code).toBe(4000);
    await expect(server.live.broadcast("a", "e")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    await expect(server.live.subscribe("a", () => undefined)).rejects.toMatchObject({
      code: "KERNEL_CLOSED",
    });
    expect(server.live.stats().connectionCount).toBe(0);
  });

  it("is not disturbed by a handler that throws, nor are the other handlers, the publisher and the clients", async () => {
    await using server = await TestLiveServer.start();
    const seen: string[] = [];
    await server.live.subscribe("a", () => {
      throw new Error("broken");
    });
    await server.live.subscribe("a", async () => {
      throw new Error("broken later");
    });
    await server.live.subscribe("a", ({ event }) => {
      seen.push(event);
    });
    using socket = await RawSocket.open(server);
    socket.send({ subscribe: ["a"] });
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(4));
    await server.live.broadcast("a", "one");
    await vi.waitFor(() => expect(seen).toEqual(["one"]));
    await socket.frameWith("event", "one");
  });

  it("lets one of several handlers on a channel leave", async () => {
    await using server = await TestLiveServer.start();
    const seen: string[] = [];
    const leave = await server.live.subscribe("a", () => void seen.push("leaving"));
    await server.live.subscribe("a", () => void seen.push("staying"));
    leave();
    leave();
    await server.live.broadcast("a", "e");
    await vi.waitFor(() => expect(seen).toEqual(["staying"]));
  });

  it("does not fail a mutation whose broadcast failed", async () => {
    await using log = new MemoryChannelLog();
    await using live = new LiveServer({ log, origins: [] });
    await log.close();
    await expect(live.broadcast("a", "e")).rejects.toThrow("closed");
    expect(await live.announce("a", "e")).toBeUndefined();
  });

  it("refuses payloads that are no plain JSON objects, and events that are too large", async () => {
    await using log = new MemoryChannelLog();
    await using live = new LiveServer({ log, origins: [] });
    const loop: Record<string, unknown> = {};
    loop["loop"] = loop;
    await expect(live.broadcast("a", "e", loop)).rejects.toMatchObject({ code: "LIVE_INVALID_MESSAGE" });
    await expect(live.broadcast("a", "e", [] as never)).rejects.toMatchObject({
      code: "LIVE_INVALID_MESSAGE",
    });
    await expect(live.broadcast("", "e")).rejects.toMatchObject({ code: "LIVE_INVALID_CHANNEL" });
    const text = "ü".repeat(131_072);
    await expect(live.broadcast("a", "e", { text })).rejects.toMatchObject({ code: "LIVE_EVENT_TOO_LARGE" });
  });

  it("counts connections, subscriptions, events, bytes, queues and recoveries", async () => {
    await using server = await TestLiveServer.start();
    using socket = await RawSocket.open(server);
    await socket.hello();
    socket.send({ id: 1, subscribe: ["a", "b"] });
    await socket.frameWith("ok", 1);
    await server.live.broadcast("a", "one");
    await socket.frameWith("event", "one");
    expect(server.live.stats()).toMatchObject({
      connectionCount: 1,
      subscriptionCount: 2,
      channelCount: 2,
      queuedBytes: 0,
      eventsIn: 1,
      eventsOut: 1,
      slowCloses: 0,
      recoveries: 0,
      resets: 0,
    });
    expect(server.live.stats().bytesIn).toBeGreaterThan(20);
    expect(server.live.stats().bytesOut).toBeGreaterThan(200);
  });
});
