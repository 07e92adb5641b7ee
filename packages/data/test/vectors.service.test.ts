import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll } from "vitest";
import { type Database, openPostgres } from "../src/index.ts";
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
});
