import type { Cache, CacheOptions, Database } from "@holdfast/data";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import { ModelDatabase } from "./cache-model-database.ts";
import { Gate, NaiveCache, NaiveShared } from "./cache-naive.ts";

export interface RaceWorld {
  readonly sql: Database;
  /** A process's cache of its own. All of one `name` share their entries. */
  open(name: string, options?: Partial<CacheOptions>): Promise<Cache>;
  /** The same of a process that cannot reach the shared store, though the others can. */
  openCutOff(name: string, options?: Partial<CacheOptions>): Promise<Cache>;
  /** Takes everything from the shared store but its entries, as an eviction or a lost write may. */
  loseGuards(name: string): Promise<void>;
}

/** The latest that any process was told. */
const LATEST = { maxStalenessMs: 0 } as const;

/** The twelve races of caching, each shown to break a naive cache, and closed. */
export const cacheRacesSuite = (world: () => RaceWorld): void => {
  let count = 0;
  const setUp = async () => {
    count += 1;
    const table = `things_${count}`;
    const { sql } = world();
    await sql.query(
      `CREATE TABLE ${table} (id int PRIMARY KEY, namespace text DEFAULT 'n', v text NOT NULL)`,
    );
    await sql.query(`INSERT INTO ${table} (id, v) VALUES (1, 'v1')`, []);
    const read = async (id = 1): Promise<string | undefined> => {
      const [row] = await sql.query<{ v: string }>(`SELECT v FROM ${table} WHERE id = $1`, [id]);
      return row?.v;
    };
    const set = (v: string, id = 1) => sql.query(`UPDATE ${table} SET v = $1 WHERE id = $2`, [v, id]);
    return { name: `race-${count}`, table, sql, read, set };
  };
  /** A load that has read and then stops on its way back. */
  const slowLoad = (read: () => Promise<string | undefined>, gate: Gate) => async () => {
    const value = await read();
    await gate.pass();
    return value;
  };

  describe("race 1: a fill that an invalidation overtook", () => {
    it("leaves a naive cache with the old value", async () => {
      const { read, set } = await setUp();
      const cache = new NaiveCache(new NaiveShared());
      const gate = new Gate();
      const reading = cache.get("1", slowLoad(read, gate));
      await gate.arrived;
      await set("v2");
      cache.delete("1");
      gate.open();
      await reading;
      expect(await cache.get("1", () => read())).toBe("v1");
    });

    it("is refused", async () => {
      const { name, read, table } = await setUp();
      await using reader = await world().open(name);
      await using writer = await world().open(name);
      const gate = new Gate();
      const reading = reader.get("1", { load: slowLoad(read, gate) });
      await gate.arrived;
      await writer.transaction(async (tx, changes) => {
        await tx.query(`UPDATE ${table} SET v = 'v2'`, []);
        changes.invalidate("1");
      });
      gate.open();
      expect(await reading).toBe("v1");
      expect(await reader.get("1", { load: () => read(), ...LATEST })).toBe("v2");
      expect(await writer.get("1", { load: () => read(), ...LATEST })).toBe("v2");
      expect(reader.stats().fillOvertakenCount).toBeGreaterThan(0);
    });
  });

  describe("race 2: written values that arrive in the wrong order", () => {
    it("leave a naive cache with the first one", async () => {
      const { read, set } = await setUp();
      const cache = new NaiveCache(new NaiveShared());
      await set("A");
      await set("B");
      cache.store("1", "B");
      cache.store("1", "A");
      expect(await cache.get("1", () => read())).toBe("A");
    });

    it("end at the last commit", async () => {
      const { name, read, table } = await setUp();
      const relayEveryMs = 600_000;
      await using first = await world().openCutOff(name, { invalidationWaitMs: 0, relayEveryMs });
      await using second = await world().open(name, { relayEveryMs });
      const write = (cache: Cache, v: string) =>
        cache.transaction(async (tx, changes) => {
          await tx.query(`UPDATE ${table} SET v = $1`, [v]);
          changes.put("1", v);
        });
      // The first one's message is late: it comes by a relay, after the second one's.
      await write(first, "A");
      await write(second, "B");
      expect(second.stats().writeStoredCount).toBe(1);
      expect(await second.peek(["1"])).toEqual(["B"]);
      await using relay = await world().open(name, { relayEveryMs: 50 });
      await vi.waitFor(() => expect(relay.stats().invalidationRelayedCount).toBeGreaterThan(0));
      expect(await second.get("1", { load: () => read(), ...LATEST })).toBe("B");
    });
  });

  describe("race 3: a value that was never committed", () => {
    it("stays in a naive cache that is filled inside a transaction, or emptied before the commit", async () => {
      const { sql, read, table } = await setUp();
      const cache = new NaiveCache(new NaiveShared());
      await sql
        .transaction(async (tx) => {
          await tx.query(`UPDATE ${table} SET v = 'ghost'`, []);
          await cache.get(
            "1",
            async () => (await tx.query<{ v: string }>(`SELECT v FROM ${table}`, []))[0]?.v,
          );
          throw new Error("rolled back");
        })
        .catch(() => undefined);
      expect(await cache.get("1", () => read())).toBe("ghost");
    });

    it("is not kept: inside a transaction nothing is stored, and a rollback publishes nothing", async () => {
      const { name, read, table } = await setUp();
      await using cache = await world().open(name);
      const attempt = cache.transaction(async (tx, changes) => {
        await tx.query(`UPDATE ${table} SET v = 'ghost'`, []);
        const own = async () => (await tx.query<{ v: string }>(`SELECT v FROM ${table}`, []))[0]?.v;
        expect(await cache.get("1", { load: own })).toBe("ghost");
        changes.put("1", "ghost");
        throw new Error("rolled back");
      });
      await expect(attempt).rejects.toThrow("rolled back");
      expect(await cache.peek(["1"])).toEqual([undefined]);
      expect(await cache.get("1", { load: () => read() })).toBe("v1");
      expect(cache.stats().writeStoredCount).toBe(0);
    });

    it("is not what a reader brings back between the invalidation and the commit", async () => {
      const { name, read, table } = await setUp();
      await using cache = await world().open(name);
      await using reader = await world().open(name);
      await cache.transaction(async (tx, changes) => {
        await tx.query(`UPDATE ${table} SET v = 'v2'`, []);
        changes.invalidate("1");
        // The embedded database has one session: what others could read here is known.
        expect(await reader.peek(["1"])).toEqual([undefined]);
        await Promise.resolve();
      });
      expect(await reader.get("1", { load: () => read(), ...LATEST })).toBe("v2");
    });
  });

  describe("race 4: a writer that dies between its commit and the invalidation", () => {
    it("leaves a naive cache with the old value for as long as it lives", async () => {
      const { read, set } = await setUp();
      const cache = new NaiveCache(new NaiveShared());
      await cache.get("1", () => read());
      await set("v2");
      expect(await cache.get("1", () => read())).toBe("v1");
    });

    it("is repaired by the relay of another process, within twice its period", async () => {
      const { name, read, table } = await setUp();
      await using reader = await world().open(name, { relayEveryMs: 50 });
      expect(await reader.get("1", { load: () => read() })).toBe("v1");
      {
        await using writer = await world().openCutOff(name, { invalidationWaitMs: 0, relayEveryMs: 600_000 });
        await writer.transaction(async (tx, changes) => {
          await tx.query(`UPDATE ${table} SET v = 'v2'`, []);
          changes.invalidate("1");
        });
        // It sees its own write all the same, and then it is gone.
        expect(await writer.get("1", { load: () => read() })).toBe("v2");
      }
      await vi.waitFor(async () =>
        expect(await reader.get("1", { load: () => read(), ...LATEST })).toBe("v2"),
      );
      expect(reader.stats().invalidationRelayedCount).toBeGreaterThan(0);
    });
  });

  describe("race 5: a fill from a replica that has not replayed the write", () => {
    it("leaves a naive cache with the old value", async () => {
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      const cache = new NaiveCache(new NaiveShared());
      database.commit("1", "v2");
      cache.delete("1");
      await cache.get("1", async () => database.readReplica("1"));
      expect(await cache.get("1", async () => database.read("1"))).toBe("v1");
    });

    it("is refused, and a loader that looks at the floor goes to the primary", async () => {
      const { name } = await setUp();
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      await using cache = await world().open(name, { positions: database, positionEveryMs: 20 });
      const fromReplica = async ({ observed }: { observed: (at: ModelDatabase["at"]) => void }) => {
        observed(database.replica);
        return database.readReplica("1");
      };
      await vi.waitFor(async () => {
        await cache.invalidate({ keys: ["1"] });
        await cache.get("1", { load: fromReplica });
        expect(await cache.peek(["1"])).toEqual(["v1"]);
      });
      database.commit("1", "v2");
      await cache.invalidate({ keys: ["1"] });
      await cache.get("1", { load: fromReplica });
      expect(await cache.peek(["1"])).toEqual([undefined]);
      expect(cache.stats().fillBehindCount).toBeGreaterThan(0);
      const value = await cache.get("1", {
        load: async ({ floor, observed }) => {
          if (floor === undefined || floor.position > database.replica.position) return database.read("1");
          observed(database.replica);
          return database.readReplica("1");
        },
      });
      expect([value, ...(await cache.peek(["1"]))]).toEqual(["v2", "v2"]);
    });

    it("cannot hide a session's own write, wherever it reads next", async () => {
      const { name } = await setUp();
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      await using here = await world().open(name, { positions: database, positionEveryMs: 20 });
      await using there = await world().open(name, { positions: database, positionEveryMs: 20 });
      const load = async ({ floor, observed }: Parameters<Parameters<Cache["get"]>[1]["load"]>[0]) => {
        if (floor === undefined || floor.position > database.replica.position) return database.read("1");
        observed(database.replica);
        return database.readReplica("1");
      };
      await there.get("1", { load });
      const session = database.commit("1", "v2");
      await here.invalidate({ keys: ["1"] });
      // A copy there may still be the old one: the message is on its way. Not for this session.
      expect(await there.get("1", { load, session })).toBe("v2");
    });
  });

  describe("race 6: a failover to a shorter history", () => {
    it("leaves a naive cache with what the database no longer has", async () => {
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      database.commit("1", "lost");
      const cache = new NaiveCache(new NaiveShared());
      await cache.get("1", async () => database.read("1"));
      database.failOver();
      expect([database.read("1"), await cache.get("1", async () => database.read("1"))]).toEqual([
        "v1",
        "lost",
      ]);
    });

    it("makes every entry of the lost history a miss, though positions are given again", async () => {
      const { name } = await setUp();
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      database.commit("1", "lost");
      await using one = await world().open(name, { positions: database, positionEveryMs: 20 });
      await using two = await world().open(name);
      const load = async () => database.read("1");
      expect([await one.get("1", { load }), await two.get("1", { load })]).toEqual(["lost", "lost"]);
      database.failOver();
      database.commit("2", "the same position again");
      await vi.waitFor(async () => expect(await two.get("1", { load, ...LATEST })).toBe("v1"));
      await vi.waitFor(async () => expect(await two.get("1", { load })).toBe("v1"));
    });

    it("is noticed at once by the first change that is published afterwards", async () => {
      const { name } = await setUp();
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      database.commit("1", "lost");
      await using cache = await world().open(name, { positions: database, positionEveryMs: 600_000 });
      const load = async () => database.read("1");
      expect(await cache.get("1", { load })).toBe("lost");
      database.failOver();
      database.commit("2", "v1");
      await cache.invalidate({ keys: ["2"] });
      expect(await cache.get("1", { load, ...LATEST })).toBe("v1");
    });
  });

  describe("race 7 and 11: a message to a process that keeps copies is lost", () => {
    it("leaves a naive cache's copy as it was", async () => {
      const { read, set } = await setUp();
      const shared = new NaiveShared();
      const [here, there] = [new NaiveCache(shared), new NaiveCache(shared)];
      await there.get("1", () => read());
      there.isDeaf = true;
      await set("v2");
      here.delete("1");
      expect(await there.get("1", () => read())).toBe("v1");
    });

    it("is older than the staleness bound at no time: copies are only served while the process is up to date", async () => {
      const { name, read, table } = await setUp();
      const maxStalenessMs = 300;
      await using here = await world().open(name);
      await using there = await world().open(name, { maxStalenessMs });
      const load = () => read();
      for (let round = 2; round < 6; round += 1) {
        await there.get("1", { load });
        await here.transaction(async (tx, changes) => {
          await tx.query(`UPDATE ${table} SET v = $1`, [`v${round}`]);
          changes.invalidate("1");
        });
        const toldAt = performance.now();
        await vi.waitFor(async () => {
          const askedAt = performance.now();
          const value = await there.get("1", { load });
          if (askedAt - toldAt > maxStalenessMs) expect(value).toBe(`v${round}`);
          expect(value).toBe(`v${round}`);
        });
      }
    });
  });

  describe("race 8: results that other rows belong to", () => {
    it("stay as they were in a naive cache that deletes by key", async () => {
      const { sql, table } = await setUp();
      const list = async () =>
        (await sql.query<{ id: number }>(`SELECT id FROM ${table} ORDER BY id`, [])).length;
      const cache = new NaiveCache(new NaiveShared());
      await cache.get("list", list);
      await sql.query(`INSERT INTO ${table} (id, v) VALUES (2, 'x')`, []);
      cache.delete("2");
      expect(await cache.get("list", list)).toBe(1);
    });

    it("go with their tag: an insert invalidates lists, counts and searches of its namespace and no other", async () => {
      const { name, sql, table } = await setUp();
      await using cache = await world().open(name);
      const countOf = (namespace: string) => ({
        tags: [`namespace:${namespace}`],
        load: async () => {
          const [row] = await sql.query<{ n: string }>(
            `SELECT count(*) AS n FROM ${table} WHERE namespace = $1`,
            [namespace],
          );
          return Number(row?.n);
        },
        ...LATEST,
      });
      const vector = new Float32Array([0.5, 0.25]);
      const ask = async (namespace: string) => [
        await cache.get(["list", namespace], countOf(namespace)),
        await cache.get(["count", namespace], countOf(namespace)),
        await cache.get(["search", namespace, vector, 10], countOf(namespace)),
      ];
      expect([...(await ask("n")), ...(await ask("m"))]).toEqual([1, 1, 1, 0, 0, 0]);
      const loadCount = cache.stats().loadCount;
      await cache.transaction(async (tx, changes) => {
        await tx.query(`INSERT INTO ${table} (id, namespace, v) VALUES (2, 'm', 'x')`, []);
        changes.invalidateTag("namespace:m");
      });
      expect([...(await ask("n")), ...(await ask("m"))]).toEqual([1, 1, 1, 1, 1, 1]);
      expect(cache.stats().loadCount - loadCount).toBe(3);
    });
  });

  describe("race 9: guards that are evicted or lost", () => {
    it("let a naive cache store what they stood against", async () => {
      const database = new ModelDatabase();
      database.commit("1", "v1");
      database.replay();
      const position = database.commit("1", "v2").position;
      const shared = new NaiveShared();
      const cache = new NaiveCache(shared);
      cache.delete("1", position);
      cache.storeFrom("1", database.readReplica("1"), database.replica.position);
      expect(shared.entries.has("1")).toBe(false);
      shared.floors.clear();
      cache.storeFrom("1", database.readReplica("1"), database.replica.position);
      expect(await cache.get("1", async () => database.read("1"))).toBe("v1");
    });

    it("are misses and refused fills, never stale hits", async () => {
      const { name, read, table } = await setUp();
      await using cache = await world().open(name);
      await cache.get("kept", { load: async () => "old", tags: ["t"] });
      await world().loseGuards(name);
      expect(await cache.get("kept", { load: async () => "new", tags: ["t"], ...LATEST })).toBe("new");
      const gate = new Gate();
      const reading = cache.get("1", { load: slowLoad(read, gate) });
      await gate.arrived;
      await cache.transaction(async (tx, changes) => {
        await tx.query(`UPDATE ${table} SET v = 'v2'`, []);
        changes.invalidate("1");
      });
      await world().loseGuards(name);
      gate.open();
      await reading;
      expect(await cache.get("1", { load: () => read(), ...LATEST })).toBe("v2");
      expect(cache.stats().fillGenerationCount + cache.stats().fillOvertakenCount).toBeGreaterThan(0);
    });
  });

  describe("race 10: a slow load and a tag, judged by clocks", () => {
    it("look valid to a naive cache when the loader's clock is ahead, or the value is stamped after the load", async () => {
      const { read, set } = await setUp();
      const shared = new NaiveShared();
      const [ahead, right] = [new NaiveCache(shared, () => 5_001), new NaiveCache(shared, () => 1)];
      const gate = new Gate();
      const reading = ahead.get("1", slowLoad(read, gate), ["t"]);
      await gate.arrived;
      await set("v2");
      right.invalidateTag("t");
      gate.open();
      await reading;
      ahead.forgetCopies();
      expect(await ahead.get("1", () => read(), ["t"])).toBe("v1");
    });

    it("are judged by counters, so a clock that is 5 s off on either side changes nothing", async () => {
      for (const skewMs of [-5_000, 0, 5_000]) {
        const { name, read, table } = await setUp();
        await using reader = await world().open(name, { clock: skewedClock(skewMs) });
        await using writer = await world().open(name, { clock: skewedClock(-skewMs) });
        const gate = new Gate();
        const reading = reader.get("1", { load: slowLoad(read, gate), tags: ["t"] });
        await gate.arrived;
        await writer.transaction(async (tx, changes) => {
          await tx.query(`UPDATE ${table} SET v = 'v2'`, []);
          changes.invalidateTag("t");
        });
        gate.open();
        await reading;
        expect(await reader.get("1", { load: () => read(), tags: ["t"], ...LATEST })).toBe("v2");
      }
    });
  });

  describe("race 12: everybody misses at once", () => {
    it("makes every reader of a naive cache load", async () => {
      let loadCount = 0;
      const load = async () => {
        loadCount += 1;
        await new Promise((resolve) => setImmediate(resolve));
        return "v";
      };
      const cache = new NaiveCache(new NaiveShared());
      await Promise.all(Array.from({ length: 1_000 }, () => cache.get("1", load)));
      expect(loadCount).toBe(1_000);
    });

    it("runs one load in a process, and one for all processes while its lease lasts", async () => {
      const { name } = await setUp();
      const processes = await Promise.all(Array.from({ length: 10 }, () => world().open(name)));
      let loadCount = 0;
      const load = async () => {
        loadCount += 1;
        // Until every other process has been refused the lease, and waits.
        while (processes.filter((cache) => cache.stats().waitCount > 0).length < processes.length - 1)
          await new Promise((resolve) => setImmediate(resolve));
        return "v";
      };
      const values = await Promise.all(
        processes.flatMap((cache) => Array.from({ length: 100 }, () => cache.get("hot", { load }))),
      );
      expect([new Set(values).size, loadCount]).toEqual([1, 1]);
      await Promise.all(processes.map((cache) => cache.close()));
    });
  });
};

const skewedClock = (skewMs: number) => ({ ...systemClock, wallNow: () => systemClock.wallNow() + skewMs });
