import { describe, expect, it } from "vitest";
import { StateConflictError, StateNotIntegerError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { StateUpdate } from "../state-sync/replica-follower.ts";
import type { StateReplica } from "../state-sync/state-replica.ts";
import { expectLossRefused } from "./lossy-values.ts";
import { changesOf, openReplicas, type StateSyncHarness } from "./state-fixtures.ts";

/** What writers of shared state may rely on, the same for every backend. */
export const statesSuite = (setUp: () => Promise<StateSyncHarness>): void => {
  describe("shared state: writers", () => {
    it("keeps any JSON value with its metadata, raises the revision by exactly one, and reads its own writes", async () => {
      await using test = await openReplicas(setUp);
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

    it("ends at one value everywhere after concurrent writes, with a revision for each", async () => {
      await using test = await openReplicas(setUp);
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
      await using test = await openReplicas(setUp);
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
      await using test = await openReplicas(setUp);
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
      await using test = await openReplicas(setUp);
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

    it("refuses values and metadata that it could not give back as they were, by path and kind, and writes nothing", async () => {
      await using test = await openReplicas(setUp);
      const replica = await test.started();
      await expectLossRefused("the value of k", (value) => replica.set("k", value));
      await expectLossRefused("the metadata of k", (metadata) => replica.set("k", 1, { metadata }), {
        mayBeAbsent: true,
      });
      await expectLossRefused("the value of k", (value) => replica.merge("k", () => value), {
        mayBeAbsent: true,
      });
      await expectLossRefused("the value of k", (value) =>
        test.states.write("ns", [
          { kind: "set", key: "fine", value: 1 },
          { kind: "set", key: "k", value },
        ]),
      );
      expect(await replica.getAll({ cache: false })).toEqual(new Map());
      expect(replica.stats()).toMatchObject({ cached: 0 });
    });

    it("shows nothing of a merge that changes the value in place and is not stored", async () => {
      await using test = await openReplicas(setUp);
      await test.make().set("list", [1]);
      const replica = await test.started();
      const merging = replica.merge("list", (value) => {
        (value as Json[]).push((() => 2) as never);
        return value;
      });
      await expect(merging).rejects.toMatchObject({ field: "the value of list[1]" });
      expect(await replica.get("list")).toEqual([1]);
    });
  });
};
