import { bulkLoad, openPostgres, vectorColumn } from "@holdfast/data";
import { startPostgres } from "@holdfast/testkit";
import pg from "pg";
import type { Bench } from "./measure/bench-result.ts";
import { interleaved } from "./measure/interleaved.ts";
import { copyText } from "./vectors/copy-text.ts";
import { embeddings } from "./vectors/embeddings.ts";

const DIMENSIONS = 384;
const ROWS = 4_000;
/** The best of 50, 100, 200, 500 and 1,000. */
const ROWS_PER_INSERT = 100;

const INSERT = "pg@8.23.1 multi-row INSERT";
const UNNEST = "pg@8.23.1 INSERT … SELECT unnest";
const COPY = "pg@8.23.1 text COPY";

interface Row {
  readonly namespace: string;
  readonly key: string;
  readonly embedding: readonly number[];
}

const textOf = (vector: readonly number[]): string => `[${vector.join(",")}]`;

const insertAll = async (client: pg.Client, rows: readonly Row[]): Promise<void> => {
  await client.query("BEGIN");
  for (let at = 0; at < rows.length; at += ROWS_PER_INSERT) {
    const batch = rows.slice(at, at + ROWS_PER_INSERT);
    const places = batch.map((_row, index) => `($${3 * index + 1}, $${3 * index + 2}, $${3 * index + 3})`);
    await client.query({
      name: batch.length === ROWS_PER_INSERT ? "insert" : `insert ${batch.length}`,
      text: `INSERT INTO items (namespace, key, embedding) VALUES ${places.join(", ")}`,
      values: batch.flatMap(({ namespace, key, embedding }) => [namespace, key, textOf(embedding)]),
    });
  }
  await client.query("COMMIT");
};

const unnestAll = async (client: pg.Client, rows: readonly Row[]): Promise<void> => {
  await client.query("BEGIN");
  for (let at = 0; at < rows.length; at += ROWS_PER_INSERT) {
    const batch = rows.slice(at, at + ROWS_PER_INSERT);
    await client.query({
      name: "unnest",
      text: `INSERT INTO items (namespace, key, embedding)
             SELECT * FROM unnest($1::text[], $2::text[], $3::vector[])`,
      values: [
        batch.map(({ namespace }) => namespace),
        batch.map(({ key }) => key),
        batch.map(({ embedding }) => textOf(embedding)),
      ],
    });
  }
  await client.query("COMMIT");
};

const bench: Bench = {
  name: "vector-load",
  description: "How many rows with a vector of 384 numbers are loaded a second, all or none?",
  run: async () => {
    await using server = await startPostgres({
      extensions: ["vector"],
      settings: { shared_buffers: "256MB", max_wal_size: "4GB" },
    });
    await server.sql(
      `CREATE TABLE items (namespace text NOT NULL, key text NOT NULL, embedding vector(${DIMENSIONS}) NOT NULL,
         PRIMARY KEY (namespace, key))`,
    );
    await using database = await openPostgres({ url: server.url, max: 1 });
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    // As they come out of a model's JSON: numbers of some eight digits, which is what text is quickest with.
    const rows: readonly Row[] = embeddings(ROWS, DIMENSIONS).map((vector, index) => ({
      namespace: `n${index % 10}`,
      key: `key-${index}`,
      embedding: Array.from(vector, (value) => Number(value.toFixed(8))),
    }));
    const truncate = (): Promise<unknown> => client.query("TRUNCATE items");
    const took = await interleaved(
      {
        ours: async () => {
          await truncate();
          await bulkLoad(database, {
            table: "items",
            rows,
            columns: [
              { name: "namespace", type: "text" },
              { name: "key", type: "text" },
              { name: "embedding", type: vectorColumn({ type: "vector", dimensions: DIMENSIONS }) },
            ],
          });
        },
        [INSERT]: async () => {
          await truncate();
          await insertAll(client, rows);
        },
        [UNNEST]: async () => {
          await truncate();
          await unnestAll(client, rows);
        },
        [COPY]: async () => {
          await truncate();
          await copyText(client, "COPY items (namespace, key, embedding) FROM STDIN", function* () {
            for (const { namespace, key, embedding } of rows)
              yield `${namespace}\t${key}\t${textOf(embedding)}\n`;
          });
        },
      },
      { count: ROWS, rounds: 7 },
    );
    await client.end();
    const perSecond = Object.entries(took).map(
      ([name, nanoseconds]) => [name, Math.round(1e9 / nanoseconds)] as const,
    );
    const { ours = Number.NaN, ...peers } = Object.fromEntries(perSecond);
    return {
      unit: "rows/s",
      ours,
      peers,
      higherIsBetter: true,
      notes:
        `${ROWS} rows into an empty table with a primary key, one transaction, one connection, the server on the same ` +
        `machine; median of 7 interleaved rounds. Everybody gets the same arrays of numbers with 8 digits; ours also ` +
        "checks each number and tells the row that fails. The peers send text, in buffers of 64 KiB or " +
        `${ROWS_PER_INSERT} rows a prepared statement.`,
    };
  },
};

export default bench;
