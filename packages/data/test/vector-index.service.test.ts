import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService, expectFigure } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  createVectorCollection,
  type Database,
  type IndexForm,
  type IndexProgress,
  openPostgres,
  type SearchResult,
} from "../src/index.ts";
import { measuredOn } from "./measured-on.ts";
import { clusteredVectors } from "./vector-fixture.ts";

const DIMENSIONS = 64;
const COUNT = 4_000;

describeService(["postgres", "pgvector"], "the vector index on a PostgreSQL server", () => {
  let server: PostgresServer;
  let database: Database;
  let single: Database;
  const vectors = clusteredVectors(COUNT, DIMENSIONS, { clusterCount: 2_000 });
  const easy = clusteredVectors(2_040, DIMENSIONS);
  const queries = clusteredVectors(COUNT + 40, DIMENSIONS, { clusterCount: 2_000 }).slice(COUNT);

  const collection = (table: string, options: { readonly efSearch?: number } = {}) =>
    createVectorCollection({
      database,
      table,
      dimensions: DIMENSIONS,
      columns: { bucket: "int4", flag: "boolean" },
      ...options,
    });
  let items: ReturnType<typeof collection>;

  beforeAll(async () => {
    server = await startPostgres({ settings: { shared_buffers: "128MB" } });
    database = await openPostgres({ url: server.url });
    single = await openPostgres({ url: server.url, max: 1, statementTimeoutMs: 0 });
    items = collection("items");
    await items.migrate();
    await items.load(
      vectors.map((vector, index) => ({
        namespace: `n${index % 4}`,
        key: `k${index}`,
        vector,
        columns: { bucket: index % 100, flag: index % 400 === 0 },
      })),
    );
    await items.buildIndex({ maintenance: single, memoryMb: 128 });
  });
  afterAll(async () => {
    await Promise.all([database?.close(), single?.close()]);
    await server?.[Symbol.asyncDispose]();
  });

  const keys = (result: SearchResult): readonly string[] => result.matches.map(({ key }) => key);
  const recallOf = (truth: SearchResult, found: SearchResult): number => {
    const limit = (truth.matches.at(-1)?.distance ?? 0) + 1e-6;
    return found.matches.filter(({ distance }) => distance <= limit).length / truth.matches.length;
  };
  const isSorted = (result: SearchResult): boolean =>
    result.matches.every(
      (match, index) => index === 0 || match.distance >= (result.matches[index - 1]?.distance ?? 0),
    );

  describe("search", () => {
    it("finds ten nearest by the index, as good as the exact ones", async () => {
      const recalls: number[] = [];
      for (const vector of queries) {
        const [truth, found] = [
          await items.search({ vector, mode: "exact" }),
          await items.search({ vector }),
        ];
        expect(found.plan.kind).toBe("index");
        expect(found.matches).toHaveLength(10);
        expect(isSorted(found)).toBe(true);
        recalls.push(recallOf(truth, found));
      }
      expect(recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length).toBeGreaterThanOrEqual(0.95);
    });

    it("uses the index as EXPLAIN shows, its operator ascending under a limit, also with a minimum similarity", async () => {
      const vector = queries[0] ?? [];
      for (const minSimilarity of [undefined, 0.7]) {
        const { lines, text, plan } = await items.explain({ vector, minSimilarity });
        expect(plan).toMatchObject({ kind: "index", index: "items_hnsw_plain", efSearch: 100 });
        expect(lines.join("\n")).toMatch(/Index Scan using items_hnsw_plain/);
        expect(text).toMatch(/ORDER BY embedding <=> \$1::vector LIMIT 10$/);
        expect(text).not.toContain("[");
      }
      const exact = await items.explain({ vector, mode: "exact" });
      expect(exact.lines.join("\n")).not.toContain("hnsw");
    });

    it("gives all k above the search width", async () => {
      const narrow = collection("items", { efSearch: 10 });
      const found = await narrow.search({ vector: queries[1] ?? [], k: 300 });
      expect(found.plan).toMatchObject({ kind: "index", efSearch: 300 });
      expect(found.matches).toHaveLength(300);
      expect(isSorted(found)).toBe(true);
      const most = await narrow.search({ vector: queries[1] ?? [], k: 1_000, mode: "index" });
      expect(most.matches.length).toBeGreaterThan(990);
    });

    it("sets what it needs for itself alone: the next user of the connection sees nothing of it", async () => {
      await using one = await openPostgres({ url: server.url, max: 1 });
      const alone = createVectorCollection({
        database: one,
        table: "items",
        dimensions: DIMENSIONS,
        efSearch: 777,
        columns: { bucket: "int4" },
      });
      const found = await alone.search({ vector: queries[2] ?? [], k: 500 });
      expect(found.matches).toHaveLength(500);
      await alone.search({ vector: queries[2] ?? [], where: { columns: { bucket: 3 } }, mode: "index" });
      const settings =
        "current_setting('hnsw.ef_search') AS ef, current_setting('hnsw.iterative_scan') AS iterative";
      expect(await one.query(`SELECT ${settings}`)).toEqual([{ ef: "40", iterative: "off" }]);
      expect(one.stats().sessionOpenedCount).toBe(1);
    });

    it.each([
      ["1 % of the rows", { columns: { bucket: 7 } }],
      ["0.25 % of the rows", { columns: { flag: true } }],
      ["half of the rows", { columns: { bucket: { lt: 50 } } }],
    ])("finds all ten through a filter that %s match, in strict order, with recall 0.95", async (_what, where) => {
      const recalls: number[] = [];
      for (const vector of queries) {
        const truth = await items.search({ vector, where, mode: "exact" });
        const found = await items.search({ vector, where });
        expect(truth.matches).toHaveLength(10);
        expect(found.matches).toHaveLength(10);
        expect(isSorted(found)).toBe(true);
        recalls.push(recallOf(truth, found));
      }
      expect(recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length).toBeGreaterThanOrEqual(0.95);
    });

    it("chooses by the part that matches, and says why", async () => {
      const vector = queries[3] ?? [];
      const narrow = await items.search({ vector, where: { columns: { flag: true } } });
      expect(narrow.plan).toMatchObject({
        kind: "exact",
        reason: expect.stringMatching(/about \d+ rows match/),
      });
      const wide = await items.search({ vector, where: { columns: { bucket: { lt: 90 } } } });
      expect(wide.plan).toMatchObject({
        kind: "iterative",
        reason: expect.stringContaining("of 4000 rows match"),
      });
      const explained = await items.explain({ vector, where: { columns: { bucket: { lt: 90 } } } });
      expect(explained.lines.join("\n")).toMatch(/Index Scan using items_hnsw_plain/);
    });

    it("looks at every row that matches when the index runs dry", async () => {
      // Statistics that are wrong by far: the planner believes that half of the rows match.
      const found = await items.search({ vector: queries[4] ?? [], where: { metadata: { none: true } } });
      expect(found.matches).toEqual([]);
      const stale = collection("stale");
      await stale.migrate();
      await stale.load(
        vectors
          .slice(0, 4_000)
          .map((vector, index) => ({ namespace: "n", key: `k${index}`, vector, columns: { bucket: 1 } })),
      );
      await stale.buildIndex();
      await stale.load(
        vectors.slice(1_500, 1_505).map((vector, index) => ({
          namespace: "n",
          key: `late${index}`,
          vector,
          columns: { bucket: 1, flag: true },
        })),
      );
      await database.query("UPDATE stale SET bucket = 2 WHERE key LIKE 'late%'");
      const late = await stale.search({ vector: queries[4] ?? [], k: 5, where: { columns: { bucket: 2 } } });
      expect(late.matches.map(({ key }) => key).sort()).toEqual([
        "late0",
        "late1",
        "late2",
        "late3",
        "late4",
      ]);
    });

    it("answers in time: ten of a namespace of 1,000 within 50 ms, ten of four namespaces within 100 ms", async () => {
      const vector = queries[5] ?? [];
      await items.search({ vector, namespace: "n1" });
      await items.search({ vector });
      // The quickest of five: the machine does other things as well.
      const timed = async (run: () => Promise<SearchResult>): Promise<[SearchResult, number]> => {
        let bestMs = Number.POSITIVE_INFINITY;
        let result = await run();
        for (let round = 0; round < 5; round += 1) {
          const startedAt = performance.now();
          result = await run();
          bestMs = Math.min(bestMs, performance.now() - startedAt);
        }
        return [result, bestMs];
      };
      const [one, oneMs] = await timed(() => items.search({ vector, namespace: "n1" }));
      const [all, allMs] = await timed(() => items.search({ vector }));
      const on = [await measuredOn(database)];
      expectFigure("the nearest ten of a namespace of 1,000", oneMs, { unit: "ms", below: 50, on });
      expectFigure("the nearest ten of four namespaces", allMs, { unit: "ms", below: 100, on });
      expect(keys(one)).toEqual(keys(await items.search({ vector, namespace: "n1", mode: "exact" })));
      expect(keys(all)).toEqual(keys(await items.search({ vector, mode: "exact" })));
    });
  });

  describe("recall", () => {
    it("is measured against the truth, with latencies of both", async () => {
      const narrow = await items.measureRecall({ vectors: queries, efSearch: 10 });
      const wide = await items.measureRecall({ vectors: queries, efSearch: 400 });
      expect(narrow).toMatchObject({ k: 10, efSearch: 10, sampleCount: 40 });
      expect(wide.meanRecall).toBeGreaterThan(0.98);
      expect((await items.measureRecall({ sampleCount: 25 })).sampleCount).toBe(25);
      expect(narrow.meanRecall).toBeLessThan(wide.meanRecall);
      expect(wide.minRecall).toBeLessThanOrEqual(wide.meanRecall);
      for (const { p50Ms, p95Ms } of [wide.exact, wide.byIndex]) {
        expect(p50Ms).toBeGreaterThan(0);
        expect(p95Ms).toBeGreaterThanOrEqual(p50Ms);
      }
    });

    it("is tuned to a target with the narrowest search that reaches it, and what cannot be reached is said", async () => {
      const tuned = collection("items", { efSearch: 1 });
      const report = await tuned.tune({ targetRecall: 0.95, sampleCount: 40, vectors: queries });
      expect(report).toMatchObject({ isReached: true, targetRecall: 0.95 });
      expect(report.meanRecall).toBeGreaterThanOrEqual(0.95);
      expect(tuned.efSearch).toBe(report.efSearch);
      expect(report.tried.slice(0, -1).every(({ meanRecall }) => meanRecall < 0.95)).toBe(true);
      await expect(tuned.tune({ targetRecall: 1.1 })).rejects.toMatchObject({ field: "targetRecall" });
    });

    it.each([
      "halfvec",
      "binary",
    ] as const)("reaches 0.9 with an index of form %s, whose candidates are re-ranked by the full vectors", async (form: IndexForm) => {
      const coarse = collection(`coarse_${form}`);
      await coarse.migrate();
      await coarse.load(
        easy.slice(0, 2_000).map((vector, index) => ({ namespace: "n", key: `k${index}`, vector })),
      );
      const { isValid, form: built } = await coarse.buildIndex({ form });
      expect([isValid, built]).toEqual([true, form]);
      const report = await coarse.measureRecall({
        vectors: easy.slice(2_000),
        efSearch: form === "binary" ? 400 : 100,
      });
      expect(report.meanRecall).toBeGreaterThanOrEqual(0.9);
      const { lines } = await coarse.explain({ vector: queries[0] ?? [] });
      expect(lines.join("\n")).toContain(`coarse_${form}_hnsw_${form}`);
    });
  });

  describe("build", () => {
    it("tells memory, progress and validity while the table takes writes, and does nothing the second time", async () => {
      const live = collection("live");
      await live.migrate();
      await live.load(
        vectors.slice(0, 2_500).map((vector, index) => ({ namespace: "n", key: `k${index}`, vector })),
      );
      const progress: IndexProgress[] = [];
      const building = live.buildIndex({
        maintenance: single,
        memoryMb: 64,
        workerCount: 0,
        m: 32,
        efConstruction: 200,
        onProgress: (each) => progress.push(each),
      });
      await vi.waitFor(() => expect(progress.length).toBeGreaterThan(0), { timeout: 10_000, interval: 5 });
      await live.insert({ namespace: "n", key: "meanwhile", vector: queries[0] ?? [] });
      const report = await building;
      expect(report).toMatchObject({ name: "live_hnsw_plain", form: "plain", isNew: true, isValid: true });
      expect(report.sizeBytes).toBeGreaterThan(1_000_000);
      expect(report.memory).toMatchObject({ fits: true, availableBytes: 64 << 20 });
      expect(progress[0]?.phase).toMatch(/\w/);
      expect((await live.search({ vector: queries[0] ?? [], k: 1 })).matches[0]?.key).toBe("meanwhile");
      expect(await live.buildIndex()).toMatchObject({ isNew: false, isValid: true });
      expect(await single.query("SHOW maintenance_work_mem")).toEqual([{ maintenance_work_mem: "64MB" }]);
    });

    it("says how much memory is missing", async () => {
      const report = await items.buildIndex({ maintenance: single, memoryMb: 1 });
      expect(report.memory).toMatchObject({ fits: false, advice: expect.stringMatching(/about \d+ MiB/) });
      expect(report.memory.neededBytes).toBeGreaterThan(COUNT * DIMENSIONS * 4);
      await expect(items.buildIndex({ memoryMb: 64 })).rejects.toMatchObject({ field: "maintenance" });
    });

    it("leaves no invalid index behind when it is aborted, and replaces one that a killed build left", async () => {
      const broken = collection("broken");
      await broken.migrate();
      await broken.load(
        vectors.slice(0, 2_500).map((vector, index) => ({ namespace: "n", key: `k${index}`, vector })),
      );
      const controller = new AbortController();
      const building = broken.buildIndex({ signal: controller.signal, efConstruction: 200, m: 32 });
      const exists = async (): Promise<number> => {
        const rows = await database.query("SELECT 1 FROM pg_class WHERE relname = 'broken_hnsw_plain'");
        return rows.length;
      };
      await vi.waitFor(async () => expect(await exists()).toBe(1), { timeout: 10_000, interval: 5 });
      controller.abort(new Error("not today"));
      await expect(building).rejects.toThrow("not today");
      expect(await exists()).toBe(0);
      // What a server that died in the middle leaves.
      await database.query(
        "CREATE INDEX broken_hnsw_plain ON broken USING hnsw (embedding vector_cosine_ops)",
      );
      await server.sql(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken_hnsw_plain'::regclass",
      );
      expect(await broken.buildIndex()).toMatchObject({ isNew: true, isValid: true });
    });

    it("that another process is at is left to it", async () => {
      const busy = collection("busy");
      await busy.migrate();
      await busy.load(
        vectors.slice(0, 2_000).map((vector, index) => ({ namespace: "n", key: `k${index}`, vector })),
      );
      const first = busy.buildIndex({ m: 32, efConstruction: 200 });
      const isThere = () => database.query("SELECT 1 FROM pg_class WHERE relname = 'busy_hnsw_plain'");
      await vi.waitFor(async () => expect(await isThere()).toHaveLength(1), { timeout: 10_000, interval: 5 });
      await expect(busy.buildIndex()).rejects.toMatchObject({ code: "VECTOR_INDEX_BUSY", retryable: true });
      expect(await first).toMatchObject({ isNew: true, isValid: true });
      expect(await busy.buildIndex()).toMatchObject({ isNew: false, isValid: true });
    });

    it("of one namespace serves that namespace, and no other's search", async () => {
      await items.buildIndex({ namespace: "n'2" });
      await items.buildIndex({ namespace: "n2" });
      const vector = queries[6] ?? [];
      const within = await items.search({ vector, namespace: "n2" });
      expect(within.plan.kind).toBe("partial");
      expect(within.matches).toHaveLength(10);
      expect(
        recallOf(await items.search({ vector, namespace: "n2", mode: "exact" }), within),
      ).toBeGreaterThanOrEqual(0.9);
      const { lines } = await items.explain({ vector, namespace: "n2" });
      expect(lines.join("\n")).toMatch(/Index Scan using items_hn_plain_/);
      expect((await items.search({ vector, namespace: "n1" })).plan.kind).not.toBe("partial");
      expect((await items.search({ vector, namespace: "n'2" })).matches).toEqual([]);
    });

    it("is refused with advice where no index fits the dimensions", async () => {
      const wide = createVectorCollection({ database, table: "wide", dimensions: 4_100, distance: "l1" });
      await wide.migrate();
      await expect(wide.buildIndex()).rejects.toThrow(/at most 2000 dimensions.*search without an index/);
      const huge = createVectorCollection({ database, table: "huge", dimensions: 3_000 });
      await huge.migrate();
      expect(await huge.buildIndex()).toMatchObject({ form: "halfvec", isValid: true });
    });
  });
});
