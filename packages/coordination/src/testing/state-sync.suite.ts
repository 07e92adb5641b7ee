import type { Clock } from "@holdfast/kernel";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import { StateConflictError, StateNotIntegerError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { StateUpdate } from "../state-sync/replica-follower.ts";
import { StateReplica, type StateReplicaOptions } from "../state-sync/state-replica.ts";
import { StateReplicas } from "../state-sync/state-replicas.ts";
import type { StateChange, States } from "../state-sync/states.ts";
import type { CoordinationStore } from "../store.ts";

export interface StateSyncHarness extends AsyncDisposable {
  readonly store: Pick<CoordinationStore<never>, "states" | "log">;
  /** Lets `ms` pass for the store, and for the replicas where they run on a virtual clock. */
  elapse(ms: number): Promise<void>;
  /** The clock that replicas of this test run on. Default: the system's. */
  readonly clock?: Clock;
}

const setsOf = (updates: readonly StateUpdate[]): readonly Json[] =>
  updates.flatMap((update) => (update.kind === "set" ? [update.value] : []));

const changesOf = async (states: States<never>, namespace: string): Promise<readonly StateChange[]> => {
  const read = await states.changes(namespace, { after: { epoch: 0n, offset: 0n }, limit: 10_000 });
  if (read.kind === "reset") throw new Error("the changes were trimmed");
  return read.changes;
};

/** The same for every backend: what a replica sees of a namespace, and what writers may rely on. */
export const stateSyncSuite = (setUp: () => Promise<StateSyncHarness>): void => {
  /** Replicas of one test, each stopped at its end. */
  const open = async () => {
    const harness = await setUp();
    const { states } = harness.store;
    const replicas: StateReplica[] = [];
    const clock = harness.clock ?? systemClock;
    const make = (options: Partial<StateReplicaOptions> = {}): StateReplica => {
      const replica = new StateReplica({ states, namespace: "ns", clock, pollMs: 500, ...options });
      replicas.push(replica);
      return replica;
    };
    return {
      ...harness,
      states,
      make,
      started: async (options: Partial<StateReplicaOptions> = {}) => {
        const replica = make(options);
        await replica.start();
        return replica;
      },
      /** Waits for a condition while time goes by, for the store too. */
      until: (condition: () => unknown) =>
        vi.waitFor(
          async () => {
            await harness.elapse(5);
            await condition();
          },
          { timeout: 5000, interval: 10 },
        ),
      /** The result of something that pauses, while time goes by. */
      through: async <T>(promise: Promise<T>): Promise<T> => {
        let isSettled = false;
        const settled = promise.finally(() => {
          isSettled = true;
        });
        settled.catch(() => undefined);
        while (!isSettled) {
          await harness.elapse(1);
          await new Promise((resolve) => setImmediate(resolve));
        }
        return settled;
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.all(replicas.map((replica) => replica.stop()));
        await harness[Symbol.asyncDispose]();
      },
    };
  };

  describe("shared state", () => {
    it("has a default namespace, an instance of its own, and refuses names that no store could keep", async () => {
      await using test = await open();
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
      await using test = await open();
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

    it("keeps any JSON value with its metadata, raises the revision by exactly one, and reads its own writes", async () => {
      await using test = await open();
      const replica = await test.started();
      const values: readonly Json[] = [
        null,
        true,
        0,
        -1.5,
        1e21,
        "",
        'größe 🚀 \u0001"\\/',
        [],
        [1, [2, { a: null }]],
        {},
        { "a b": { "": [] } },
      ];
      let last = 0n;
      for (const [index, value] of values.entries()) {
        const key = `key:${index}/ü "q"`;
        const revision = await replica.set(key, value, { metadata: { by: "ü", n: index } });
        expect(revision).toBe(last + 1n);
        last = revision;
        expect(await replica.get(key)).toEqual(value);
        expect(await replica.entry(key, { cache: false })).toMatchObject({
          key,
          value,
          metadata: { by: "ü", n: index },
          revision,
        });
      }
      const other = await test.started();
      for (const [index, value] of values.entries()) {
        expect(await other.get(`key:${index}/ü "q"`)).toEqual(value);
      }
      const changes = await changesOf(test.states, "ns");
      expect(changes.map((change) => change.kind === "set" && change.value)).toEqual(values);
      expect(changes.map(({ revision }) => revision)).toEqual(values.map((_, index) => BigInt(index + 1)));
    });

    it("answers from the cache, else from the store, else with the default; the cache can be passed by", async () => {
      await using test = await open();
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
      await using test = await open();
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
      await using test = await open();
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

    it("ends at one value everywhere after concurrent writes, with a revision for each", async () => {
      await using test = await open();
      const replicas = await Promise.all([1, 2, 3, 4].map(() => test.started()));
      const revisions = await Promise.all(
        replicas.flatMap((replica, writer) =>
          Array.from({ length: 25 }, (_, n) => replica.set(`k${n % 3}`, writer * 100 + n)),
        ),
      );
      expect(new Set(revisions).size).toBe(100);
      const stored = await test.make().getAll({ cache: false });
      await test.until(async () => {
        for (const replica of replicas) expect(await replica.getAll()).toEqual(stored);
      });
      const changes = await changesOf(test.states, "ns");
      expect(changes.map(({ revision }) => Number(revision))).toEqual(
        Array.from({ length: 100 }, (_, n) => n + 1),
      );
      for (const [key, value] of stored) {
        const last = changes.findLast((change) => change.key === key);
        expect(last).toMatchObject({ value });
      }
    });

    it("writes under conditions as named, and tells both sides of a conflict", async () => {
      await using test = await open();
      const [a, b] = [await test.started(), await test.started()];
      const revision = await a.set("k", "mine", { ifAbsent: true });
      const late = await b.set("k", "late", { ifAbsent: true }).catch((error: unknown) => error);
      expect(late).toBeInstanceOf(StateConflictError);
      expect(late).toMatchObject({ wanted: "late", present: { value: "mine", revision } });
      const next = await b.set("k", "next", { ifRevision: revision });
      await expect(a.set("k", "old", { ifRevision: revision })).rejects.toMatchObject({
        code: "COORDINATION_STATE_CONFLICT",
        present: { value: "next", revision: next },
        details: { revision: next.toString() },
      });
      await expect(a.delete("k", { ifRevision: revision })).rejects.toThrow(StateConflictError);
      expect(await a.delete("k", { ifRevision: next })).toBe(true);
      await expect(a.set("k", "gone", { ifRevision: next })).rejects.toMatchObject({ present: undefined });
      expect((await changesOf(test.states, "ns")).length).toBe(3);
      const merges = [a, b].flatMap((replica) =>
        Array.from({ length: 5 }, (_, n) =>
          replica.merge("list", (value) => [...((value as Json[] | undefined) ?? []), n]),
        ),
      );
      await test.through(Promise.all(merges));
      expect((await a.get("list", { cache: false })) as Json[]).toHaveLength(10);
      expect(await a.merge("list", () => undefined)).toHaveLength(10);
    });

    it("adds up concurrent increments exactly, and refuses what is no integer", async () => {
      await using test = await open();
      const replicas = await Promise.all([1, 2, 3].map(() => test.started()));
      await Promise.all(
        replicas.flatMap((replica) =>
          Array.from({ length: 40 }, (_, n) => replica.increment("n", n % 2 === 0 ? 3 : -1)),
        ),
      );
      expect(await test.make().get("n")).toBe(3 * 20 * 2);
      const [a] = replicas as [StateReplica];
      for (const value of ["text", 1.5, null, [1], true]) {
        await a.set("k", value);
        await expect(a.increment("k")).rejects.toThrow(StateNotIntegerError);
        expect(await a.get("k", { cache: false })).toEqual(value);
      }
      await a.set("big", Number.MAX_SAFE_INTEGER - 1);
      expect(await a.increment("big")).toBe(Number.MAX_SAFE_INTEGER);
      await expect(a.increment("big")).rejects.toThrow(StateNotIntegerError);
      await expect(a.increment("n", 0.5)).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    });

    it("ends a key with a lifetime in the store and in every cache, as a change; writing renews it", async () => {
      await using test = await open();
      const [a, b] = [await test.started(), await test.started()];
      const seen: StateUpdate[] = [];
      b.onUpdate((update) => seen.push(update));
      await a.set("short", 1, { ttlMs: 150 });
      await a.set("renewed", 1, { ttlMs: 60_000 });
      await a.set("renewed", 2, { ttlMs: 90_000 });
      await a.set("for ever", 1, { ttlMs: 60_000 });
      await a.set("for ever", 2);
      await a.increment("count", 1, { ttlMs: 90_000 });
      await test.until(() => expect(seen.some(({ kind }) => kind === "expired")).toBe(true));
      expect(seen.filter(({ kind }) => kind === "expired")).toMatchObject([{ key: "short" }]);
      for (const replica of [a, b]) {
        await test.until(async () => expect(await replica.get("short")).toBeUndefined());
      }
      expect(await test.make().get("short")).toBeUndefined();
      await test.elapse(61_000);
      expect(await test.make().getAll()).toEqual(
        new Map<string, Json>([
          ["renewed", 2],
          ["for ever", 2],
          ["count", 1],
        ]),
      );
      // What is over counts as absent, also before anybody has removed it.
      await a.set("over", 1, { ttlMs: 90_000 });
      await test.elapse(90_001);
      await a.set("over", 2, { ifAbsent: true });
      expect(await test.make().get("over")).toBe(2);
    });

    it("takes a fresh snapshot when the changes it needs are gone, and tells what is different", async () => {
      await using test = await open();
      const writer = test.make();
      await writer.set("kept", 1);
      await writer.set("gone", 1);
      const replica = await test.started();
      await replica.stop();
      await writer.delete("gone");
      await writer.set("new", 2);
      // Two more pages of changes than are kept.
      await test.store.log.trim("state/ns", { upTo: 4n });
      const seen: StateUpdate[] = [];
      replica.onUpdate((update) => seen.push(update));
      await replica.start();
      expect(seen).toMatchObject([
        { kind: "set", key: "new", value: 2, isResync: true },
        { kind: "deleted", key: "gone", isResync: true },
      ]);
      expect(await replica.getAll()).toEqual(
        new Map([
          ["kept", 1],
          ["new", 2],
        ]),
      );
    });

    it("begins anew when the store lost the namespace: another epoch, nothing of the old one is shown", async () => {
      await using test = await open();
      const replica = await test.started();
      await replica.set("old", 1);
      await replica.set("both", 1);
      await test.until(() => expect(replica.position?.offset).toBe(2n));
      const before = replica.position;
      const seen: StateUpdate[] = [];
      replica.onUpdate((update) => seen.push(update));
      await test.store.log.delete(["state/ns"]);
      const writer = test.make();
      await writer.set("both", 2);
      await test.until(() => expect(replica.position?.epoch).not.toBe(before?.epoch));
      await test.until(async () => expect(await replica.getAll()).toEqual(new Map([["both", 2]])));
      expect(setsOf(seen)).toEqual([2]);
      expect(seen).toContainEqual(expect.objectContaining({ kind: "deleted", key: "old", isResync: true }));
      expect(await test.states.changes("ns", { after: before as never })).toMatchObject({ kind: "reset" });
    });

    it("keeps no more than its bound, caches what is used, and asks the store for the rest", async () => {
      await using test = await open();
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
      await using test = await open();
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
      await using test = await open();
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

    it("reports a change that it cannot read, and goes on after it", async () => {
      await using test = await open();
      const replica = await test.started();
      const seen: StateUpdate[] = [];
      replica.onUpdate((update) => seen.push(update));
      await replica.set("a", 1);
      await test.store.log.append([
        { stream: "state/ns", payload: "garbage" },
        { stream: "state/ns", payload: { k: "b", x: "no number" } },
      ]);
      await replica.set("c", 2);
      await test.until(() => expect(setsOf(seen)).toEqual([1, 2]));
      expect(replica.stats()).toMatchObject({ corrupt: 2, snapshots: 1 });
      expect((await changesOf(test.states, "ns")).filter(({ kind }) => kind === "corrupt")).toEqual([
        { kind: "corrupt", key: undefined, revision: 2n },
        { kind: "corrupt", key: "b", revision: 3n },
      ]);
    });

    it("is watched from a position: what was missed, then what comes, each change once", async () => {
      await using test = await open();
      const writer = test.make();
      await writer.set("a", 1);
      const { head } = await test.states.snapshot("ns");
      await writer.set("b", 2);
      const controller = new AbortController();
      const seen: StateChange[] = [];
      const watching = (async () => {
        for await (const read of writer.watch({ after: head, signal: controller.signal })) {
          if (read.kind === "changes") seen.push(...read.changes);
        }
      })().catch((error: unknown) => error);
      await test.until(() => expect(seen).toHaveLength(1));
      await writer.delete("a");
      await writer.increment("n");
      await test.until(() => expect(seen).toHaveLength(3));
      expect(seen.map(({ kind, key, revision }) => [kind, key, Number(revision)])).toEqual([
        ["set", "b", 2],
        ["deleted", "a", 3],
        ["set", "n", 4],
      ]);
      controller.abort(new Error("enough"));
      expect(await watching).toMatchObject({ message: "enough" });
    });
  });
};
