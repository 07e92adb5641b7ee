import type { CoordinationStore } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";
import { openRedis } from "./redis-client.ts";

const UNAVAILABLE = { code: "COORDINATION_STORE_UNAVAILABLE", retryable: true };

/** Every kind of write says that the store is away: none is taken for "empty", "busy" or done. */
const refuseEveryWrite = async (
  store: Pick<CoordinationStore<never>, "leases" | "log" | "states" | "queue">,
): Promise<void> => {
  const queue = store.queue("q");
  await expect(store.leases.grant("new", { owner: "a", ttlMs: 60_000 })).rejects.toMatchObject(UNAVAILABLE);
  await expect(queue.enqueue([{ type: "t", payload: 1 }])).rejects.toMatchObject(UNAVAILABLE);
  const many = Array.from({ length: 100 }, () => ({ type: "t", payload: "long ".repeat(400) }));
  await expect(queue.enqueue(many)).rejects.toMatchObject(UNAVAILABLE);
  await expect(queue.claim({ worker: "w", maxCount: 1, leaseMs: 60_000 })).rejects.toMatchObject(UNAVAILABLE);
  await expect(store.log.append([{ stream: "s", payload: 1 }])).rejects.toMatchObject(UNAVAILABLE);
  await expect(store.states.write("ns", [{ key: "k", kind: "set", value: 1 }])).rejects.toMatchObject(
    UNAVAILABLE,
  );
};

describe("a store that takes no writes", () => {
  describeService("postgres", "because PostgreSQL is read-only", () => {
    it("says that it is away, and is still read from", async () => {
      await using server = await startPostgres();
      await using sql = openPg(server.url, 2);
      await using willing = await createPostgresStore({ sql });
      await willing.leases.grant("held", { owner: "me", ttlMs: 60_000 });
      await willing.queue("q").enqueue([{ type: "t", payload: 1 }]);
      const readOnly = encodeURIComponent("-c default_transaction_read_only=on");
      await using reader = openPg(`${server.url}?options=${readOnly}`, 2);
      await using store = await createPostgresStore({ sql: reader });
      await refuseEveryWrite(store as never);
      expect((await store.leases.read("held"))?.owner).toBe("me");
      expect((await store.queue("q").stats()).pending).toBe(1);
    });
  });

  describeService("redis", "because Redis is a replica, or full", () => {
    it("says that it is away, and is still read from", async () => {
      await using server = await startRedis();
      await using replica = await startRedis();
      await using redis = await openRedis(server.url);
      await using store = await createRedisStore({ redis });
      await store.leases.grant("held", { owner: "me", ttlMs: 60_000 });
      await store.queue("q").enqueue([{ type: "t", payload: 1 }]);
      await replica.command("REPLICAOF", "127.0.0.1", server.port);
      await using reader = await openRedis(replica.url);
      await using copy = await createRedisStore({ redis: reader });
      await vi.waitFor(async () => expect(await copy.leases.read("held")).toBeDefined());
      await refuseEveryWrite(copy as never);
      expect((await copy.queue("q").stats()).pending).toBe(1);

      await server.command("CONFIG", "SET", "maxmemory", 1);
      await refuseEveryWrite(store as never);
      expect((await store.leases.read("held"))?.owner).toBe("me");
      await server.command("CONFIG", "SET", "maxmemory", 0);
      expect(await store.queue("q").claim({ worker: "w", maxCount: 9, leaseMs: 60_000 })).toHaveLength(1);
    });
  });
});

describeService("redis", "a store in Redis that a newer program has laid out", () => {
  it("is touched by no operation, and is used again as soon as it is one that this program knows", async () => {
    await using server = await startRedis();
    await using redis = await openRedis(server.url);
    await server.command("SET", "{holdfast}:format", 99);
    await using store = await createRedisStore({ redis });
    const queue = store.queue("q");
    const many = Array.from({ length: 100 }, () => ({ type: "t", payload: "long ".repeat(400) }));
    const refused = { code: "COORDINATION_SCHEMA_TOO_NEW", retryable: false };
    await expect(queue.enqueue([{ type: "t", payload: 1 }])).rejects.toMatchObject(refused);
    await expect(queue.enqueue(many)).rejects.toMatchObject(refused);
    await expect(queue.stats()).rejects.toMatchObject(refused);
    await expect(store.leases.grant("l", { owner: "a", ttlMs: 60_000 })).rejects.toMatchObject(refused);
    await expect(store.log.append([{ stream: "s", payload: 1 }])).rejects.toMatchObject(refused);
    await expect(store.states.write("n", [{ key: "k", kind: "set", value: 1 }])).rejects.toMatchObject(
      refused,
    );
    expect(await server.command("KEYS", "*")).toEqual(["{holdfast}:format"]);

    await server.command("DEL", "{holdfast}:format");
    await queue.enqueue([{ type: "t", payload: 1 }]);
    expect(await server.command("GET", "{holdfast}:format")).toBe("1");
    expect((await queue.stats()).pending).toBe(1);
  });
});
