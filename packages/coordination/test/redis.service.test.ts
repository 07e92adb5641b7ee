import { createRedisStore, type FastStore } from "@holdfast/coordination/redis";
import { leaseLinesSuite, leasesSuite, locksSuite, logSuite } from "@holdfast/coordination/testing";
import { InvalidInputError } from "@holdfast/kernel";
import { startRedis, startRedisCluster } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { openRedis, openRedisCluster } from "./redis-client.ts";
import { elapseInLeases } from "./redis-elapse.ts";
import { suiteRedis } from "./suite-redis.ts";

describeService("redis", "the Redis store", () => {
  const shared = suiteRedis();
  let count = 0;

  const setUp = async () => {
    count += 1;
    const namespace = `store-${count}`;
    const store = await createRedisStore({ redis: shared.redis, namespace });
    return {
      store,
      elapse: (ms: number) => elapseInLeases(shared.server, namespace, ms),
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  leasesSuite(setUp);
  leaseLinesSuite(setUp);
  logSuite(setUp);
  locksSuite(setUp);

  describe("what Redis adds", () => {
    const fresh = async (): Promise<FastStore> => (await setUp()).store;

    it("tells a reader when the server evicted entries, instead of skipping them", async () => {
      await using store = await fresh();
      const [first] = await store.log.append([1, 2, 3].map((payload) => ({ stream: "s", payload })));
      await shared.server.command("XDEL", `{store-${count}}:log:s`, "2-0");
      const read = await store.log.read("s", { after: first });
      expect(read).toMatchObject({ kind: "reset", reason: "trimmed", bounds: { trimmedTo: 2n } });
      await shared.server.command("DEL", `{store-${count}}:log:s`);
      expect(await store.log.read("s")).toMatchObject({ kind: "reset", bounds: { trimmedTo: 3n } });
    });

    it("tells a reader of entries that cannot be read or are missing, and brings all the others", async () => {
      await using store = await fresh();
      await store.log.append([1, 2, 3, 4, 5, 6, 7].map((payload) => ({ stream: "s", payload })));
      const log = `{store-${count}}:log:s`;
      const stored = (await shared.server.command("XRANGE", log, "-", "+")) as [string, string[]][];
      await shared.server.command("DEL", log);
      for (const [id, fields] of stored) {
        if (id === "6-0") continue;
        const damaged = ["2-0", "3-0"].includes(id);
        await shared.server.command("XADD", log, id, ...(damaged ? fields.with(1, "gar bage") : fields));
      }
      const items: unknown[] = [];
      const tail = store.log.tail("s", { signal: AbortSignal.timeout(10_000) });
      for await (const item of tail) {
        items.push(
          item.kind === "entries" ? item.entries.map(({ payload }) => payload) : item.bounds.trimmedTo,
        );
        if (items.flat().includes(7)) break;
      }
      expect(items).toEqual([[1], 3n, [4, 5], 6n, [7]]);
    });

    it("grows tokens and changes epochs also when the server lost everything", async () => {
      await using store = await fresh();
      const before = await store.leases.grant("a", { owner: "a", ttlMs: 1000 });
      const [old] = await store.log.append([{ stream: "s", payload: 1 }]);
      await shared.server.command("FLUSHALL");
      const after = await store.leases.grant("a", { owner: "a", ttlMs: 1000 });
      const [renewed] = await store.log.append([{ stream: "s", payload: 1 }]);
      if (before.kind !== "granted" || after.kind !== "granted") throw new Error("not granted");
      expect(after.grant.token).toBeGreaterThan(before.grant.token);
      expect(renewed?.epoch).toBeGreaterThan(old?.epoch as bigint);
      expect(await store.log.read("s", { after: old })).toMatchObject({ reason: "epoch-changed" });
    });

    it("leaves nothing of leases that are long over", async () => {
      await using store = await fresh();
      for (let index = 0; index < 10; index += 1) {
        await store.leases.grant(`once-${index}`, { owner: "a", ttlMs: 1000 });
      }
      const { leases } = store;
      await leases
        .standInLine?.("once-1", { owner: "b", ttlMs: 1000, requestId: "r", onNews: () => {} })
        .look();
      await elapseInLeases(shared.server, `store-${count}`, 2 * 86_400_000);
      await using next = await createRedisStore({ redis: shared.redis, namespace: `store-${count}` });
      await next.leases.grant("other", { owner: "a", ttlMs: 1000 });
      // The last token, and the one lease.
      await vi.waitFor(async () =>
        expect(await shared.server.command("HLEN", `{store-${count}}:leases`)).toBe(2),
      );
    });

    it("takes a lease whose record is damaged for a lapsed one", async () => {
      await using store = await fresh();
      await store.leases.grant("a", { owner: "a", ttlMs: 60_000 });
      await shared.server.command("HSET", `{store-${count}}:leases`, "a", "gar bage");
      expect(await store.leases.read("a")).toBeUndefined();
      expect(await store.leases.list("")).toEqual([]);
      expect(await store.leases.release({ name: "a", token: 1n })).toBe(false);
      expect((await store.leases.grant("a", { owner: "b", ttlMs: 60_000 })).kind).toBe("granted");
      expect((await store.leases.read("a"))?.owner).toBe("b");
    });

    it("has no transactions, and says so", async () => {
      await using store = await fresh();
      const tx = {} as never;
      await expect(store.leases.assertFence({ name: "a", token: 1n }, tx)).rejects.toThrow(InvalidInputError);
      await expect(store.leases.nextToken(tx)).rejects.toThrow(InvalidInputError);
    });

    it("calls an outage an outage", async () => {
      await using own = await startRedis();
      await using client = await openRedis(own.url);
      await using store = await createRedisStore({ redis: client });
      await store.leases.read("a");
      await own.kill();
      await expect(store.leases.read("a")).rejects.toMatchObject({ code: "COORDINATION_STORE_UNAVAILABLE" });
      await expect(store.log.append([{ stream: "s", payload: 1 }])).rejects.toMatchObject({
        code: "KERNEL_OUTCOME_UNKNOWN",
      });
    });
  });
});

describeService("redis", "the Redis store on a cluster", () => {
  it("keeps everything of a store in one slot, and wakes followers through any node", async () => {
    await using cluster = await startRedisCluster();
    await using redis = await openRedisCluster(cluster.urls[0] as string);
    await using store = await createRedisStore({ redis });
    const tail = store.log
      .tail("a", { signal: AbortSignal.timeout(10_000), pollMs: 3_600_000 })
      [Symbol.asyncIterator]();
    const next = tail.next();
    await store.log.append(["a", "b", "c"].map((stream) => ({ stream, payload: stream })));
    expect((await next).value).toMatchObject({ entries: [{ payload: "a" }] });
    await tail.return?.();
    const names = ["one", "two", "three"];
    for (const name of names) await store.leases.grant(name, { owner: "me", ttlMs: 60_000 });
    expect((await store.leases.list("")).map(({ name }) => name)).toEqual([...names].sort());
    expect(await store.leases.revokeAll()).toBe(3);
    await store.log.delete(["a", "b", "c"]);
    expect((await store.log.bounds("a")).head.offset).toBe(0n);
  });
});
