import { createVectorCollection, encodeVector, openPostgres } from "@holdfast/data";
import { startPostgres } from "@holdfast/testkit";
import pg from "pg";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";
import { embeddings } from "./vectors/embeddings.ts";

const DIMENSIONS = 384;
/** A smaller table for a first look: HOLDFAST_BENCH_VECTORS=10000. */
const ROWS = Number(process.env["HOLDFAST_BENCH_VECTORS"] ?? 100_000);
const QUERY_COUNT = 200;
const PG = "pg@8.23.1, the same SQL";

const percentile = (values: readonly number[], part: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return Number((sorted[Math.ceil(part * sorted.length) - 1] ?? Number.NaN).toFixed(3));
};

const bench: Bench = {
  name: "vector-search",
  description: `How long do the ten nearest of ${ROWS} vectors of 384 numbers take, at a recall of 0.95?`,
  run: async (): Promise<readonly BenchResult[]> => {
    await using server = await startPostgres({
      extensions: ["vector"],
      settings: { shared_buffers: "768MB", max_wal_size: "8GB" },
    });
    await using database = await openPostgres({ url: server.url, max: 4 });
    await using maintenance = await openPostgres({ url: server.url, max: 1, statementTimeoutMs: 0 });
    const items = createVectorCollection({ database, table: "items", dimensions: DIMENSIONS });
    await items.migrate();
    const vectors = embeddings(ROWS, DIMENSIONS);
    const queries = embeddings(QUERY_COUNT, DIMENSIONS, 2);
    await items.load(
      (function* () {
        for (const [index, vector] of vectors.entries()) {
          yield { namespace: "n", key: `key-${index}`, vector, value: `text ${index}` };
        }
      })(),
    );
    const built = await items.buildIndex({ maintenance, memoryMb: 1_024, concurrently: false });
    const tuned = await items.tune({ targetRecall: 0.95, vectors: queries.slice(0, 100) });

    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    await client.query(`SET hnsw.ef_search = ${tuned.efSearch}`);
    const text = `SELECT id, namespace, key, value, metadata, embedding <=> $1::vector AS distance
                    FROM items ORDER BY embedding <=> $1::vector LIMIT 10`;
    const loop =
      (search: (vector: Float32Array) => Promise<unknown>, latencies: number[]): Contender =>
      async (count) => {
        for (let index = 0; index < count; index += 1) {
          const startedAt = performance.now();
          await search(queries[index % QUERY_COUNT] as Float32Array);
          latencies.push(performance.now() - startedAt);
        }
      };
    const latencies = { ours: [] as number[], text: [] as number[], binary: [] as number[] };
    const took = await interleaved(
      {
        ours: loop((vector) => items.search({ vector }), latencies.ours),
        text: loop(
          (vector) => client.query({ name: "text", text, values: [`[${vector.join(",")}]`] }),
          latencies.text,
        ),
        binary: loop(
          (vector) => client.query({ name: "binary", text, values: [encodeVector("vector", vector)] }),
          latencies.binary,
        ),
      },
      { count: QUERY_COUNT },
    );
    await client.end();
    const ms = (nanoseconds: number): number => Number((nanoseconds / 1e6).toFixed(3));
    const notes =
      `Recall ${tuned.meanRecall.toFixed(3)} of the ten nearest with ef_search ${tuned.efSearch} (m 16, ef_construction 128, ` +
      `built in ${Math.round(built.durationMs / 1000)} s), one search at a time, warm, the server on the same machine. The bare client has ef_search ` +
      "set for its whole session and its statement prepared; ours sets it for each search alone. With our binary " +
      `parameter the bare client takes ${ms(took.binary)} ms (median round). `;
    return [
      {
        unit: "ms (p95)",
        ours: percentile(latencies.ours, 0.95),
        peers: { [PG]: percentile(latencies.text, 0.95) },
        higherIsBetter: false,
        notes,
      },
      {
        unit: "ms",
        ours: ms(took.ours),
        peers: { [PG]: ms(took.text), "pg@8.23.1, the same SQL, our binary parameter": ms(took.binary) },
        higherIsBetter: false,
        notes: `${notes}Mean of a round, median of 9 interleaved rounds.`,
      },
    ];
  },
};

export default bench;
