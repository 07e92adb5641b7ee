import { StateReplica, type StateUpdate } from "@holdfast/coordination";
import { createRedisStore } from "@holdfast/coordination/redis";
import { stateSyncSuite } from "@holdfast/coordination/testing";
import { createFaultProxy, startRedis, startRedisCluster } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { openRedis, openRedisCluster } from "./redis-client.ts";
import { elapseInState } from "./redis-elapse.ts";
import { suiteRedis } from "./suite-redis.ts";

describeService("redis", "state in Redis", () => {
  const shared = suiteRedis();
  let count = 0;

  const setUp = async () => {
    count += 1;
    const namespace = `state-${count}`;
    const store = await createRedisStore({ redis: shared.redis, namespace });
    return {
      store,
      namespace,
      elapse: (ms: number) => elapseInState(shared.server, namespace, ms),
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  stateSyncSuite(setUp);

  it("keeps every key of a namespace in the slot of the store", async () => {
    await using test = await setUp();
    await using replica = new StateReplica({ states: test.store.states, namespace: "ns" });
    await replica.set("a", 1, { ttlMs: 60_000 });
    const keys = (await shared.server.command("KEYS", `*${test.namespace}*`)) as readonly string[];
    expect(keys.length).toBeGreaterThanOrEqual(5);
    for (const key of keys) expect(key.startsWith(`{${test.namespace}}:`)).toBe(true);
  });

  it("reports a stored value that cannot be read with its key, and works on beside it", async () => {
    await using test = await setUp();
    await using writer = new StateReplica({ states: test.store.states, namespace: "ns" });
    await writer.set("good", 1);
    await writer.set("bad", 1);
    await shared.server.command("HSET", `{${test.namespace}}:values:state/ns`, "bad", "gar bage");
    await using replica = new StateReplica({ states: test.store.states, namespace: "ns" });
    await replica.start();
    expect(replica.stats()).toMatchObject({ corrupt: 1, cached: 1 });
    expect(await replica.get("good")).toBe(1);
    await expect(replica.get("bad")).rejects.toMatchObject({
      code: "COORDINATION_STATE_CORRUPT",
      details: { namespace: "ns", key: "bad" },
    });
    await writer.set("bad", 2);
    await vi.waitFor(async () => expect(await replica.get("bad")).toBe(2));
    await shared.server.command("XADD", `{${test.namespace}}:log:state/ns`, "4-0", "p", "no json", "a", "0");
    await shared.server.command("HSET", `{${test.namespace}}:head:state/ns`, "head", "4");
    await writer.set("after", 3);
    await vi.waitFor(async () => expect(await replica.get("after")).toBe(3));
    await vi.waitFor(() => expect(replica.stats().corrupt).toBe(2));
  });

  it("is stale at once when the connection is cut, and right when it is mended, missed deletes included", async () => {
    await using test = await setUp();
    await using proxy = await createFaultProxy({ target: { port: shared.server.port } });
    await using cutOff = await openRedis(`redis://127.0.0.1:${proxy.port}`);
    await using store = await createRedisStore({ redis: cutOff, namespace: test.namespace });
    await using writer = new StateReplica({ states: test.store.states, namespace: "ns" });
    await writer.set("a", 1);
    await writer.set("b", 1);
    await using replica = new StateReplica({
      states: store.states,
      namespace: "ns",
      pollMs: 60_000,
      staleMaxMs: 60_000,
    });
    await replica.start();
    // From here on only the lost connection can tell it: the next look by itself is a minute away.
    await writer.set("b", 2);
    await vi.waitFor(async () => expect(await replica.get("b")).toBe(2));
    await proxy.refuse();
    proxy.reset();
    await vi.waitFor(() => expect(replica.stats().isFresh).toBe(false));
    await expect(replica.get("a")).rejects.toMatchObject({ code: "COORDINATION_STORE_UNAVAILABLE" });
    await writer.delete("a");
    await writer.set("b", 3);
    await proxy.heal();
    await vi.waitFor(() => expect(replica.stats().isFresh).toBe(true), 10_000);
    expect(await replica.getAll()).toEqual(new Map([["b", 3]]));
    await vi.waitFor(async () => {
      await writer.increment("c");
      expect(Number(await replica.get("c"))).toBeGreaterThan(0);
    });
  });

  it("begins anew when the server forgot everything, and never shows a revision twice in one epoch", async () => {
    await using own = await startRedis();
    await using client = await openRedis(own.url);
    await using store = await createRedisStore({ redis: client });
    await using replica = new StateReplica({ states: store.states, namespace: "ns", pollMs: 200 });
    const seen: StateUpdate[] = [];
    replica.onUpdate((update) => seen.push(update));
    await replica.start();
    await replica.set("old", 1);
    await vi.waitFor(() => expect(replica.position?.offset).toBe(1n));
    const before = replica.position;
    await own.kill();
    await vi.waitFor(() => expect(replica.stats().isFresh).toBe(false));
    await own.start();
    await vi.waitFor(async () => expect(await replica.getAll()).toEqual(new Map()), 10_000);
    await vi.waitFor(() => expect(replica.stats().isFresh).toBe(true), 10_000);
    await replica.set("new", 2);
    await vi.waitFor(() => expect(replica.position).toMatchObject({ offset: 1n }), 10_000);
    expect(replica.position?.epoch).toBeGreaterThan(before?.epoch as bigint);
    await vi.waitFor(() => expect(seen.map(({ kind }) => kind)).toEqual(["set", "deleted", "set"]));
  });

  it("keeps values and revisions over a restart of a server that stores them, under another epoch", async () => {
    await using own = await startRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
    await using client = await openRedis(own.url);
    await using store = await createRedisStore({ redis: client });
    await using replica = new StateReplica({ states: store.states, namespace: "ns", pollMs: 200 });
    await replica.start();
    await replica.set("kept", 1);
    await replica.set("short", 1, { ttlMs: 60_000 });
    await vi.waitFor(() => expect(replica.position?.offset).toBe(2n));
    const before = replica.position;
    await own.kill();
    await own.start();
    const again = await vi.waitFor(() => replica.set("new", 2), 10_000);
    expect(again).toBe(3n);
    await vi.waitFor(() => expect(replica.position?.epoch).toBeGreaterThan(before?.epoch as bigint), 10_000);
    await vi.waitFor(async () =>
      expect(await replica.getAll()).toEqual(
        new Map([
          ["kept", 1],
          ["short", 1],
          ["new", 2],
        ]),
      ),
    );
    expect(await store.states.changes("ns", { after: before as never })).toMatchObject({ kind: "reset" });
  });

  it("leaves value, revision and changes agreeing when writers are killed in the middle", async () => {
    await using test = await setUp();
    await using proxy = await createFaultProxy({ target: { port: shared.server.port } });
    const { states } = test.store;
    let answered = 0;
    for (let round = 0; round < 5; round += 1) {
      const client = await openRedis(`redis://127.0.0.1:${proxy.port}`);
      const store = await createRedisStore({ redis: client, namespace: test.namespace });
      const writer = new StateReplica({ states: store.states, namespace: "ns" });
      const writes = Array.from({ length: 200 }, (_, n) => writer.increment(`k${n % 3}`));
      const settled = Promise.allSettled(writes);
      await Promise.race(writes);
      proxy.reset();
      answered += (await settled).filter(({ status }) => status === "fulfilled").length;
      await client[Symbol.asyncDispose]();
      await store.close();
    }
    const { head, entries } = await states.snapshot("ns");
    const read = await states.changes("ns", { after: { ...head, offset: 0n }, limit: 10_000 });
    if (read.kind === "reset") throw new Error("reset");
    expect(read.changes.map(({ revision }) => Number(revision))).toEqual(
      Array.from({ length: Number(head.offset) }, (_, n) => n + 1),
    );
    expect(read.changes.length).toBeGreaterThanOrEqual(answered);
    for (const entry of entries ?? []) {
      const ofKey = read.changes.filter(({ key }) => key === entry.key);
      expect(entry).toMatchObject({ value: ofKey.length, revision: ofKey.at(-1)?.revision });
    }
  });
});

describe("state in a Redis Cluster", () => {
  describeService("redis", "of several nodes", () => {
    it("is written, read and followed through any of them", async () => {
      await using cluster = await startRedisCluster();
      await using redis = await openRedisCluster(cluster.urls[0] as string);
      await using store = await createRedisStore({ redis });
      await using a = new StateReplica({ states: store.states });
      await using b = new StateReplica({ states: store.states });
      await b.start();
      await a.set("k", 1, { ttlMs: 60_000 });
      await a.increment("k", 2);
      await vi.waitFor(async () => expect(await b.get("k")).toBe(3));
      expect(b.stats().misses).toBe(0);
      await a.delete("k");
      await vi.waitFor(async () => expect(await b.get("k")).toBeUndefined());
    });
  });
});
