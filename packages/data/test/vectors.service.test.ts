import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService, expectFigure } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, it } from "vitest";
import { createVectorCollection, type Database, openPostgres } from "../src/index.ts";
import { measuredOn } from "./measured-on.ts";
import { clusteredVectors } from "./vector-fixture.ts";
import { vectorsSuite } from "./vectors.suite.ts";

describeService(["postgres", "pgvector"], "vectors on a PostgreSQL server", () => {
  let server: PostgresServer;
  let database: Database;
  beforeAll(async () => {
    server = await startPostgres();
    database = await openPostgres({ url: server.url });
  });
  afterAll(async () => {
    await database?.close();
    await server?.[Symbol.asyncDispose]();
  });

  vectorsSuite("a server", () => database);

  it("takes 1,000 rows one by one within 10 s, and by COPY at least twice as fast as by multi-row INSERT", async () => {
    const vectors = clusteredVectors(1_000, 384);
    const items = createVectorCollection({ database, table: "speed", dimensions: 384 });
    await items.migrate();
    const timed = async (run: () => Promise<unknown>): Promise<number> => {
      await database.query("TRUNCATE speed");
      const startedAt = performance.now();
      await run();
      return performance.now() - startedAt;
    };
    const rows = vectors.map((vector, index) => ({ namespace: "n", key: `k${index}`, vector }));
    const oneByOneMs = await timed(async () => {
      for (const row of rows) await items.insert(row);
    });
    const on = [await measuredOn(database)];
    expectFigure("1,000 rows one by one", oneByOneMs, { unit: "ms", below: 10_000, on });
    const multiRow = async (): Promise<void> => {
      for (let at = 0; at < rows.length; at += 100) {
        const batch = rows.slice(at, at + 100);
        const places = batch.map(
          (_row, index) => `($${3 * index + 1}, $${3 * index + 2}, $${3 * index + 3})`,
        );
        const values = batch.flatMap(({ namespace, key, vector }) => [
          namespace,
          key,
          `[${vector.join(",")}]`,
        ]);
        await database.query(
          `INSERT INTO speed (namespace, key, embedding) VALUES ${places.join(", ")}`,
          values,
        );
      }
    };
    // The best of three each, in turns: the machine does other things as well.
    const [copyMs, insertMs] = [[], []] as [number[], number[]];
    for (let round = 0; round < 3; round += 1) {
      copyMs.push(await timed(() => items.load(rows)));
      insertMs.push(await timed(multiRow));
    }
    const gain = Math.min(...insertMs) / Math.min(...copyMs);
    expectFigure("COPY against multi-row INSERT", gain, { unit: "times", atLeast: 2, on });
  });
});
