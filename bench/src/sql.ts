import { openPostgres } from "@holdfast/data";
import { startPostgres } from "@holdfast/testkit";
import pg from "pg";
import postgres from "postgres";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";

const CONNECTIONS = 16;
const ROWS = 10_000;
const IN_FLIGHT = [1, 16, 64] as const;
const PG = "pg@8.23.1 Pool";
const PG_PIPELINE = "pg@8.23.1 pipelined clients";
const POSTGRES_JS = "postgres@3.4.9";
const TEXT = "SELECT id, name, score FROM people WHERE id = $1";

type Select = (id: number) => Promise<unknown>;

/** Keeps `inFlight` selects under way until `count` are done; notes how long each took, in milliseconds. */
const loop =
  (select: Select, inFlight: number, latencies: number[]): Contender =>
  async (count) => {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < count) {
        next += 1;
        const startedAt = performance.now();
        await select(((next * 7_919) % ROWS) + 1);
        latencies.push(performance.now() - startedAt);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
  };

const p99 = (values: readonly number[]): string => {
  const sorted = [...values].sort((a, b) => a - b);
  return `${(sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN).toFixed(2)} ms`;
};

/** One way each to ask for a person by id, every one over the same number of connections, everything prepared. */
const connect = async (
  url: string,
): Promise<{ readonly selects: Record<string, Select>; readonly close: () => Promise<void> }> => {
  const database = await openPostgres({ url, max: CONNECTIONS });
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS });
  const clients = Array.from(
    { length: CONNECTIONS },
    () => new pg.Client({ connectionString: url, pipeline: true }),
  );
  await Promise.all(clients.map((client) => client.connect()));
  const sql = postgres(url, { max: CONNECTIONS });
  const query = (id: number): pg.QueryConfig => ({ name: "person", text: TEXT, values: [id] });
  let turn = 0;
  return {
    selects: {
      ours: (id) => database.query(TEXT, [id]),
      [PG]: (id) => pool.query(query(id)),
      [PG_PIPELINE]: (id) => {
        turn += 1;
        return (clients[turn % CONNECTIONS] as pg.Client).query(query(id));
      },
      [POSTGRES_JS]: (id) => sql`SELECT id, name, score FROM people WHERE id = ${id}`,
    },
    close: async () => {
      await Promise.all([database.close(), pool.end(), sql.end(), ...clients.map((client) => client.end())]);
    },
  };
};

const measure = async (selects: Record<string, Select>, inFlight: number): Promise<BenchResult> => {
  const latencies = Object.fromEntries(Object.keys(selects).map((name) => [name, [] as number[]]));
  const contenders = Object.fromEntries(
    Object.entries(selects).map(([name, select]) => [name, loop(select, inFlight, latencies[name] ?? [])]),
  );
  const times = await interleaved(contenders, { count: inFlight === 1 ? 3_000 : 12_000 });
  const perSecond = Object.entries(times).map(
    ([name, nanoseconds]) => [name, Math.round(1e9 / nanoseconds)] as const,
  );
  const { ours = Number.NaN, ...peers } = Object.fromEntries(perSecond);
  const tails = Object.entries(latencies).map(([name, values]) => `${name} ${p99(values)}`);
  return {
    unit: `selects/s, ${inFlight} in flight`,
    ours,
    peers,
    higherIsBetter: true,
    notes:
      `${CONNECTIONS} connections each, prepared statements, the server on the same machine. p99: ${tails.join(", ")}. ` +
      "The pipelined clients are dealt out in turn without a pool: they have no queue, no transactions beside the " +
      "selects, no deadlines, and a slow statement holds up whatever was sent behind it.",
  };
};

const bench: Bench = {
  name: "sql",
  description: "How many primary key selects a second go through the pool to a PostgreSQL server?",
  run: async () => {
    await using server = await startPostgres();
    await server.sql(
      `CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, score float8 NOT NULL);
       INSERT INTO people SELECT g, 'name ' || g, g / 7.0 FROM generate_series(1, ${ROWS}) AS g;
       VACUUM ANALYZE people`,
    );
    const { selects, close } = await connect(server.url);
    try {
      const results: BenchResult[] = [];
      for (const inFlight of IN_FLIGHT) results.push(await measure(selects, inFlight));
      return results;
    } finally {
      await close();
    }
  },
};

export default bench;
