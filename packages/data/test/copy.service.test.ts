import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll } from "vitest";
import { type Database, openPostgres } from "../src/index.ts";
import { copySuite } from "./copy.suite.ts";

describeService("postgres", "copying into a PostgreSQL server", () => {
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

  copySuite("a server", () => database);
});
