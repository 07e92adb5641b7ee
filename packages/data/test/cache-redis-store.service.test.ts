import { openCache } from "@holdfast/data";
import { seededRandom, systemClock, systemRandom } from "@holdfast/kernel";
import { type RedisServer, startRedis, startRedisCluster } from "@holdfast/testkit";
import { describeService, expectNoLeaks } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { RedisPartition } from "../src/cache/redis-partition.ts";
import { readCacheScripts } from "../src/cache/redis-scripts.ts";
import type { SharedStore } from "../src/cache/shared-store.ts";
import { openRedis, type RedisOptions } from "../src/redis/open-redis.ts";
import { readOne, type StoreSetUp, sharedStoreSuite } from "./cache-store.suite.ts";

let slotCount = 0;
const setUpOn = async (
  target: RedisOptions,
  command: (...args: readonly (string | number)[]) => Promise<unknown>,
): Promise<StoreSetUp> => {
  const scripts = await readCacheScripts();
  const random = seededRandom(slotCount);
  const opened: AsyncDisposable[] = [];
  const stores: RedisPartition[] = [];
  slotCount += 1;
  const slot = `store-${slotCount}`;
  return {
    open() {
      // A connection of its own, as another process has.
      const redis = openRedis(target);
      opened.push(redis);
      const store = new RedisPartition({
        redis,
        scripts,
        slot,
        tagKeepMs: 3_600_000,
        clock: systemClock,
        random,
      });
      stores.push(store);
      return store;
    },
    // What was published before the answer to a command comes before that answer.
    settle: async () => {
      await Promise.all(stores.map((store) => readOne(store, { key: "any", tags: [] })));
    },
    endLease: async (key) => {
      await command("DEL", `{${slot}}:l:${key}`);
    },
    [Symbol.asyncDispose]: async () => {
      for (const store of stores) await store.close();
      for (const each of opened) await each[Symbol.asyncDispose]();
    },
  };
};

describeService("redis", "the shared store in Redis", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  it("grants a lease of any length, also of a fraction of a millisecond more", async () => {
    await using world = await setUpOn({ url: server.url }, (...args) => server.command(...args.map(String)));
    const claim = await world.open().claim({ key: "k", tags: [] }, { leaseMs: 1_000 / 3 });
    expect(claim.kind).toBe("granted");
  });

  it("listens to nothing any more once a cache is closed, though the connection stays", async () => {
    await using redis = openRedis({ url: server.url });
    const cache = await openCache({ name: "closed", redis });
    const listenerCount = async () =>
      /\d+$/.exec(String(await server.command("PUBSUB", "NUMSUB", "{closed.0}:feed")).trim())?.[0];
    expect(await listenerCount()).toBe("1");
    await cache.close();
    expect(await listenerCount()).toBe("0");
  });
  const setUp = () => setUpOn({ url: server.url }, (...args) => server.command(...args));

  describe("by the rules of every store", () => {
    expectNoLeaks();
    sharedStoreSuite(setUp);
  });

  describe("what Redis adds", () => {
    const k = { key: "k", tags: ["t"] };
    const entry = { payload: "j1", freshMs: 60_000, keepMs: 60_000 };
    const fill = async (store: SharedStore): Promise<void> => {
      const claim = await store.claim(k, { leaseMs: 10_000 });
      if (claim.kind === "granted") await store.fill(k, claim.ticket, entry);
    };

    it("makes an entry a miss when any of its guards was evicted", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const evict = (name: string) => server.command("DEL", `{store-${slotCount}}:${name}`);
      await fill(store);
      expect((await readOne(store, k))?.payload).toBe("j1");
      await evict("t:t");
      expect(await readOne(store, k)).toBeUndefined();
      await fill(store);
      await evict("state");
      // Whoever wants to add or to take away finds out, and begins anew.
      const claim = await store.claim({ key: "other", tags: [] }, { leaseMs: 1_000 });
      expect(claim.kind).toBe("granted");
      expect(await readOne(store, k)).toBeUndefined();
      await fill(store);
      await evict("gen");
      await evict("state");
      expect(await readOne(store, k)).toBeUndefined();
      await fill(store);
      // The state knows it all: this one alone is made again.
      await evict("gen");
      expect((await readOne(store, k))?.payload).toBe("j1");
    });

    it("invalidates on a server that is full and refuses to write", async () => {
      await using full = await startRedis({
        settings: { maxmemory: "4mb", "maxmemory-policy": "noeviction" },
      });
      await using shared = await setUpOn({ url: full.url }, (...args) => full.command(...args));
      const store = shared.open();
      await fill(store);
      await full.command("CONFIG", "SET", "maxmemory", "1mb");
      await expect(store.claim({ key: "x", tags: [] }, { leaseMs: 1_000 })).rejects.toThrow(
        /cannot be reached/,
      );
      expect((await readOne(store, k))?.payload).toBe("j1");
      await store.invalidate({ keys: ["k"], tags: [] }).catch(() => undefined);
      const read = await readOne(store, k).catch(() => undefined);
      expect(read).toBeUndefined();
      await full.command("CONFIG", "SET", "maxmemory", "0");
      expect(await readOne(store, k)).toBeUndefined();
    });

    it("resyncs a process that missed messages, and resets one that missed more than are kept", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      await two.sync();
      const kinds: string[] = [];
      // As if its messages were lost: it only learns what a sync tells.
      two.listen((event) => kinds.push(event.kind));
      await Promise.all(
        Array.from({ length: 3 }, (_, index) => one.invalidate({ keys: [`a${index}`], tags: [] })),
      );
      await two.sync();
      expect(kinds).not.toContain("reset");
      await server.command("DEL", `{store-${slotCount}}:log`);
      await server.command("HINCRBY", `{store-${slotCount}}:state`, "events", 2);
      await two.sync();
      expect(kinds).toContain("reset");
    });

    it("starts over after the server was restarted, though its disk brings everything back", async () => {
      await using durable = await startRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
      await using shared = await setUpOn({ url: durable.url }, (...args) => durable.command(...args));
      const store = shared.open();
      await fill(store);
      await durable.restart();
      await vi.waitFor(async () => expect(await readOne(store, k)).toBeUndefined());
      const held = String(await durable.command("GET", `{store-${slotCount}}:e:k`));
      expect(held).toContain("j1");
      await fill(store);
      expect((await readOne(store, k))?.payload).toBe("j1");
    });
  });
});

