import { systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { StateUpdate } from "../state-sync/replica-follower.ts";
import { StateReplica } from "../state-sync/state-replica.ts";
import { StateReplicas } from "../state-sync/state-replicas.ts";
import { openReplicas, type StateSyncHarness, setsOf } from "./state-fixtures.ts";

/** What a replica shows of a namespace, the same for every backend. */
export const stateReplicaSuite = (setUp: () => Promise<StateSyncHarness>): void => {
  describe("shared state: replicas", () => {
    it("has a default namespace, an instance of its own, and refuses names that no store could keep", async () => {
      await using test = await openReplicas(setUp);
      const replica = new StateReplica({ states: test.states });
      expect(replica.namespace).toBe("state");
      expect(replica.instance).not.toBe(test.make().instance);
      expect(() => test.make({ namespace: "a b" })).toThrow(/namespace/);
      await expect(replica.set("", 1)).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      await expect(replica.set("k", undefined as never)).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
      });
    });

    it("is ready when it has loaded what is there and joined what comes; starting and stopping may be repeated", async () => {
      await using test = await openReplicas(setUp);
      const writer = test.make();
      await writer.set("before", 1);
      const replica = test.make();
      await Promise.all([replica.start(), replica.start(), writer.set("during", 2)]);
      expect(replica.isFollowing).toBe(true);
      expect(await replica.get("before")).toBe(1);
      expect(replica.stats()).toMatchObject({ misses: 0, isFresh: true });
      await test.until(async () => expect(await replica.get("during")).toBe(2));
      await replica.stop();
      await replica.stop();
      expect(replica.isFollowing).toBe(false);
      await writer.set("while stopped", 3);
      await replica.start();
      expect(await replica.get("while stopped")).toBe(3);
    });

    it("answers from the cache, else from the store, else with the default; the cache can be passed by", async () => {
      await using test = await openReplicas(setUp);
      const writer = test.make();
      await writer.set("a", 1);
      const replica = await test.started();
      expect(await replica.get("a")).toBe(1);
      expect(await replica.get("none", { default: "default" })).toBe("default");
      expect(replica.stats()).toMatchObject({ hits: 2, misses: 0, reads: 2 });
      expect(await replica.get("a", { cache: false })).toBe(1);
      expect(await replica.get("none", { cache: false, default: 7 })).toBe(7);
      expect(replica.stats()).toMatchObject({ hits: 2, misses: 2 });
      // One that is not started has no cache to answer from.
      expect(await writer.get("a")).toBe(1);
      expect(writer.stats()).toMatchObject({ hits: 0, misses: 1 });
      expect(await replica.getAll()).toEqual(new Map([["a", 1]]));
      expect(await replica.getAll({ cache: false })).toEqual(new Map([["a", 1]]));
    });

    it("shows a change of one in the other, once, and marks own changes as local", async () => {
      await using test = await openReplicas(setUp);
      const [a, b] = [await test.started(), await test.started()];
      const seen: Record<"a" | "b", StateUpdate[]> = { a: [], b: [] };
      a.onUpdate((update) => seen.a.push(update));
      b.onUpdate((update) => seen.b.push(update));
      const revision = await a.set("k", { n: 1 }, { metadata: "m" });
      await a.delete("k");
      await test.until(() => {
        expect(seen.a).toHaveLength(2);
        expect(seen.b).toHaveLength(2);
      });
      const update = { kind: "set", key: "k", value: { n: 1 }, metadata: "m", revision, isResync: false };
      expect(seen.a[0]).toEqual({ ...update, isLocal: true });
      expect(seen.b[0]).toEqual({ ...update, isLocal: false });
      expect(seen.b[1]).toMatchObject({ kind: "deleted", revision: revision + 1n, isLocal: false });
    });

    it("removes a key everywhere, and shows it again when it is made anew", async () => {
      await using test = await openReplicas(setUp);
      const [a, b] = [await test.started(), await test.started()];
      for (let n = 1; n <= 3; n += 1) await a.set("k", n);
      await test.until(async () => expect(await b.get("k")).toBe(3));
      expect(await a.delete("k")).toBe(true);
      expect(await a.get("k")).toBeUndefined();
      expect(await a.delete("k")).toBe(false);
      await test.until(async () => expect(await b.get("k")).toBeUndefined());
      const revision = await a.set("k", "again");
      expect(revision).toBe(5n);
      await test.until(async () => expect(await b.get("k")).toBe("again"));
    });

    it("keeps no more than its bound, caches what is used, and asks the store for the rest", async () => {
      await using test = await openReplicas(setUp);
      const writer = test.make();
      for (let n = 0; n < 8; n += 1) await writer.set(`k${n}`, n);
      const replica = await test.started({ cacheMaxCount: 3 });
      expect(replica.stats()).toMatchObject({ cached: 0, isComplete: false });
      for (const key of ["k0", "k1", "k2", "k0", "k3"]) await replica.get(key);
      expect(replica.stats()).toMatchObject({ cached: 3, misses: 4, hits: 1 });
      await writer.set("k0", "new");
      await test.until(async () => expect(await replica.get("k0")).toBe("new"));
      expect(await replica.get("k7")).toBe(7);
      expect(await replica.get("none", { default: "d" })).toBe("d");
      expect(replica.stats().cached).toBe(3);
      await expect(replica.getAll()).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    });

    it("lets a handler that throws harm neither the others nor the following", async () => {
      await using test = await openReplicas(setUp);
      const replica = await test.started();
      const seen: StateUpdate[] = [];
      replica.onUpdate(() => {
        throw new Error("plain");
      });
      replica.onUpdate(async () => Promise.reject(new Error("later")));
      const stop = replica.onUpdate((update) => seen.push(update));
      await replica.set("a", 1);
      await test.until(() => expect(setsOf(seen)).toEqual([1]));
      await replica.set("a", 2);
      await test.until(() => expect(setsOf(seen)).toEqual([1, 2]));
      stop();
      await replica.set("a", 3);
      await test.until(() => expect(replica.stats().handlerErrors).toBe(6));
      expect(setsOf(seen)).toEqual([1, 2]);
    });

    it("opens one started replica per namespace, also for callers that come together; namespaces are apart", async () => {
      await using test = await openReplicas(setUp);
      await using replicas = new StateReplicas({ states: test.states, clock: test.clock ?? systemClock });
      const [one, same, other] = await Promise.all(
        ["one", "one", "other"].map((name) => replicas.open(name)),
      );
      expect(one).toBe(same);
      expect(one?.isFollowing && other?.isFollowing).toBe(true);
      await one?.set("k", 1);
      expect(await other?.get("k", { cache: false })).toBeUndefined();
      expect(replicas.namespaces).toEqual(["one", "other"]);
      await expect(replicas.open("one", { ttlMs: 5 })).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
      });
      await replicas.close();
      expect(one?.isFollowing || other?.isFollowing).toBe(false);
      await expect(replicas.open("one")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    });
  });
};
