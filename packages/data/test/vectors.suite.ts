import { hasCode, type InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import {
  bulkLoad,
  createVectorCollection,
  type Database,
  type Distance,
  decodeVector,
  encodeVector,
  formatVector,
  type StoredRow,
  type VectorType,
  type VectorValue,
} from "../src/index.ts";
import { clusteredVectors } from "./vector-fixture.ts";

let counter = 0;
const tableName = (): string => {
  counter += 1;
  return `items_${counter}_${Math.random().toString(36).slice(2, 8)}`;
};
const keysOf = (rows: readonly StoredRow[]): readonly string[] => rows.map(({ key }) => key);

/** What a collection guarantees on every kind of database. */
export const vectorsSuite = (kind: string, database: () => Database): void => {
  const fresh = async (dimensions = 3) => {
    const items = createVectorCollection({
      database: database(),
      table: tableName(),
      dimensions,
      columns: { lang: "text", year: "int4" },
    });
    await items.migrate();
    return items;
  };

  describe(`vectors on ${kind}: rows`, () => {
    it("inserts with an id, and finds the row by namespace and key", async () => {
      const items = await fresh();
      const { id } = await items.insert({
        namespace: "a",
        key: "one",
        vector: [1, 2, 3],
        value: "text",
        metadata: { x: [1] },
      });
      expect(await items.get("a", "one")).toEqual({
        id,
        namespace: "a",
        key: "one",
        vector: new Float32Array([1, 2, 3]),
        value: "text",
        metadata: { x: [1] },
        createdAt: expect.any(Date),
        updatedAt: expect.any(Date),
      });
      expect(await items.get("a", "two")).toBeUndefined();
    });

    it("never mixes one key in two namespaces", async () => {
      const items = await fresh();
      await items.insert({ namespace: "a", key: "same", vector: [1, 0, 0], value: "of a" });
      await items.insert({ namespace: "b", key: "same", vector: [0, 1, 0], value: "of b" });
      expect((await items.get("a", "same"))?.value).toBe("of a");
      expect((await items.get("b", "same"))?.value).toBe("of b");
      const found = await items.search({ vector: [0, 1, 0], namespace: "a" });
      expect(found.matches.map(({ value }) => value)).toEqual(["of a"]);
    });

    it("lets ten writers of ten namespaces in at once, twice", async () => {
      for (const items of [await fresh(), await fresh()]) {
        const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
        await Promise.all(names.map((namespace) => items.insert({ namespace, key: "k", vector: [1, 0, 0] })));
        expect(await Promise.all(names.map((namespace) => items.count(namespace)))).toEqual(
          names.map(() => 1),
        );
      }
    });

    it("names the constraint when a key is there already", async () => {
      const items = await fresh();
      await items.insert({ namespace: "a", key: "k", vector: [1, 0, 0] });
      const again = items.insert({ namespace: "a", key: "k", vector: [1, 0, 0] });
      await expect(again).rejects.toMatchObject({
        code: "SQL_CONSTRAINT_VIOLATED",
        kind: "unique",
        constraint: expect.stringMatching(/_pkey/),
      });
    });

    it("refuses a vector of another length before it is sent, and alike by the server", async () => {
      const items = await fresh(384);
      const sent = database().stats().statementCount;
      const refused = items.insert({ namespace: "a", key: "k", vector: new Float32Array(128).fill(1) });
      await expect(refused).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT", field: "vector" });
      expect(database().stats().statementCount).toBe(sent);
      // The table is another one than this process believes: only the server sees it.
      const table = tableName();
      await createVectorCollection({ database: database(), table, dimensions: 4 }).migrate();
      const mistaken = createVectorCollection({ database: database(), table, dimensions: 3 });
      const same = { code: "KERNEL_INVALID_INPUT", field: "vector" };
      await expect(mistaken.insert({ namespace: "a", key: "k", vector: [1, 2, 3] })).rejects.toMatchObject(
        same,
      );
      const row = { namespace: "a", key: "k", vector: [1, 2, 3, 4] };
      await createVectorCollection({ database: database(), table, dimensions: 4 }).insert(row);
      await expect(mistaken.search({ vector: [1, 2, 3] })).rejects.toMatchObject(same);
    });

    it("overwrites, lists the newest first, deletes once and counts", async () => {
      const items = await fresh();
      const first = await items.upsert({ namespace: "a", key: "k1", vector: [1, 0, 0], value: "old" });
      const second = await items.upsert({ namespace: "a", key: "k1", vector: [0, 1, 0], value: "new" });
      expect(second.id).toBe(first.id);
      await items.upsert({ namespace: "a", key: "k2", vector: [1, 0, 0] });
      await items.upsert({ namespace: "b", key: "k3", vector: [1, 0, 0] });
      expect(keysOf(await items.list("a"))).toEqual(["k2", "k1"]);
      expect(keysOf(await items.list("a", { limit: 1 }))).toEqual(["k2"]);
      expect((await items.get("a", "k1"))?.value).toBe("new");
      expect(await items.count("a")).toBe(2);
      expect(await items.delete("a", "k1")).toBe(true);
      expect(await items.delete("a", "k1")).toBe(false);
      expect(await items.count("a")).toBe(1);
      await expect(items.list("a", { limit: 0 })).rejects.toMatchObject({ field: "limit" });
    });

    it("refuses a table that is there with other dimensions, and changes nothing", async () => {
      const table = tableName();
      await createVectorCollection({ database: database(), table, dimensions: 3 }).migrate();
      await createVectorCollection({ database: database(), table, dimensions: 3 }).migrate();
      const other = createVectorCollection({ database: database(), table, dimensions: 4 });
      await expect(other.migrate()).rejects.toMatchObject({ code: "VECTOR_SCHEMA_MISMATCH" });
    });
  });

  describe(`vectors on ${kind}: types`, () => {
    const SAMPLES: { readonly [T in VectorType]: VectorValue<T> } = {
      vector: new Float32Array([0.1, -2.5, 3e38, 1e-40]),
      halfvec: new Float32Array([0.5, -2.25, 65_504, 2 ** -24]),
      bit: "1011001110",
      sparsevec: { dimensions: 10, indices: [0, 4, 9], values: [0.5, -1.25, 7] },
    };
    const DIMENSIONS = { vector: 4, halfvec: 4, bit: 10, sparsevec: 10 } as const;
    const DISTANCE = { vector: "l2", halfvec: "l2", bit: "hamming", sparsevec: "l2" } as const;

    it.each([
      "vector",
      "halfvec",
      "bit",
      "sparsevec",
    ] as const)("%s makes the round trip in text and in binary, by statement and by load", async (type) => {
      const items = createVectorCollection({
        database: database(),
        table: tableName(),
        dimensions: DIMENSIONS[type],
        type,
        distance: DISTANCE[type],
      });
      await items.migrate();
      const vector = SAMPLES[type];
      await items.insert({ namespace: "a", key: "inserted", vector });
      await items.load([{ namespace: "a", key: "loaded", vector }]);
      expect((await items.get("a", "inserted"))?.vector).toEqual(vector);
      expect((await items.get("a", "loaded"))?.vector).toEqual(vector);
      const [row] = await database().query<{ text: string; bytes: Buffer; same: boolean }>(
        `SELECT $1::${type}(${DIMENSIONS[type]})::text AS text, ${type}_send($1::${type}(${DIMENSIONS[type]})) AS bytes`,
        [formatVector(type, vector)],
      );
      expect(decodeVector(type, row?.bytes ?? new Uint8Array())).toEqual(vector);
      expect(encodeVector(type, vector)).toEqual(row?.bytes);
    });

    it("numbers sparse indices from one in text and from zero in binary", async () => {
      const sparse: VectorValue<"sparsevec"> = { dimensions: 5, indices: [0, 3], values: [1, 2] };
      expect(formatVector("sparsevec", sparse)).toBe("{1:1,4:2}/5");
      const [row] = await database().query<{ text: string }>("SELECT $1::sparsevec::text AS text", [
        encodeVector("sparsevec", sparse),
      ]);
      expect(row?.text).toBe("{1:1,4:2}/5");
    });
  });

  describe(`vectors on ${kind}: exact search`, () => {
    const POINTS = { e: [5, 0, 0], a: [1, 0, 0], c: [2, 2, 0], b: [1, 1, 0], d: [0, 0, 4] } as const;

    it.each([
      ["l2", ["a", "b", "c", "e", "d"]],
      ["l1", ["a", "b", "c", "e", "d"]],
      ["inner-product", ["e", "c", "b", "a", "d"]],
    ] as readonly (readonly [
      Distance,
      readonly string[],
    ])[])("finds the nearest five in order by %s", async (distance, order) => {
      const items = createVectorCollection({
        database: database(),
        table: tableName(),
        dimensions: 3,
        distance,
      });
      await items.migrate();
      await items.load(Object.entries(POINTS).map(([key, vector]) => ({ namespace: "n", key, vector })));
      const { matches, plan } = await items.search({ vector: [1, 0.1, 0], k: 5 });
      expect(plan.kind).toBe("exact");
      expect(keysOf(matches)).toEqual(order);
    });

    it("finds the nearest five in order by cosine, similarity being one minus the distance", async () => {
      const items = await fresh(2);
      const angles = { e: 170, a: 5, c: 60, b: 30, d: 90 };
      await items.load(
        Object.entries(angles).map(([key, degrees]) => ({
          namespace: "n",
          key,
          vector: [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)],
        })),
      );
      const { matches } = await items.search({ vector: [1, 0], k: 5 });
      expect(keysOf(matches)).toEqual(["a", "b", "c", "d", "e"]);
      for (const { distance, similarity } of matches) expect(similarity).toBeCloseTo(1 - distance, 12);
      expect(matches[2]?.similarity).toBeCloseTo(0.5, 5);
      const near = await items.search({ vector: [1, 0], k: 5, minSimilarity: 0.4 });
      expect(keysOf(near.matches)).toEqual(["a", "b", "c"]);
    });

    it.each([
      ["hamming", ["same", "one", "two", "three"]],
      ["jaccard", ["same", "one", "two", "three"]],
    ] as const)("finds the nearest bits in order by %s", async (distance, order) => {
      const items = createVectorCollection({
        database: database(),
        table: tableName(),
        dimensions: 8,
        type: "bit",
        distance,
      });
      await items.migrate();
      const bits = { three: "10000011", same: "11110000", two: "11000000", one: "11100000" };
      await items.load(Object.entries(bits).map(([key, vector]) => ({ namespace: "n", key, vector })));
      expect(keysOf((await items.search({ vector: "11110000" })).matches)).toEqual(order);
    });

    it("filters by column and by metadata, and refuses a column that is not there", async () => {
      const items = await fresh();
      const add = (key: string, lang: string | null, year: number, kindOf: string) =>
        items.insert({
          namespace: "n",
          key,
          vector: [1, year, 0],
          columns: { lang, year },
          metadata: { kind: kindOf, n: 1 },
        });
      await Promise.all([
        add("a", "en", 1999, "x"),
        add("b", "de", 2005, "x"),
        add("c", "en", 2010, "y"),
        add("d", null, 2020, "x"),
      ]);
      const find = async (where: Parameters<typeof items.search>[0]["where"]) =>
        [...keysOf((await items.search({ vector: [1, 0, 0], where })).matches)].sort().join("");
      expect(await find({ columns: { lang: "en" } })).toBe("ac");
      expect(await find({ columns: { lang: null } })).toBe("d");
      expect(await find({ columns: { lang: { in: ["de", "en"] }, year: { gte: 2000 } } })).toBe("bc");
      expect(await find({ columns: { year: { gt: 1999, lt: 2020 } }, metadata: { kind: "x" } })).toBe("b");
      expect(await find({ metadata: { kind: "x'; DROP TABLE nothing" } })).toBe("");
      const unknown = find({ columns: { colour: "red" } as never });
      await expect(unknown).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
        field: "where.columns.colour",
      });
    });

    it.each([
      ["NaN", [1, Number.NaN, 0], "vector[1]"],
      ["infinity", [1, 0, Number.POSITIVE_INFINITY], "vector[2]"],
      ["only zeros", [0, 0, 0], "vector"],
      ["a wrong length", [1, 0], "vector"],
    ])("refuses to search for %s, naming the place", async (_what, vector, field) => {
      const items = await fresh();
      const error = await items.search({ vector }).catch((reason: InvalidInputError) => reason);
      expect(error).toMatchObject({ code: "KERNEL_INVALID_INPUT", field });
    });
  });

  describe(`vectors on ${kind}: search by index`, () => {
    it("finds what the exact search finds, all k of it, through a filter too, and says how", async () => {
      const items = await fresh(16);
      const vectors = clusteredVectors(1_200, 16, { clusterCount: 300 });
      await items.load(
        vectors.map((vector, index) => ({
          namespace: `n${index % 2}`,
          key: `k${index}`,
          vector,
          columns: { year: index % 4, lang: index % 300 === 0 ? "rare" : "common" },
        })),
      );
      const report = await items.buildIndex();
      expect(report).toMatchObject({ form: "plain", isNew: true, isValid: true });
      const recalls: number[] = [];
      for (const vector of vectors.slice(0, 10)) {
        for (const where of [
          undefined,
          { columns: { year: { lte: 2 } } },
          { columns: { lang: "rare" } },
        ] as const) {
          const exact = await items.search({ vector, where, k: 60, mode: "exact" });
          const found = await items.search({ vector, where, k: 60, efSearch: 20 });
          if (where === undefined) expect(found.plan).toMatchObject({ kind: "index", efSearch: 60 });
          expect(found.matches).toHaveLength(exact.matches.length);
          const keys = new Set(keysOf(exact.matches));
          recalls.push(keysOf(found.matches).filter((key) => keys.has(key)).length / exact.matches.length);
        }
      }
      expect(recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length).toBeGreaterThanOrEqual(0.95);
      expect(await items.tune({ targetRecall: 0.95, sampleCount: 10 })).toMatchObject({ isReached: true });
      expect(await items.buildIndex()).toMatchObject({ isNew: false });
    });
  });

  describe(`vectors on ${kind}: bulk load`, () => {
    const rows = (count: number, seed = 1) =>
      clusteredVectors(count, 8, { seed }).map((vector, index) => ({
        namespace: "n",
        key: `k${index}`,
        vector,
      }));

    it("loads from an async source as it comes, many buffers of it, and nothing is lost", async () => {
      const items = await fresh(8);
      const all = rows(3_000);
      async function* source() {
        for (const row of all)
          yield { ...row, value: "ä€😀\t\\N", columns: { lang: "de", year: 1 }, metadata: { at: row.key } };
      }
      const report = await items.load(source(), { batchMaxBytes: 4_096 });
      expect(report).toMatchObject({
        readCount: 3_000,
        insertedCount: 3_000,
        updatedCount: 0,
        skippedCount: 0,
      });
      expect(await items.count("n")).toBe(3_000);
      expect(await items.get("n", "k2999")).toMatchObject({
        vector: all[2_999]?.vector,
        value: "ä€😀\t\\N",
        metadata: { at: "k2999" },
      });
    });

    it("tells the row that the server refuses, and keeps nothing", async () => {
      const items = await fresh(8);
      await items.insert({ namespace: "n", key: "k1500", vector: rows(1)[0]?.vector ?? [] });
      const failed = items.load(rows(3_000), { batchMaxBytes: 4_096 });
      await expect(failed).rejects.toMatchObject({
        code: "BULK_ROW_REFUSED",
        rowNumber: 1_501,
        retryable: false,
      });
      expect(await items.count("n")).toBe(1);
    });

    it("tells the row that cannot be encoded, with the element, and keeps nothing", async () => {
      const items = await fresh(8);
      const broken = rows(2_000).map((row, index) =>
        index === 1_233 ? { ...row, vector: row.vector.map((v, at) => (at === 6 ? Number.NaN : v)) } : row,
      );
      const failed = items.load(broken, { batchMaxBytes: 4_096 });
      await expect(failed).rejects.toMatchObject({
        code: "BULK_ROW_REFUSED",
        rowNumber: 1_234,
        details: { field: "embedding[6]" },
      });
      expect(await items.count("n")).toBe(0);
    });

    it("keeps nothing when the source fails, or the caller aborts, and says which", async () => {
      const items = await fresh(8);
      async function* failing() {
        yield* rows(500);
        throw new Error("the file ends here");
      }
      await expect(items.load(failing(), { batchMaxBytes: 1_024 })).rejects.toThrow("the file ends here");
      const controller = new AbortController();
      async function* aborting() {
        yield* rows(500);
        controller.abort(new Error("no more"));
        yield* rows(500, 2);
      }
      await expect(
        items.load(aborting(), { signal: controller.signal, batchMaxBytes: 1_024 }),
      ).rejects.toThrow("no more");
      expect(await items.count("n")).toBe(0);
    });

    it("skips what is there and counts it exactly", async () => {
      const items = await fresh(8);
      await items.load(rows(100).map((row) => ({ ...row, value: "first" })));
      const report = await items.load(
        [...rows(250, 2), ...rows(10, 3)].map((row) => ({ ...row, value: "second" })),
        { onConflict: "skip" },
      );
      expect(report).toMatchObject({
        readCount: 260,
        insertedCount: 150,
        skippedCount: 110,
        updatedCount: 0,
        supersededCount: 0,
      });
      expect((await items.get("n", "k99"))?.value).toBe("first");
      expect((await items.get("n", "k100"))?.value).toBe("second");
    });

    it("updates what is there, the last of several wins, and counts exactly", async () => {
      const items = await fresh(8);
      await items.load(rows(100).map((row) => ({ ...row, value: "first" })));
      const again = rows(250, 2).map((row) => ({ ...row, value: "second" }));
      const last = rows(10, 3).map((row) => ({ ...row, value: "third" }));
      const report = await items.load([...again, ...last], { onConflict: "update" });
      expect(report).toMatchObject({
        readCount: 260,
        insertedCount: 150,
        updatedCount: 100,
        skippedCount: 0,
        supersededCount: 10,
      });
      expect((await items.get("n", "k5"))?.value).toBe("third");
      expect((await items.get("n", "k99"))?.value).toBe("second");
      expect((await items.get("n", "k99"))?.vector).toEqual(again[99]?.vector);
    });

    it("refuses what it would lose: a field that it does not have, and metadata that is no JSON", async () => {
      const items = await fresh();
      const row = {
        namespace: "n",
        key: "k",
        vector: [1, 0, 0],
        metadata: { at: new Date(0), no: undefined },
      };
      const refused = [
        [{ columns: { colour: "red" } }, "columns.colour"],
        [{ lang: "de" }, "lang"],
        [{ metadata: { size: 1n } }, "metadata.size"],
        [{ metadata: { f: () => 1 } }, "metadata.f"],
      ] as const;
      for (const [change, field] of refused) {
        const wrong = { ...row, ...change } as never;
        const named = { code: "KERNEL_INVALID_INPUT", field };
        await expect(items.insert(wrong)).rejects.toMatchObject(named);
        await expect(items.upsert(wrong)).rejects.toMatchObject(named);
        await expect(items.load([row, wrong])).rejects.toMatchObject({
          code: "BULK_ROW_REFUSED",
          rowNumber: 2,
          cause: named,
        });
      }
      expect(await items.count("n")).toBe(0);
      const where = { metadata: { size: 1n } };
      await expect(items.search({ vector: [1, 0, 0], namespace: "n", where })).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
        field: "where.metadata.size",
      });
      // What one collection gives, another takes.
      await items.insert(row);
      const other = await fresh();
      await other.load(await items.list("n"));
      expect((await other.get("n", "k"))?.metadata).toEqual({ at: "1970-01-01T00:00:00.000Z" });
    });

    it("asks the source for no more than fits while the database is busy", async () => {
      const items = await fresh(8);
      let taken = 0;
      let most = 0;
      let copied = 0;
      const db = database();
      const watched: Pick<Database, "transaction"> = {
        transaction: (body, options) =>
          db.transaction((tx) => {
            const copyIn: typeof tx.copyIn = async (text, data) => {
              const count = await tx.copyIn(text, data);
              copied += count;
              return count;
            };
            return body({
              ...tx,
              query: tx.query.bind(tx),
              execute: tx.execute.bind(tx),
              savepoint: tx.savepoint.bind(tx),
              copyIn,
            });
          }, options),
      };
      function* source() {
        for (const row of rows(2_000)) {
          taken += 1;
          most = Math.max(most, taken - copied);
          yield { namespace: row.namespace, key: row.key, metadata: {}, embedding: row.vector };
        }
      }
      const table = `plain_${tableName()}`;
      await db.query(`CREATE TABLE ${table} (namespace text, key text, metadata jsonb)`);
      await bulkLoad(watched, {
        table,
        batchMaxBytes: 2_048,
        rows: source(),
        columns: [
          { name: "namespace", type: "text" },
          { name: "key", type: "text" },
          { name: "metadata", type: "jsonb" },
        ],
      });
      expect(copied).toBe(2_000);
      // Two buffers of 2 KiB with rows of 20 bytes and more.
      expect(most).toBeLessThan(250);
      expect(await items.count("n")).toBe(0);
    });

    it("writes every plain type as the server reads it", async () => {
      const table = tableName();
      await database().query(
        `CREATE TABLE ${table} (a text, b int4, c int8, d float8, e boolean, f timestamptz, g uuid, h bytea, i jsonb, j text)`,
      );
      const row = {
        a: "ü\u{1F600}",
        b: -(2 ** 31) + 1,
        c: 2n ** 63n - 1n,
        d: -1.5e-300,
        e: false,
        f: new Date("1969-07-20T20:17:40.123Z"),
        g: "8a3c0b36-9f7e-4d7c-8d0f-1f4b3e9b2c11",
        h: new Uint8Array([0, 255, 10]),
        i: { deep: [1, null, "x"] },
        j: null,
      };
      const types = {
        a: "text",
        b: "int4",
        c: "int8",
        d: "float8",
        e: "boolean",
        f: "timestamptz",
        g: "uuid",
        h: "bytea",
        i: "jsonb",
        j: "text",
      } as const;
      await bulkLoad(database(), {
        table,
        rows: [row],
        columns: Object.entries(types).map(([name, type]) => ({ name, type })),
      });
      expect(await database().query(`SELECT * FROM ${table}`)).toEqual([
        { ...row, c: "9223372036854775807", h: Buffer.from([0, 255, 10]) },
      ]);
      const wrong = bulkLoad(database(), {
        table,
        rows: [{ b: 1.5 }],
        columns: [{ name: "b", type: "int4" }],
      });
      await expect(wrong).rejects.toSatisfy((error) => hasCode(error, "BULK_ROW_REFUSED"));
    });
  });
};