describeService("redis", "the shared store in a Redis Cluster", () => {
  it("keeps each partition by the same rules, wherever its slot lies, also when its master dies", async () => {
    await using cluster = await startRedisCluster({ replicasPerMaster: 1 });
    const target = { clusterUrls: cluster.urls.slice(0, 2) };
    await using redis = openRedis(target);
    const scripts = await readCacheScripts();
    const partitions = Array.from(
      { length: 6 },
      (_, index) =>
        new RedisPartition({
          redis,
          scripts,
          slot: `c.${index}`,
          tagKeepMs: 3_600_000,
          clock: systemClock,
          random: systemRandom,
        }),
    );
    const k = { key: "k", tags: ["t"] };
    const fill = async (store: SharedStore): Promise<void> => {
      const claim = await store.claim(k, { leaseMs: 10_000 });
      if (claim.kind === "granted") {
        await store.fill(k, claim.ticket, { payload: "j1", freshMs: 60_000, keepMs: 60_000 });
      }
    };
    const servers = new Set<string>();
    for (const [index, store] of partitions.entries()) {
      await fill(store);
      expect((await readOne(store, k))?.payload).toBe("j1");
      servers.add((await redis.link(`{c.${index}}`)).link.server);
    }
    expect(servers.size).toBeGreaterThan(1);
    const [victimName] = servers;
    await cluster.nodes.find(({ port }) => victimName?.endsWith(`:${port}`))?.kill();
    for (const store of partitions) {
      // What a promoted replica has may lack invalidations: it is nothing. What lives on stays.
      await vi.waitFor(() => store.sync(), { timeout: 15_000, interval: 100 });
      await fill(store);
      expect((await readOne(store, k))?.payload).toBe("j1");
      await store.invalidate({ keys: [], tags: ["t"] });
      expect(await readOne(store, k)).toBeUndefined();
    }
    for (const store of partitions) await store.close();
  });

  it("spreads the keys of one cache over its masters, and a tag reaches all of them", async () => {
    await using cluster = await startRedisCluster();
    await using redis = openRedis({ clusterUrls: cluster.urls });
    await using another = openRedis({ clusterUrls: cluster.urls });
    await using one = await openCache({ name: "many", redis, partitionCount: 8 });
    await using two = await openCache({ name: "many", redis: another, partitionCount: 8 });
    let loadCount = 0;
    const readAll = (cache: typeof one, version: number) =>
      Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          cache.get(["row", index], {
            tags: [index % 2 === 0 ? "even" : "odd"],
            maxStalenessMs: 0,
            load: () => {
              loadCount += 1;
              return version;
            },
          }),
        ),
      );
    await readAll(one, 1);
    await readAll(two, 2);
    expect(loadCount).toBe(60);
    const counts = await Promise.all(cluster.nodes.map((node) => node.command("DBSIZE")));
    expect(counts.filter((count) => Number(count) > 0).length).toBeGreaterThan(1);
    await one.invalidate({ tags: ["odd"], keys: [["row", 0]] });
    const values = await readAll(two, 3);
    expect(values.map((value, index) => value === (index % 2 === 1 || index === 0 ? 3 : 1))).not.toContain(
      false,
    );
    expect(loadCount).toBe(91);
  });
});
