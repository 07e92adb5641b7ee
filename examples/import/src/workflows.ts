import { setTimeout as pause } from "node:timers/promises";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import { defineWorkflow, type WorkflowContext } from "@holdfast/jobs";
import { z } from "zod";
import { type City, city, dataSetPath, readRows, shardRange } from "./cities.ts";

const input = z.object({
  /** A JSON array of cities; default: the data set that ships with this example. */
  path: z.string().optional(),
  shards: z.number().int().min(1).max(256).default(8),
  batchRows: z.number().int().min(1).max(10_000).default(1_000),
  /** Waits between batches, to make a run long enough to watch (or to kill). */
  pauseMs: z.number().min(0).max(60_000).default(0),
});

type Input = z.output<typeof input>;

/** One lock for the two statements below, because `create table if not exists` is not safe against itself. */
const TABLES_LOCK = 7_400_001;

const createTables = async (tx: SqlExecutor): Promise<null> => {
  await tx.query("select pg_advisory_xact_lock($1)", [TABLES_LOCK]);
  await tx.query(
    "create table if not exists cities (job_id text, datacenter text, row_number int, name text not null, country text not null, lat float8 not null, lng float8 not null, primary key (job_id, datacenter, row_number))",
  );
  await tx.query(
    "create table if not exists cities_by_country (job_id text, datacenter text, country text, cities int not null, primary key (job_id, datacenter, country))",
  );
  return null;
};

const insertCities = async (
  tx: SqlExecutor,
  place: Pick<WorkflowContext<Input>, "jobId" | "datacenter">,
  rows: readonly { number: number; city: City }[],
): Promise<void> => {
  await tx.query(
    `insert into cities (job_id, datacenter, row_number, name, country, lat, lng)
     select $1, $2, * from unnest($3::int[], $4::text[], $5::text[], $6::float8[], $7::float8[])`,
    [
      place.jobId,
      place.datacenter,
      rows.map((row) => row.number),
      rows.map((row) => row.city.name),
      rows.map((row) => row.city.country),
      rows.map((row) => row.city.lat),
      rows.map((row) => row.city.lng),
    ],
  );
};

const importRows = defineWorkflow({
  name: "import-rows",
  description: "Validates the cities of one shard and writes them to SQL in batches, each exactly once.",
  input,
  shards: ({ shards }) => shards,
  maxAttempts: 10,
  timeoutMs: 600_000,
  async run(ctx: WorkflowContext<Input>) {
    await ctx.effect("tables", createTables);
    const rows = readRows(ctx.input.path ?? dataSetPath());
    const { from, to } = shardRange(rows.length, ctx.shard, ctx.shardCount);
    let imported = 0;
    let rejected = 0;
    for (let start = from; start < to; start += ctx.input.batchRows) {
      ctx.signal.throwIfAborted();
      const end = Math.min(to, start + ctx.input.batchRows);
      // Named by where it starts: an attempt after a crash skips the batches that are in.
      const batch = await ctx.effect(`rows-${start}`, async (tx) => {
        const parsed = rows
          .slice(start, end)
          .map((row, index) => ({ number: start + index, result: city.safeParse(row) }));
        const good = parsed.flatMap(({ number, result }) =>
          result.success ? [{ number, city: result.data }] : [],
        );
        await insertCities(tx, ctx, good);
        return { imported: good.length, rejected: parsed.length - good.length };
      });
      imported += batch.imported;
      rejected += batch.rejected;
      ctx.count("rows", batch.imported);
      ctx.count("rejected", batch.rejected);
      ctx.progress(end - from, to - from);
      if (ctx.input.pauseMs > 0) await pause(ctx.input.pauseMs, undefined, { signal: ctx.signal });
    }
    ctx.log.info({ imported, rejected }, `rows ${from} to ${to} are in`);
    return { imported, rejected };
  },
});

const summary = defineWorkflow({
  name: "import",
  description: "Imports about 150,000 cities (GeoNames) into SQL and counts them per country.",
  input,
  dependsOn: ["import-rows"],
  async run(ctx) {
    // A counter has them of all shards; of their outputs only the first thousand are handed on.
    const rejected = ctx.dependencies["import-rows"]?.counters["rejected"] ?? 0;
    const totals = await ctx.effect("summary", async (tx) => {
      await tx.query(
        "insert into cities_by_country (job_id, datacenter, country, cities) select job_id, datacenter, country, count(*) from cities where job_id = $1 and datacenter = $2 group by job_id, datacenter, country",
        [ctx.jobId, ctx.datacenter],
      );
      const [row] = await tx.query<{ cities: number; countries: number }>(
        "select sum(cities)::int as cities, count(*)::int as countries from cities_by_country where job_id = $1 and datacenter = $2",
        [ctx.jobId, ctx.datacenter],
      );
      return { cities: row?.cities ?? 0, countries: row?.countries ?? 0 };
    });
    ctx.count("cities", totals.cities);
    ctx.progress(1, 1);
    return { ...totals, rejected };
  },
});

export { importRows, summary };
