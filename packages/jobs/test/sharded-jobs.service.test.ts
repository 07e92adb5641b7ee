import {
  type Database,
  defineSchema,
  distributed,
  openPostgres,
  openShards,
  ShardSchemaError,
} from "@holdfast/data";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { migrateJobs } from "../src/model/job-store/migrate-jobs.ts";

/** The table of jobs as the migrations make it. */
const COLUMNS = {
  job_key: "text",
  job_id: "text",
  idempotency_hash: "text",
  idempotency_key: "text",
  payload_hash: "text",
  owner: "text",
  fence: "int8",
  status: "text",
  name: "text",
  labels: "json",
  spec: "json",
  state: "json",
  submitted_at: "int8",
  finished_at: { type: "int8", nullable: true },
} as const;

const jobs = distributed({ by: "job_key", columns: COLUMNS, primaryKey: ["job_key"], shardCount: 8 });
/** What keeps a submission from becoming two jobs, spread by what must be unique. */
const submissions = distributed({
  by: "idempotency_hash",
  columns: { idempotency_hash: "text", job_key: "text" },
  primaryKey: ["idempotency_hash"],
  group: "submissions",
  shardCount: 8,
});

const openJobs = async (url: string): Promise<Database> => {
  const database = await openPostgres({ url });
  await database.query(
    "ALTER DATABASE postgres SET search_path = holdfast, public; SET search_path = holdfast, public",
  );
  await migrateJobs(database, "holdfast");
  await database.close();
  return openPostgres({ url });
};

describe("the table of jobs, spread by job", () => {
  it("cannot keep its idempotency keys unique over all jobs, and the declaration says so", () => {
    const asItIs = distributed({
      by: "job_key",
      columns: COLUMNS,
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

describeService("postgres", "the declaration of the jobs table", () => {
  it("has the columns that the migrations make", async () => {
    await using server = await startPostgres();
    await using database = await openJobs(server.url);
    const shards = await openShards({ database, schema: defineSchema({ jobs }) });
    expect(await shards.drift()).toEqual([]);
  });
});

describeService(
  ["postgres", "citus"],
  "the jobs table on a Citus cluster (seen to pass with Citus 13.2.2, PostgreSQL 15.20)",
  () => {
    it("is spread by job once its idempotency keys have a table of their own", async () => {
      const settings = {
        shared_preload_libraries: "citus",
        wal_level: "logical",
        "citus.local_hostname": "127.0.0.1",
        "citus.node_conninfo": "sslmode=disable",
      };
      await using coordinator = await startPostgres({ settings, extensions: ["citus"] });
      await using first = await startPostgres({ settings, extensions: ["citus"] });
      await using second = await startPostgres({ settings, extensions: ["citus"] });
      await coordinator.sql(`SELECT citus_set_coordinator_host('127.0.0.1', ${coordinator.port})`);
      for (const { port } of [first, second])
        await coordinator.sql(`SELECT citus_add_node('127.0.0.1', ${port})`);
      await using database = await openJobs(coordinator.url);
      await database.query("ALTER TABLE jobs DROP CONSTRAINT jobs_idempotency_hash_key");
      const shards = await openShards({
        database,
        schema: defineSchema({ jobs, submissions }),
        citus: "required",
      });
      await shards.migrate();
      expect(await shards.drift()).toEqual([]);
      for (let index = 0; index < 40; index += 1) {
        await shards.forTenant(`job-${index}`).insert("jobs", {
          job_id: `job-${index}`,
          idempotency_hash: `hash-${index}`,
          idempotency_key: `key-${index}`,
          payload_hash: "",
          owner: "gate",
          fence: 1,
          status: "SUBMITTED",
          name: "",
          labels: {},
          spec: {},
          state: {},
          submitted_at: index,
        });
      }
      const { nodes } = await shards.placement();
      expect(nodes.map(({ shardCount }) => shardCount)).toEqual([8, 8]);
      const lines = await database.query<{ "QUERY PLAN": string }>(
        "EXPLAIN SELECT state FROM jobs WHERE job_key = 'job-7'",
      );
      expect(lines.map((line) => line["QUERY PLAN"]).join("\n")).toContain("Task Count: 1");
      await shards.forTenant("hash-7").insert("submissions", { job_key: "job-7" });
      await expect(
        shards.forTenant("hash-7").insert("submissions", { job_key: "job-8" }),
      ).rejects.toMatchObject({ kind: "unique" });
    });
  },
);
