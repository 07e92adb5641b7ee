import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Database, openPostgres, openShards } from "../src/index.ts";
import { schema, shardingSuite } from "./sharding.suite.ts";

describeService("postgres", "sharding on plain PostgreSQL", () => {
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

  shardingSuite("one server", () => database);

  it("refuses to go on where Citus is required", async () => {
    await expect(openShards({ database, schema, citus: "required" })).rejects.toMatchObject({
      code: "SHARD_SERVER_UNSUPPORTED",
      message: expect.stringContaining("shared_preload_libraries"),
    });
  });

  it("places and moves nothing, and still answers", async () => {
    const shards = await openShards({ database, schema });
    expect(await shards.planRebalance()).toEqual([]);
    expect(await shards.rebalance()).toMatchObject({ hasMoved: false, state: "finished" });
    expect(await shards.locate("accounts", "a")).toMatchObject({ host: "127.0.0.1", port: server.port });
    expect(await shards.recover()).toBe(0);
    await server.sql("BEGIN; CREATE TABLE in_doubt (a int); PREPARE TRANSACTION 'left behind'");
    expect(await shards.inDoubt()).toMatchObject([{ id: "left behind", decision: "unknown" }]);
    await server.sql("ROLLBACK PREPARED 'left behind'");
    expect(await shards.inDoubt()).toEqual([]);
  });
});
