import { deferred } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { LeaseLostError } from "../errors.ts";
import type { LeaseGrant, Leases } from "../lease/leases.ts";
import type { LogTailItem } from "../log/log.ts";
import type { SetUp } from "./harness.ts";

const grantOf = async <Tx>(leases: Leases<Tx>, name: string, owner = "a"): Promise<LeaseGrant> => {
  const outcome = await leases.grant(name, { owner, ttlMs: 1000 });
  if (outcome.kind !== "granted") throw new Error(`${name} is held by ${outcome.holder.owner}`);
  return outcome.grant;
};

/** What every backend guarantees about changes that belong together. */
export const transactionsSuite = <Tx>(setUp: SetUp<Tx>): void => {
  describe("transactions", () => {
    it("commit changes to queue and log together and return what the body returned", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const queue = store.queue("q");
      const value = await store.transaction(async (tx) => {
        await queue.enqueue([{ id: "t1", type: "a", payload: 1 }], { tx });
        await store.log.append([{ stream: "s", payload: "queued" }], { tx });
        return 42;
      });
      expect(value).toBe(42);
      expect((await queue.get("t1"))?.state).toBe("pending");
      expect((await store.log.bounds("s")).head.offset).toBe(1n);
    });

    it("leave no trace when the body rejects, whatever was done in it", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const queue = store.queue("q");
      await queue.enqueue([
        { id: "done", type: "a", payload: 1, group: "g" },
        { id: "failed", type: "a", payload: 1, group: "g", dedupeKey: "k" },
        { id: "waiting", type: "b", payload: 1, group: "h" },
      ]);
      const claims = await queue.claim({ worker: "w", maxCount: 2, leaseMs: 60_000, types: ["a"] });
      await store.log.append([1, 2, 3].map((payload) => ({ stream: "s", payload })));
      await store.log.append([{ stream: "gone", payload: "kept" }]);
      const before = {
        stats: await queue.stats(),
        list: await queue.list({}),
        s: await store.log.read("s"),
        gone: await store.log.read("gone"),
      };

      const boom = new Error("boom");
      const failing = store.transaction(async (tx) => {
        const [first, second] = claims;
        if (first === undefined || second === undefined) throw new Error("two claims expected");
        await queue.enqueue([{ id: "new", type: "c", payload: 1, group: "g", dedupeKey: "k2" }], { tx });
        await queue.complete([{ ...first, result: "r" }], { tx });
        await queue.fail([{ ...second, error: "e" }], { tx });
        await queue.claim({ worker: "w2", maxCount: 5, leaseMs: 60_000, tx });
        await queue.cancelGroups(["h"], { tx });
        await queue.deleteGroups(["g"], { tx });
        await store.log.append([{ stream: "s", payload: 4 }], { tx });
        await store.log.trim("s", { upTo: 2n, tx });
        await store.log.append([{ stream: "s", payload: 5 }], { tx });
        await store.log.delete(["gone"], { tx });
        await store.log.append([{ stream: "gone", payload: "again" }], { tx });
        await store.log.append([{ stream: "born", payload: "dead" }], { tx });
        throw boom;
      });
      await expect(failing).rejects.toBe(boom);

      expect(await queue.stats()).toMatchObject({ ...before.stats, oldestDueMs: expect.any(Number) });
      expect(await queue.list({})).toEqual(before.list);
      expect(await store.log.read("s")).toEqual(before.s);
      expect(await store.log.read("gone")).toEqual(before.gone);
      expect((await store.log.bounds("born")).head.offset).toBe(0n);
      // And everything goes on as if nothing had been tried.
      expect(await queue.complete(claims)).toEqual(["completed", "completed"]);
      expect((await queue.claim({ worker: "w", maxCount: 5, leaseMs: 60_000 })).map(({ id }) => id)).toEqual([
        "waiting",
      ]);
      expect((await store.log.append([{ stream: "s", payload: 4 }]))[0]?.offset).toBe(4n);
    });

    it("wake followers when they commit, not before and not when they roll back", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const controller = new AbortController();
      const tail = store.log
        .tail("s", { signal: controller.signal, pollMs: 3_600_000 })
        [Symbol.asyncIterator]();
      const next = tail.next() as Promise<IteratorResult<LogTailItem>>;
      await store
        .transaction(async (tx) => {
          await store.log.append([{ stream: "s", payload: "rolled back" }], { tx });
          throw new Error("no");
        })
        .catch(() => undefined);
      await store.transaction(async (tx) => {
        await store.log.append([{ stream: "s", payload: "committed" }], { tx });
      });
      const { value } = await next;
      expect(value).toMatchObject({ kind: "entries", entries: [{ payload: "committed" }] });
      await tail.return?.();
    });

    it("see their own changes", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const queue = store.queue("q");
      await store.transaction(async (tx) => {
        await queue.enqueue([{ id: "t", type: "a", payload: 1, group: "g" }], { tx });
        const claims = await queue.claim({ worker: "w", maxCount: 1, leaseMs: 60_000, tx });
        expect(claims.map(({ id }) => id)).toEqual(["t"]);
        expect(await queue.complete(claims, { tx })).toEqual(["completed"]);
        expect((await queue.list({ group: "g", tx })).map(({ state }) => state)).toEqual(["completed"]);
      });
    });

    it("let fenced work through only for the newest, unexpired token", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const deposed = await grantOf(store.leases, "a");
      await store.transaction((tx) => store.leases.assertFence(deposed, tx));
      await harness.elapse(60_001);
      const fenced = (lease: LeaseGrant) =>
        store.transaction(async (tx) => {
          await store.log.append([{ stream: "writes", payload: lease.owner }], { tx });
          await store.leases.assertFence(lease, tx);
        });
      // Paused past its end and not yet replaced: it must not write either.
      await expect(fenced(deposed)).rejects.toThrow(LeaseLostError);
      const newer = await grantOf(store.leases, "a", "b");
      await expect(fenced(deposed)).rejects.toThrow(LeaseLostError);
      await fenced(newer);
      const read = await store.log.read("writes");
      expect(read.kind === "entries" && read.entries.map(({ payload }) => payload)).toEqual(["b"]);
    });

    it("draw record tokens from the same line as grants", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const before = await grantOf(store.leases, "a");
      const drawn = await store.transaction((tx) => store.leases.nextToken(tx));
      const after = await grantOf(store.leases, "b");
      expect(drawn).toBeGreaterThan(before.token);
      expect(after.token).toBeGreaterThan(drawn);
    });

    it("keep a competing grant out until fenced work has ended", async () => {
      await using harness = await setUp();
      if (!harness.runsBesideTransactions) return;
      const { store } = harness;
      const granted = await store.leases.grant("a", { owner: "old", ttlMs: 1000 });
      if (granted.kind !== "granted") throw new Error("not granted");
      const release = deferred<void>();
      const fenced = deferred<void>();
      const work = store.transaction(async (tx) => {
        await store.leases.assertFence(granted.grant, tx);
        fenced.resolve();
        await release.promise;
        await store.log.append([{ stream: "order", payload: "fenced work" }], { tx });
      });
      await fenced.promise;
      // The holder itself may still renew while its work is under way.
      expect(await store.leases.renew([granted.grant], { ttlMs: 1000 })).toEqual([true]);
      await harness.elapse(60_001);
      const takeOver = store.leases.grant("a", { owner: "new", ttlMs: 1000 }).then(async (outcome) => {
        await store.log.append([{ stream: "order", payload: "new holder" }]);
        return outcome;
      });
      // Other names are not kept waiting, which also gives the take-over time to get in wrongly.
      await store.leases.grant("b", { owner: "x", ttlMs: 1000 });
      await store.log.read("order");
      release.resolve();
      await work;
      expect((await takeOver).kind).toBe("granted");
      const read = await store.log.read("order");
      expect(read.kind === "entries" && read.entries.map(({ payload }) => payload)).toEqual([
        "fenced work",
        "new holder",
      ]);
    });

    it("cannot take a task from its holder when a recoverer was held up and gave up", async () => {
      await using harness = await setUp();
      if (!harness.runsBesideTransactions) return;
      const { store } = harness;
      const queue = store.queue("q");
      await queue.enqueue([{ id: "t", type: "a", payload: 1 }]);
      const [lapsed] = await queue.claim({ worker: "w", maxCount: 1, leaseMs: 60_000 });
      if (lapsed === undefined) throw new Error("a claim expected");
      await harness.elapse(60_001);
      const found = deferred<void>();
      const release = deferred<void>();
      const recovering = store.transaction(async (tx) => {
        expect(await queue.recoverLapsed({ tx })).toHaveLength(1);
        found.resolve();
        await release.promise;
        throw new Error("gave up");
      });
      await found.promise;
      // Nobody else recovers or claims it meanwhile, and its holder's renewal waits for the outcome.
      expect(await queue.recoverLapsed()).toEqual([]);
      expect(await queue.claim({ worker: "x", maxCount: 1, leaseMs: 60_000 })).toEqual([]);
      const renewing = queue.renew([lapsed], { leaseMs: 60_000 });
      release.resolve();
      await expect(recovering).rejects.toThrow("gave up");
      expect(await renewing).toEqual(["renewed"]);
      expect(await queue.recoverLapsed()).toEqual([]);
      expect(await queue.complete([lapsed])).toEqual(["completed"]);
    });

    it("hide appends of an open transaction from readers and keep offsets in commit order", async () => {
      await using harness = await setUp();
      if (!harness.runsBesideTransactions) return;
      const { store } = harness;
      const appended = deferred<void>();
      const release = deferred<void>();
      const slow = store.transaction(async (tx) => {
        const [position] = await store.log.append([{ stream: "s", payload: "slow" }], { tx });
        appended.resolve();
        await release.promise;
        return position;
      });
      await appended.promise;
      const read = await store.log.read("s");
      expect(read.kind === "entries" && read.entries).toEqual([]);
      const fast = store.log.append([{ stream: "s", payload: "fast" }]);
      release.resolve();
      expect((await slow)?.offset).toBe(1n);
      expect((await fast)[0]?.offset).toBe(2n);
    });

    it("start nothing for a signal that is already aborted", async () => {
      await using harness = await setUp();
      const reason = new Error("gone");
      let started = false;
      const body = async (): Promise<void> => {
        started = true;
      };
      await expect(harness.store.transaction(body, { signal: AbortSignal.abort(reason) })).rejects.toBe(
        reason,
      );
      expect(started).toBe(false);
    });
  });
};
