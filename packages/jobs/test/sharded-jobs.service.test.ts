import {
  type Database,
  defineSchema,
  distributed,
  openPostgres,
  readWholePlacement,
  ShardSchemaError,
} from "@holdfast/data";
import { silentLogger, systemClock } from "@holdfast/kernel";
import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSqlJobStore, shardJobs } from "../src/model/job-store/index.ts";
import { migrateJobs } from "../src/model/job-store/migrate-jobs.ts";
import { jobShardSchema } from "../src/model/job-store/shard-jobs.ts";
import { testJobTable } from "../src/testing/job-table.suite.ts";
import { runCoreScenario } from "./manager/core-scenario.ts";

/** A store whose jobs are spread, in a schema of its own. */
const openSharded = async (url: string, schema: string) => {
  const sql = await openPostgres({ url });
  await shardJobs({ database: sql, schema });
  const store = await createSqlJobStore({ sql, schema, clock: systemClock, logger: silentLogger });
  return {
    ...store,
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]();
      await sql.close();
    },
  };
};

/** As an older program left it. */
const insertPlainly = (database: Database, schema: string, job: string) =>
  database.query(
    `INSERT INTO ${schema}.jobs (job_key, job_id, idempotency_hash, idempotency_key, payload_hash, owner, fence, status,
       name, labels, spec, state, submitted_at)
     VALUES ($1, $1, $2, $2, '', 'gate', 1, 'running', '', '{}', '{}', '{}', 1)`,
    [job, `key of ${job}`],
  );

describe("the table of jobs, spread by job", () => {
  it("cannot keep its idempotency keys unique over all jobs, and the declaration says so", () => {
    const { columns } = jobShardSchema.tables.jobs;
    const asItIs = distributed({
      by: "job_key",
      columns,
      primaryKey: ["job_key"],
      // @ts-expect-error a unique key lacks the column that the table is distributed by
      unique: [["idempotency_hash"]],
    });
    expect(() => defineSchema({ jobs: asItIs })).toThrow(ShardSchemaError);
    expect(() => defineSchema({ jobs: asItIs })).toThrow(
      /unique key \(idempotency_hash\) must contain job_key/,
    );
  });
});

describeService("postgres", "jobs that could be spread, on one PostgreSQL", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });

  testJobTable("in the form that can be spread", { open: () => openSharded(server.url, "suite") });

  it("takes over what was there, once however often, and lets another schema be", async () => {
    await using database = await openPostgres({ url: server.url });
    await migrateJobs(database, "older");
    await insertPlainly(database, "older", "job-1");
    for (let round = 0; round < 2; round += 1) await shardJobs({ database, schema: "older" });
    expect(await database.query("SELECT * FROM older.job_submissions", [])).toEqual([
      { idempotency_hash: "key of job-1", job_key: "job-1" },
    ]);
    await migrateJobs(database, "beside");
    expect(await database.query("SELECT to_regclass('beside.job_submissions') AS found", [])).toEqual([
      { found: null },
    ]);
    await expect(shardJobs({ database, schema: "no; schema" })).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
    });
  });
});

describeService(
  ["postgres", "citus"],
  "jobs on a Citus cluster (seen to pass with Citus 13.2.2, PostgreSQL 15.20)",
  () => {
    const servers: PostgresServer[] = [];
    let url: string;
    beforeAll(async () => {
      const settings = {
        shared_preload_libraries: "citus",
        wal_level: "logical",
        max_prepared_transactions: 100,
        max_connections: 200,
        "citus.local_hostname": "127.0.0.1",
        "citus.node_conninfo": "sslmode=disable",
      };
      const start = () => startPostgres({ settings, extensions: ["citus"] });
      servers.push(...(await Promise.all([start(), start(), start()])));
      const [coordinator, ...workers] = servers as [PostgresServer, ...PostgresServer[]];
      await coordinator.sql(`SELECT citus_set_coordinator_host('127.0.0.1', ${coordinator.port})`);
      for (const { port } of workers) await coordinator.sql(`SELECT citus_add_node('127.0.0.1', ${port})`);
      url = coordinator.url;
    }, 60_000);
    afterAll(async () => {
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    });

    testJobTable("spread by job over two nodes", { open: () => openSharded(url, "suite") });

    it("go through a failed attempt, a lapsed claim and a killed leader", { timeout: 120_000 }, async () => {
      await runCoreScenario(await openSharded(url, "east"));
    });

    it("lie each wholly on one node, and are looked up there as one task", async () => {
      await using database = await openPostgres({ url });
      await migrateJobs(database, "spread");
      for (let index = 0; index < 20; index += 1) await insertPlainly(database, "spread", `job-${index}`);
      await shardJobs({ database, schema: "spread" });
      expect(await database.query("SELECT count(*)::int AS count FROM spread.jobs", [])).toEqual([
        { count: 20 },
      ]);
      const placement = await readWholePlacement(database);
      expect(placement?.nodes.map(({ shardCount }) => shardCount > 0)).toEqual([true, true]);
      const lines = await database.query<{ "QUERY PLAN": string }>(
        "EXPLAIN SELECT state FROM spread.jobs WHERE job_key = 'job-7'",
        [],
      );
      expect(lines.map((line) => line["QUERY PLAN"]).join("\n")).toContain("Task Count: 1");
    }, 60_000);
  },
);
