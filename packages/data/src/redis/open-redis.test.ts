import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { openRedis, type Redis, type RedisOptions } from "./open-redis.ts";

type Answer = (command: readonly string[], socket: Socket) => string | undefined;

const bulk = (text: string): string => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
const array = (...texts: readonly string[]): string => `*${texts.length}\r\n${texts.map(bulk).join("")}`;
const HELLO = `%1\r\n${bulk("proto")}:3\r\n`;
const INFO = bulk(
  "redis_version:7.2.0\r\nredis_mode:standalone\r\nrun_id:a\r\nrole:master\r\nmaster_replid:b\r\n",
);

/** A server that says what the test wants, and HELLO, INFO and OK by itself. */
const startServer = async (answer: Answer = () => undefined) => {
  const sockets = new Set<Socket>();
  const started = { isDeaf: false };
  const server: Server = createServer((socket) => {
    if (started.isDeaf) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    let text = "";
    socket.on("data", (data) => {
      text += data.toString();
      for (;;) {
        const parts = text.split("\r\n");
        const count = Number(parts[0]?.slice(1));
        if (text === "" || parts.length < 2 * count + 2) return;
        const command = Array.from({ length: count }, (_, index) => parts[2 + 2 * index] ?? "");
        text = parts.slice(2 * count + 1).join("\r\n");
        const usual = command[0] === "HELLO" ? HELLO : command[0] === "INFO" ? INFO : "+OK\r\n";
        socket.write(answer(command, socket) ?? usual);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return Object.assign(started, { port, url: `redis://127.0.0.1:${port}`, sockets });
};

describe("the options of a Redis client", () => {
  it.each([
    ["connectTimeoutMs", -1],
    ["connectTimeoutMs", 0],
    ["connectTimeoutMs", Number.NaN],
    ["connectTimeoutMs", Number.POSITIVE_INFINITY],
    ["connectTimeoutMs", 2 ** 31],
    ["connectTimeoutMs", "100"],
    ["answerTimeoutMs", 9],
    ["answerTimeoutMs", Number.NaN],
    ["answerTimeoutMs", Number.NEGATIVE_INFINITY],
    ["answerTimeoutMs", 2 ** 31],
    ["masterName", ""],
  ])("are refused by name and value: %s %s", (field, value) => {
    const target = { sentinelUrls: ["redis://127.0.0.1:1"], masterName: "m" };
    expect(() => openRedis({ ...target, [field]: value } as RedisOptions)).toThrow(
      expect.objectContaining({
        code: "KERNEL_INVALID_INPUT",
        field,
        details: expect.objectContaining({
          value: typeof value === "number" ? String(value) : JSON.stringify(value),
        }),
      }),
    );
  });

  it("name the address that is wrong", () => {
    expect(() => openRedis({ clusterUrls: ["redis://a", "b"] })).toThrow(
      expect.objectContaining({ field: "clusterUrls[1]" }),
    );
  });
});

describe("a Redis client with Sentinels", () => {
  it("asks the next Sentinel when the master that one names is gone", async () => {
    const gone = await new Promise<number>((resolve) => {
      const server = createServer().listen(0, "127.0.0.1", () => {
        const { port } = server.address() as { port: number };
        server.close(() => resolve(port));
      });
    });
    const master = await startServer();
    const naming = (port: number): Promise<{ url: string }> =>
      startServer(([name]) => (name === "SENTINEL" ? array("127.0.0.1", String(port)) : undefined));
    const late = await naming(gone);
    const right = await naming(master.port);
    await using redis = openRedis({ sentinelUrls: [late.url, right.url], masterName: "m" });
    expect((await redis.link("k")).link.server).toBe(`127.0.0.1:${master.port}`);
  });

  /** A Sentinel: what it says may be changed. */
  const startSentinel = async (says: { port: number; epoch: number }) => {
    const server = await startServer(([name, question]) => {
      if (name !== "SENTINEL") return undefined;
      const { port, epoch } = says;
      return question === "MASTER"
        ? `%2\r\n${bulk("name")}${bulk("m")}${bulk("config-epoch")}${bulk(String(epoch))}`
        : array("127.0.0.1", String(port));
    });
    return Object.assign(server, { says });
  };
  const serverOf = async (redis: Redis): Promise<string> => (await redis.link("k")).link.server;

  it("takes the newest configuration, also when Sentinels that are behind and the old master say otherwise", async () => {
    const [old, present] = [await startServer(), await startServer()];
    const behind = { port: old.port, epoch: 9 };
    const sentinels = [
      await startSentinel(behind),
      await startSentinel(behind),
      await startSentinel({ port: present.port, epoch: 10 }),
    ];
    await using redis = openRedis({ sentinelUrls: sentinels.map(({ url }) => url), masterName: "m" });
    expect(await serverOf(redis)).toBe(`127.0.0.1:${present.port}`);
    expect(old.sockets.size).toBe(0);
  });

  it("leaves a master that goes on calling itself so once a Sentinel tells of a newer one", async () => {
    const [old, present] = [await startServer(), await startServer()];
    const sentinels = [
      await startSentinel({ port: old.port, epoch: 1 }),
      await startSentinel({ port: old.port, epoch: 1 }),
    ];
    await using redis = openRedis({ sentinelUrls: sentinels.map(({ url }) => url), masterName: "m" });
    expect(await serverOf(redis)).toBe(`127.0.0.1:${old.port}`);
    Object.assign(sentinels[1]?.says ?? {}, { port: present.port, epoch: 2 });
    await vi.waitFor(async () => expect(await serverOf(redis)).toBe(`127.0.0.1:${present.port}`), {
      timeout: 10_000,
    });
    expect(old.sockets.size).toBe(0);
  });

  it("is not led back by a Sentinel that is behind, but by most of them when they were set up anew", async () => {
    const [old, present] = [await startServer(), await startServer()];
    const behind = await startSentinel({ port: old.port, epoch: 1 });
    const right = await startSentinel({ port: present.port, epoch: 2 });
    await using redis = openRedis({ sentinelUrls: [behind.url, right.url], masterName: "m" });
    expect(await serverOf(redis)).toBe(`127.0.0.1:${present.port}`);
    right.isDeaf = true;
    for (const socket of [...right.sockets, ...present.sockets]) socket.destroy();
    await vi.waitFor(
      () =>
        expect(serverOf(redis)).rejects.toMatchObject({
          code: "REDIS_CONNECT_FAILED",
          message: expect.stringContaining("behind"),
        }),
      { timeout: 10_000 },
    );
    expect(old.sockets.size).toBe(0);
    Object.assign(right.says, { port: old.port, epoch: 0 });
    right.isDeaf = false;
    await vi.waitFor(async () => expect(await serverOf(redis)).toBe(`127.0.0.1:${old.port}`), {
      timeout: 10_000,
    });
  });

  it("does not wait for a Sentinel that is silent once most have answered", async () => {
    const master = await startServer();
    const silent = await startServer(([name]) => (name === "SENTINEL" ? "" : undefined));
    const says = { port: master.port, epoch: 1 };
    const sentinelUrls = [silent.url, (await startSentinel(says)).url, (await startSentinel(says)).url];
    await using redis = openRedis({ sentinelUrls, masterName: "m", answerTimeoutMs: 3_600_000 });
    expect(await serverOf(redis)).toBe(`127.0.0.1:${master.port}`);
  });

  it("leaves no connection when it is closed while it looks for the master", async () => {
    let closing: Promise<void> | undefined;
    const master = await startServer();
    const sentinel = await startServer(([name]) => {
      if (name !== "SENTINEL") return undefined;
      closing = redis.close();
      return array("127.0.0.1", String(master.port));
    });
    const redis = openRedis({ sentinelUrls: [sentinel.url], masterName: "m" });
    await expect(redis.link("k")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    await closing;
    expect(master.sockets.size).toBe(0);
  });
});

describe("a subscription", () => {
  it("that ends while it is taken up again on a new connection ends there too", async () => {
    const seen: string[] = [];
    const held: (() => void)[] = [];
    const push = (kind: string): string => `>3\r\n${bulk(kind)}${bulk("c")}:1\r\n`;
    const server = await startServer(([name = ""], socket) => {
      if (name !== "subscribe" && name !== "unsubscribe") return undefined;
      seen.push(name);
      if (seen.length !== 2) return push(name);
      held.push(() => socket.write(push("subscribe")));
      return "";
    });
    await using redis = openRedis({ url: server.url, answerTimeoutMs: 2_000 });
    const interruptions: string[] = [];
    const subscription = await redis.subscribe(
      "c",
      () => undefined,
      () => interruptions.push("interrupted"),
    );
    for (const socket of server.sockets) socket.destroy();
    await vi.waitFor(() => expect(held.length).toBe(1), { timeout: 5_000 });
    await subscription[Symbol.asyncDispose]();
    held[0]?.();
    await vi.waitFor(() => expect(seen).toEqual(["subscribe", "subscribe", "unsubscribe"]), {
      timeout: 3_000,
    });
    expect(interruptions).toEqual(["interrupted"]);
  });
});
