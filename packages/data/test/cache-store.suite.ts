import { describe, expect, it } from "vitest";
import type { FeedEvent, Lookup, SharedStore, StoredEntry, Ticket } from "../src/cache/shared-store.ts";

export interface StoreSetUp extends AsyncDisposable {
  /** Another process's view of the same entries. */
  open(): SharedStore;
  /** Waits until what was published has arrived. */
  settle(): Promise<void>;
  /** The lease of `key` lapses. */
  endLease(key: string): Promise<void>;
}

export const readOne = async (store: SharedStore, lookup: Lookup): Promise<StoredEntry | undefined> =>
  (await store.read([lookup]))[0];

const entry = (payload: string, freshMs = 60_000) => ({ payload, freshMs, keepMs: freshMs + 60_000 });
const plain = (key: string) => ({ key, tags: [] as string[] });

const granted = async (store: SharedStore, key: string, tags: string[] = []): Promise<Ticket> => {
  const claim = await store.claim({ key, tags }, { leaseMs: 10_000 });
  if (claim.kind !== "granted") throw new Error(`the claim of ${key} is ${claim.kind}`);
  return claim.ticket;
};

/** What every store that processes share must do. */
export const sharedStoreSuite = (setUp: () => Promise<StoreSetUp>): void => {
  describe("a fill", () => {
    it("is kept, and read by everybody", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      expect(await readOne(one, plain("k"))).toBeUndefined();
      expect(await one.fill(plain("k"), await granted(one, "k"), entry("j1"))).toBe("stored");
      const read = await readOne(two, plain("k"));
      expect(read?.payload).toBe("j1");
      expect(read?.freshForMs).toBeGreaterThan(50_000);
    });

    it("is refused when its key was invalidated since the claim, also by another process", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      const ticket = await granted(one, "k");
      await two.invalidate({ keys: ["k"], tags: [] });
      expect(await one.fill(plain("k"), ticket, entry("j1"))).toBe("overtaken");
      expect(await readOne(one, plain("k"))).toBeUndefined();
    });

    it("is refused when a newer claim's load came between an invalidation and it", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const old = await granted(store, "k");
      await store.invalidate({ keys: ["k"], tags: [] });
      const young = await granted(store, "k");
      expect(await store.fill(plain("k"), old, entry("j1"))).toBe("overtaken");
      expect(await store.fill(plain("k"), young, entry("j2"))).toBe("stored");
      expect((await readOne(store, plain("k")))?.payload).toBe("j2");
    });

    it("still counts when its lease lapsed and nothing was invalidated", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const slow = await granted(store, "k");
      await shared.endLease("k");
      expect(await store.fill(plain("k"), slow, entry("j1"))).toBe("stored");
    });

    it("is refused when its lease lapsed and its key was invalidated", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const slow = await granted(store, "k");
      await shared.endLease("k");
      await store.invalidate({ keys: ["k"], tags: [] });
      expect(await store.fill(plain("k"), slow, entry("j1"))).toBe("overtaken");
    });

    it("of another generation is refused", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const ticket = await granted(store, "k");
      await store.clear();
      expect(await store.fill(plain("k"), ticket, entry("j1"))).toBe("generation");
      expect(await readOne(store, plain("k"))).toBeUndefined();
    });
  });

  describe("a claim", () => {
    it("is given to one, the others wait and are told of the fill", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      const events: FeedEvent[] = [];
      two.listen((event) => events.push(event));
      const ticket = await granted(one, "k");
      expect((await two.claim(plain("k"), { leaseMs: 10_000 })).kind).toBe("held");
      await one.fill(plain("k"), ticket, entry("j1"));
      await shared.settle();
      expect(events).toContainEqual({ kind: "filled", key: "k" });
      expect(await two.claim(plain("k"), { leaseMs: 10_000 })).toMatchObject({
        kind: "present",
        entry: { payload: "j1" },
      });
    });

    it("that was released, or whose lease lapsed, is free at once", async () => {
      await using shared = await setUp();
      const store = shared.open();
      await store.release(plain("k"), await granted(store, "k"));
      await granted(store, "k");
      await shared.endLease("k");
      await granted(store, "k");
    });

    it("for an entry that the asker knows as expired is granted", async () => {
      await using shared = await setUp();
      const store = shared.open();
      await store.fill(plain("k"), await granted(store, "k"), entry("j1"));
      const known = await readOne(store, plain("k"));
      const claim = await store.claim(plain("k"), { leaseMs: 10_000, knownStamp: known?.stamp ?? "" });
      expect(claim.kind).toBe("granted");
    });
  });

  describe("a tag", () => {
    it("takes its entries with it, and no others", async () => {
      await using shared = await setUp();
      const store = shared.open();
      for (const [key, tags] of [
        ["a", ["x"]],
        ["b", ["x", "y"]],
        ["c", ["y"]],
        ["d", []],
      ] as [string, string[]][]) {
        await store.fill({ key, tags }, await granted(store, key, tags), entry(`j"${key}"`));
      }
      await store.invalidate({ keys: [], tags: ["x"] });
      expect(await readOne(store, { key: "a", tags: ["x"] })).toBeUndefined();
      expect(await readOne(store, { key: "b", tags: ["x", "y"] })).toBeUndefined();
      expect((await readOne(store, { key: "c", tags: ["y"] }))?.payload).toBe('j"c"');
      expect((await readOne(store, plain("d")))?.payload).toBe('j"d"');
    });

    it("refuses a load that began before it was invalidated, also when others loaded since", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const lookup = { key: "k", tags: ["x"] };
      const slow = await granted(store, "k", ["x"]);
      await store.invalidate({ keys: [], tags: ["x"] });
      await shared.endLease("k");
      await store.fill(lookup, await granted(store, "k", ["x"]), entry("j2"));
      expect(await store.fill(lookup, slow, entry("j1"))).toBe("overtaken");
      expect((await readOne(store, lookup))?.payload).toBe("j2");
    });
  });

  describe("a written value", () => {
    it("replaces what was there and voids the loads of before", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      const load = await granted(one, "k");
      const ticket = await two.ticket(plain("k"));
      expect(await two.write(plain("k"), ticket, entry("j2"), undefined)).toBe("stored");
      expect(await one.fill(plain("k"), load, entry("j1"))).toBe("overtaken");
      expect((await readOne(one, plain("k")))?.payload).toBe("j2");
    });

    it("whose writer was overtaken is not kept, whichever of the two is late", async () => {
      await using shared = await setUp();
      const store = shared.open();
      const [a, b] = [await store.ticket(plain("k")), await store.ticket(plain("k"))];
      expect(await store.write(plain("k"), b, entry("jB"), undefined)).toBe("stored");
      expect(await store.write(plain("k"), a, entry("jA"), undefined)).toBe("overtaken");
      expect(await readOne(store, plain("k"))).toBeUndefined();
      const c = await store.ticket(plain("k"));
      await store.invalidate({ keys: ["k"], tags: [] });
      expect(await store.write(plain("k"), c, entry("jC"), undefined)).toBe("overtaken");
    });
  });

  describe("a value read from a replica", () => {
    const at = (position: bigint, epoch = 1n) => ({ epoch, position });
    const tell = async (store: SharedStore, position: bigint, epoch = 1n): Promise<void> => {
      await store.sync({ at: at(position, epoch), want: store.positionWanted });
      await store.sync({ at: at(position, epoch), want: store.positionWanted });
    };
    const fillFrom = async (store: SharedStore, key: string, position: bigint) =>
      store.fill(plain(key), await granted(store, key), { ...entry("j1"), observed: at(position) });

    it("is kept only when the replica had replayed what was invalidated", async () => {
      await using shared = await setUp();
      const store = shared.open();
      await tell(store, 100n);
      await store.invalidate({ keys: ["k"], tags: [], position: at(200n) });
      expect(await fillFrom(store, "k", 150n)).toBe("behind");
      expect((await granted(store, "k")).floor).toEqual(at(200n));
      await shared.endLease("k");
      expect(await fillFrom(store, "k", 200n)).toBe("stored");
      expect(await fillFrom(store, "untouched", 150n)).toBe("stored");
    });

    it("is judged by a tag's position as well", async () => {
      await using shared = await setUp();
      const store = shared.open();
      await tell(store, 100n);
      await store.invalidate({ keys: [], tags: ["x"], position: at(200n) });
      expect(await fillFrom(store, "list", 150n)).toBe("behind");
      expect(await fillFrom(store, "list", 201n)).toBe("stored");
    });

    it("is not kept while nobody knows how far it must be", async () => {
      await using shared = await setUp();
      const store = shared.open();
      expect(await fillFrom(store, "k", 500n)).toBe("behind");
      await tell(store, 100n);
      // Whoever invalidated did not say where.
      const before = store.positionWanted;
      await store.invalidate({ keys: ["other"], tags: [] });
      expect(await fillFrom(store, "k", 500n)).toBe("behind");
      await store.sync({ at: at(100n), want: before });
      expect(await fillFrom(store, "k", 500n)).toBe("behind");
      await tell(store, 300n);
      expect(await fillFrom(store, "k", 299n)).toBe("behind");
      expect(await fillFrom(store, "k", 300n)).toBe("stored");
    });

    it("of a history that the database left is nothing, like every entry of it", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      await tell(one, 100n);
      await one.fill(plain("lost"), await granted(one, "lost"), entry("j1"));
      const ticket = await granted(one, "k");
      await tell(two, 90n, 2n);
      expect(await readOne(one, plain("lost"))).toBeUndefined();
      expect(await one.fill(plain("k"), ticket, entry("j1"))).toBe("generation");
      expect(
        await two.fill(plain("k"), await granted(two, "k"), { ...entry("j1"), observed: at(95n, 1n) }),
      ).toBe("behind");
    });

    it("loses the lost history too when the first to come from the new one is an invalidation", async () => {
      await using shared = await setUp();
      const store = shared.open();
      await tell(store, 100n);
      await store.fill(plain("lost"), await granted(store, "lost"), entry("j1"));
      await store.invalidate({ keys: ["other"], tags: [], position: at(50n, 2n) });
      expect(await readOne(store, plain("lost"))).toBeUndefined();
      await store.fill(plain("kept"), await granted(store, "kept"), entry("j1"));
      await store.invalidate({ keys: ["other"], tags: [], position: at(500n, 1n) });
      expect((await readOne(store, plain("kept")))?.payload).toBe("j1");
    });
  });

  describe("a value read from a replica after the database went back in time", () => {
    it.each([
      "a position",
      "an invalidation",
    ])("is judged by the new history alone when %s tells of it first", async (first) => {
      await using shared = await setUp();
      const store = shared.open();
      const at = (position: bigint, epoch: bigint) => ({ epoch, position });
      const tell = () => store.sync({ at: at(200n, 2n), want: store.positionWanted });
      await store.sync({ at: at(100n, 1n), want: store.positionWanted });
      await store.invalidate({ keys: ["k"], tags: [], position: at(900n, 1n) });
      if (first === "an invalidation")
        await store.invalidate({ keys: ["other"], tags: [], position: at(150n, 2n) });
      await tell();
      await tell();
      const ticket = await granted(store, "k");
      expect(ticket.floor).toEqual(at(200n, 2n));
      const observed = at(250n, 2n);
      expect(await store.fill(plain("k"), ticket, { ...entry("j1"), observed })).toBe("stored");
    });
  });

  describe("the feed", () => {
    it("tells every process what was invalidated, in order, once", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      await two.sync();
      const seen: string[] = [];
      two.listen((event) => {
        if (event.kind === "invalidated") seen.push(...event.keys, ...event.tags);
      });
      for (let index = 0; index < 50; index += 1) {
        await one.invalidate({ keys: [`k${index}`], tags: index % 10 === 0 ? [`t${index}`] : [] });
      }
      await two.sync();
      await shared.settle();
      const expected = Array.from({ length: 50 }, (_, index) =>
        index % 10 === 0 ? [`k${index}`, `t${index}`] : [`k${index}`],
      ).flat();
      expect(seen).toEqual(expected);
    });

    it("says reset when everything was dropped", async () => {
      await using shared = await setUp();
      const [one, two] = [shared.open(), shared.open()];
      await two.sync();
      const kinds: string[] = [];
      two.listen(({ kind }) => kinds.push(kind));
      await one.clear();
      await two.sync();
      expect(kinds).toContain("reset");
    });
  });
};
