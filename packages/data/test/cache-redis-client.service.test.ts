import { createRedisStore } from "@holdfast/coordination/redis";
import { openRedis, RedisConnectError } from "@holdfast/data";
import { type RedisServer, startRedis, startRedisCluster, startRedisSentinel } from "@holdfast/testkit";
import { describeService, expectNoLeaks } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

describeService("redis", "the Redis client", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  describe("on one server", () => {
    expectNoLeaks();

    it("serves the leases and logs of coordination, through a restart of the server", async () => {
      await using redis = openRedis({ url: server.url });
      await using store = await createRedisStore({ redis, namespace: "from-data" });
      const first = await store.leases.grant("one", { owner: "a", ttlMs: 5_000 });
      expect(first.kind).toBe("granted");
      expect((await store.leases.grant("one", { owner: "b", ttlMs: 5_000 })).kind).toBe("held");
      await server.restart();
      // The scripts are gone with the server; they are sent again.
      await vi.waitFor(async () => {
        expect((await store.leases.grant("two", { owner: "b", ttlMs: 5_000 })).kind).toBe("granted");
      });
    });

    it("goes on listening after the connection was lost, and says that something may have been missed", async () => {
      await using redis = openRedis({ url: server.url });
      const heard: string[] = [];
      const onInterrupted = vi.fn();
      await using _subscription = await redis.subscribe(
        "news",
        (message) => heard.push(message),
        onInterrupted,
      );
      await server.command("PUBLISH", "news", "one");
      await vi.waitFor(() => expect(heard).toEqual(["one"]));
      expect(onInterrupted).not.toHaveBeenCalled();
      await server.command("CLIENT", "KILL", "TYPE", "pubsub");
      await vi.waitFor(async () => {
        await server.command("PUBLISH", "news", "two");
        expect(heard).toContain("two");
      });
      // When it was lost, and when it was there again.
      expect(onInterrupted.mock.calls.length).toBeGreaterThanOrEqual(2);
    });

    it("gives up a server that answers nothing, also while it subscribes", async () => {
      await using frozen = await startRedis();
      await using redis = openRedis({ url: frozen.url, answerTimeoutMs: 100 });
      const { link } = await redis.link("k");
      frozen.pause();
      try {
        await expect(link.subscribe("news", () => undefined)).rejects.toThrow();
        expect(link.isOpen).toBe(false);
      } finally {
        frozen.resume();
      }
      await vi.waitFor(async () => expect((await redis.link("k")).link.isOpen).toBe(true), {
        timeout: 5_000,
      });
    });

    it("fails at once, as retryable and without the password, where nobody listens or lets it in", async () => {
      await using nobody = openRedis({ url: "redis://user:secret@127.0.0.1:1" });
      const failure = await nobody.link("k").catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(RedisConnectError);
      expect(failure).toMatchObject({ retryable: true, code: "REDIS_CONNECT_FAILED" });
      expect(String(failure)).not.toContain("secret");
      expect(() => openRedis({ url: "http://user:secret@host" })).toThrow(/url must be redis:\/\//);
      expect(() => openRedis({ url: "http://user:secret@host" })).not.toThrow(/secret/);
      await using locked = await startRedis({ password: "right" });
      await using wrong = openRedis({ url: `redis://:wrong@127.0.0.1:${locked.port}` });
      await expect(wrong.link("k")).rejects.toThrow(RedisConnectError);
      await using right = openRedis({ url: locked.url });
      expect((await right.link("k")).info.role).toBe("master");
    });
  });

  it("finds the master that the sentinels name, also after another one took its place", async () => {
    await using sentinels = await startRedisSentinel();
    await using redis = openRedis({
      sentinelUrls: sentinels.sentinels.map(({ host, port }) => `redis://${host}:${port}`),
      masterName: sentinels.masterName,
    });
    const before = await redis.link("k");
    const master = await sentinels.master();
    expect(before.link.server).toBe(`127.0.0.1:${master.port}`);
    await master.kill();
    await vi.waitFor(
      async () => {
        const after = await redis.link("k");
        expect(after.link.server).not.toBe(before.link.server);
        expect(after.info).toMatchObject({ role: "master" });
        expect(after.info.incarnation).not.toBe(before.info.incarnation);
      },
      { timeout: 15_000, interval: 100 },
    );
  });

  it("asks the node of a cluster that serves a key", async () => {
    await using cluster = await startRedisCluster();
    await using redis = openRedis({ clusterUrls: cluster.urls.slice(0, 1) });
    const servers = new Set<string>();
    for (const key of ["a", "b", "c", "d", "{a}1"]) {
      const { link } = await redis.link(key);
      expect(await link.command(["SET", key, "1"])).toBe("OK");
      servers.add(link.server);
    }
    expect(servers.size).toBeGreaterThan(1);
    expect((await redis.link("{a}1")).link.server).toBe((await redis.link("a")).link.server);
  });
});
