import type { PostgresServer } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
  createVectorCollection,
  type Database,
  defineSchema,
  distributed,
  openPostgres,
  openShards,
  type RebalanceProgress,
  type Shards,
} from "../src/index.ts";
import { type CitusCluster, startCitus } from "./citus-cluster.ts";
import { schema, shardingSuite, type Tables } from "./sharding.suite.ts";
import { makeCommitsWait } from "./unconfirmed-commits.ts";
import { clusteredVectors } from "./vector-fixture.ts";

// Debian has no Citus, so this suite runs where somebody installed it.
describeService(
  ["postgres", "pgvector", "citus"],
  "sharding on a Citus cluster (seen to pass with Citus 13.2.2, PostgreSQL 15.20, pgvector 0.8.0)",
  () => {
    let cluster: CitusCluster;
    let database: Database;
    let shards: Shards<Tables>;
    beforeAll(async () => {
      cluster = await startCitus(["vector"]);
      database = await openPostgres({ url: cluster.coordinator.url });
      shards = await openShards({ database, schema, citus: "required" });
      await shards.migrate();
    });
    afterAll(async () => {
      await database?.close();
      await cluster?.[Symbol.asyncDispose]();
    });

    shardingSuite("a cluster of three", () => database);

    describe("placement", () => {
      it("is as declared: shards, groups, and reference tables in one shard on every node", async () => {
        const { tables, shards: placed, nodes, skew } = await shards.placement();
        const of = (name: string) => tables.find(({ table }) => table === name);
        expect(of("accounts")).toMatchObject({ kind: "distributed", by: "tenant", shardCount: 8 });
        expect(of("orders")).toMatchObject({ shardCount: 8, groupId: of("accounts")?.groupId });
        expect(of("visits")).toMatchObject({ by: "page", shardCount: 4 });
        expect(of("visits")?.groupId).not.toBe(of("accounts")?.groupId);
        expect(of("countries")).toMatchObject({ kind: "reference", shardCount: 1 });
        const ports = cluster.workers.map(({ port }) => port).sort();
        expect(nodes.map(({ port }) => port).sort()).toEqual(ports);
        expect(nodes.every(({ isActive }) => isActive)).toBe(true);
        expect(shards.citusVersion).toMatch(/^\d+\.\d+/);
        const countries = placed.filter(({ table }) => table === "countries");
        expect(new Set(countries.map(({ shardId }) => shardId)).size).toBe(1);
        expect(countries.map(({ port }) => port)).toEqual(expect.arrayContaining(ports));
        expect(placed.every(({ host, port }) => host === "127.0.0.1" && port > 0)).toBe(true);
        expect(skew.byNode).toBeGreaterThanOrEqual(1);
        expect(skew.byShard["accounts"]).toBeGreaterThanOrEqual(1);
      });

      it("of five tenants is where the catalogue says, and their queries go there as one task", async () => {
        for (const tenant of ["ada", "bea", "cleo", "dora", "eva"]) {
          const place = await shards.locate("accounts", tenant);
          await shards.forTenant(tenant).insert("accounts", { id: 1, name: tenant });
          const worker = cluster.workers.find(({ port }) => port === place.port);
          const found = await worker?.sql(
            `SELECT name FROM accounts_${place.shardId} WHERE tenant = '${tenant}'`,
          );
          expect(found).toBe(tenant);
          expect(await shards.locate("orders", tenant)).toMatchObject({ port: place.port });
          const lines = await database.query<{ "QUERY PLAN": string }>(
            `EXPLAIN WITH accounts AS NOT MATERIALIZED (SELECT * FROM accounts WHERE tenant = '${tenant}'),
             orders AS NOT MATERIALIZED (SELECT * FROM orders WHERE tenant = '${tenant}')
             SELECT * FROM accounts a JOIN orders o ON o.account = a.id`,
          );
          const plan = lines.map((line) => line["QUERY PLAN"]).join("\n");
          expect(plan).toContain("Task Count: 1");
          expect(plan).toContain(`port=${place.port}`);
        }
      });

      it("is refused in a database that knows no node", async () => {
        await using alone = await openPostgres({ url: await cluster.createLonelyDatabase("alone") });
        const lonely = await openShards({ database: alone, schema });
        await expect(lonely.migrate()).rejects.toMatchObject({
          code: "SHARD_SERVER_UNSUPPORTED",
          message: expect.stringContaining("database alone"),
        });
      });

      it("drift is told for a table that is distributed otherwise", async () => {
        await database.query(
          "CREATE TABLE strays (a text, b text, PRIMARY KEY (a, b)); SELECT create_distributed_table('strays', 'b', shard_count => 4)",
        );
        const declared = distributed({
          by: "a",
          columns: { a: "text", b: "text" },
          primaryKey: ["a", "b"],
          shardCount: 8,
        });
        const other = await openShards({ database, schema: defineSchema({ strays: declared }) });
        const differences = [
          "table strays is distributed by b instead of a",
          "table strays has 4 shards instead of 8",
        ];
        expect(await other.drift()).toEqual(differences);
        await expect(other.migrate()).rejects.toMatchObject({ code: "SHARD_SCHEMA_DRIFT", differences });
        await database.query("DROP TABLE strays");
      });

      it("gives a large tenant a shard of its own, with its rows in every table of the group", async () => {
        const tenant = shards.forTenant("whale");
        await tenant.insert("accounts", { id: 1, name: "big" });
        await tenant.insert("orders", { account: 1, cents: 7 });
        const before = await shards.locate("accounts", "whale");
        const after = await shards.isolate("accounts", "whale");
        expect(after.shardId).not.toBe(before.shardId);
        expect(
          await tenant.query("SELECT a.name, o.cents FROM accounts a JOIN orders o ON o.account = a.id"),
        ).toEqual([{ name: "big", cents: "7" }]);
        expect(await shards.drift()).toEqual([]);
      });
    });

    describe("in doubt", () => {
      const open = async (name: string) => {
        const db = await openPostgres({ url: await cluster.createDatabase(name) });
        const items = distributed({
          by: "k",
          columns: { k: "int4", v: "text" },
          primaryKey: ["k"],
          shardCount: 4,
        });
        const mine = await openShards({ database: db, schema: defineSchema({ items }) });
        await mine.migrate();
        // Forgets what was decided about transactions that have ended everywhere, as the daemon does each minute.
        await mine.recover();
        const keyOn = async (port: number): Promise<number> => {
          for (let k = 0; ; k += 1) if ((await mine.locate("items", k)).port === port) return k;
        };
        return { db, mine, keyOn };
      };

      it("all or nothing comes of a worker that is lost between prepare and commit, and it is listed meanwhile", async () => {
        const [first, second] = cluster.workers as [PostgresServer, PostgresServer];
        const { coordinator } = cluster;
        const { db, mine, keyOn } = await open("doubtful");
        await using _db = db;
        const [one, two] = [await keyOn(first.port), await keyOn(second.port)];
        // The coordinator waits for a standby that nobody is: after both workers prepared, before it tells them to commit.
        await makeCommitsWait(db);
        const committing = mine.crossTenant().transaction(async (tx) => {
          await tx.query("INSERT INTO items VALUES ($1, 'both')", [one]);
          await tx.query("INSERT INTO items VALUES ($1, 'both')", [two]);
        });
        committing.catch(() => undefined);
        const prepared = () => second.sql("SELECT count(*) FROM pg_prepared_xacts", { database: "doubtful" });
        await vi.waitFor(async () => expect(await prepared()).toBe("1"), { timeout: 10_000, interval: 20 });
        await second.kill();
        await coordinator.sql("ALTER SYSTEM RESET synchronous_standby_names");
        await coordinator.sql("SELECT pg_reload_conf()");
        await committing;
        const meanwhile = await mine.inDoubt();
        expect(meanwhile).toMatchObject([{ node: `127.0.0.1:${second.port}`, decision: "commit" }]);
        await second.start();
        await vi.waitFor(async () => expect(await prepared()).toBe("1"), { timeout: 10_000 });
        expect(await mine.inDoubt()).toMatchObject([{ id: meanwhile[0]?.id, decision: "commit" }]);
        expect(await mine.recover()).toBeGreaterThanOrEqual(1);
        expect(await mine.inDoubt()).toEqual([]);
        const rows = await mine.crossTenant().query("SELECT k, v FROM items ORDER BY k");
        expect(rows).toEqual([one, two].sort((a, b) => a - b).map((k) => ({ k, v: "both" })));
      });

      it("what no coordinator decided is rolled back", async () => {
        const [first] = cluster.workers as [PostgresServer];
        const { db, mine, keyOn } = await open("undecided");
        await using _db = db;
        const key = await keyOn(first.port);
        const { shardId } = await mine.locate("items", key);
        // What a coordinator leaves that dies after the workers prepared.
        const text = `BEGIN; INSERT INTO items_${shardId} VALUES (${key}, 'lost'); PREPARE TRANSACTION 'citus_0_1_1_0'`;
        await first.sql(text, { database: "undecided" });
        expect(await mine.inDoubt()).toMatchObject([{ id: "citus_0_1_1_0", decision: "roll back" }]);
        expect(await mine.recover()).toBe(1);
        expect(await mine.inDoubt()).toEqual([]);
        expect(await mine.crossTenant().query("SELECT * FROM items")).toEqual([]);
      });
    });

    describe("vectors", () => {
      it("of a namespace lie in one shard, are searched there, and over all namespaces as on one server", async () => {
        const vectors = clusteredVectors(1_200, 16, { clusterCount: 400 });
        const items = createVectorCollection({
          database,
          table: "items",
          dimensions: 16,
          columns: { n: "int4" },
          efSearch: 20,
        });
        await items.migrate();
        await items.migrate();
        const rows = vectors.map((vector, index) => ({
          namespace: `n${index % 4}`,
          key: `k${index}`,
          vector,
          columns: { n: index },
        }));
        expect(await items.load(rows)).toMatchObject({ insertedCount: 1_200 });
        expect(await items.load(rows.slice(0, 10), { onConflict: "skip" })).toMatchObject({
          skippedCount: 10,
        });
        expect(await items.load(rows.slice(0, 10), { onConflict: "update" })).toMatchObject({
          updatedCount: 10,
          insertedCount: 0,
        });
        expect(await items.buildIndex()).toMatchObject({ isValid: true });
        const vector = vectors[7] ?? [];
        await items.search({ vector, k: 10 });
        const startedAt = performance.now();
        const all = await items.search({ vector, k: 10 });
        expect(performance.now() - startedAt).toBeLessThan(1_000);
        const exact = await items.search({ vector, k: 10, mode: "exact" });
        expect(all.plan.kind).toBe("index");
        expect(all.matches.map(({ key }) => key)).toEqual(exact.matches.map(({ key }) => key));
        const one = await items.search({ vector, namespace: "n3", k: 10 });
        expect(one.matches).toHaveLength(10);
        expect(one.matches.every(({ namespace }) => namespace === "n3")).toBe(true);
        const { lines } = await items.explain({ vector, namespace: "n3" });
        expect(lines.join("\n")).toContain("Task Count: 1");
      });

      it("are searched on the workers with the settings of that search alone", async () => {
        // Each worker keeps 40 by default: more can only come when the width reached it.
        const items = createVectorCollection({ database, table: "wide", dimensions: 16 });
        await items.migrate();
        const vectors = clusteredVectors(900, 16, { clusterCount: 400 });
        await items.load(vectors.map((vector, index) => ({ namespace: "one", key: `k${index}`, vector })));
        await items.buildIndex();
        const found = await items.search({ vector: vectors[3] ?? [], k: 300, mode: "index" });
        expect(found.matches).toHaveLength(300);
        expect(
          await database.query(
            "SELECT current_setting('hnsw.ef_search', true) AS ef, current_setting('citus.propagate_set_commands') AS p",
          ),
        ).toEqual([{ ef: "40", p: "none" }]);
      });
    });

    describe("rebalancing", () => {
      it("previews its moves, reports progress, can be stopped, and reads stay right throughout", async () => {
        const url = await cluster.createDatabase("moving");
        await using moving = await openPostgres({ url });
        const mine = await openShards({
          database: moving,
          schema: defineSchema({
            items: distributed({
              by: "k",
              columns: { k: "int4", v: "text" },
              primaryKey: ["k"],
              shardCount: 4,
            }),
          }),
        });
        await mine.migrate();
        await mine
          .crossTenant()
          .query("INSERT INTO items SELECT g, repeat('x', 100) FROM generate_series(1, 2000) g");
        expect(await mine.planRebalance()).toEqual([]);
        expect(await mine.rebalance()).toMatchObject({ hasMoved: false });
        // All to one side: now there is something to move.
        const [from, to] = cluster.workers as [PostgresServer, PostgresServer];
        const { shards: placed } = await mine.placement();
        for (const { shardId, port } of placed.filter((shard) => shard.port === from.port)) {
          await moving.query(
            `SELECT citus_move_shard_placement(${shardId}, '127.0.0.1', ${port}, '127.0.0.1', ${to.port}, 'block_writes')`,
          );
        }
        const moves = await mine.planRebalance();
        expect(moves).toHaveLength(2);
        expect(moves[0]).toMatchObject({ table: "items", from: { port: to.port }, to: { port: from.port } });
        let isOver = false;
        const reads: number[] = [];
        const reading = (async () => {
          while (!isOver) {
            const [row] = await mine
              .crossTenant()
              .query<{ n: number }>("SELECT count(*)::int AS n FROM items");
            reads.push(row?.n ?? -1);
          }
        })();
        const controller = new AbortController();
        const stopped = mine.rebalance({
          mode: "block_writes",
          signal: controller.signal,
          onProgress: () => controller.abort(),
        });
        expect((await stopped).state).toMatch(/stopped|finished/);
        const progress: RebalanceProgress[] = [];
        const report = await mine.rebalance({
          mode: "block_writes",
          onProgress: (each) => progress.push(each),
        });
        isOver = true;
        await reading;
        expect(report.state).toBe("finished");
        expect(await mine.planRebalance()).toEqual([]);
        expect(new Set(reads)).toEqual(new Set([2_000]));
        const { nodes } = await mine.placement();
        expect(nodes.map(({ shardCount }) => shardCount)).toEqual([2, 2]);
        if (report.hasMoved) expect(progress.at(-1)?.totalCount).toBe(report.moveCount);
      });
    });
  },
);
