import { SchemaTooNewError, type SqlClient, type SqlExecutor } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { coordinationSuite, type SetUp } from "@holdfast/coordination/testing";
import { ClosedError, InvalidInputError } from "@holdfast/kernel";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPglite } from "./pglite-client.ts";
import { elapseInSql } from "./sql-elapse.ts";

describe("the PostgreSQL store on the embedded database", () => {
  let sql: SqlClient & AsyncDisposable;
  let count = 0;
  beforeAll(async () => {
    sql = await openPglite();
  });
  afterAll(() => sql[Symbol.asyncDispose]());

  const setUp: SetUp<SqlExecutor> = async () => {
    count += 1;
    const schema = `store_${count}`;
    const store = await createPostgresStore({ sql, schema });
    return {
      store,
      elapse: (ms) => elapseInSql(sql, schema, ms),
      runsBesideTransactions: false,
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  coordinationSuite(setUp);

  it("refuses a schema that a newer program has changed, and touches nothing", async () => {
    const schema = "from_the_future";
    await (await createPostgresStore({ sql, schema })).close();
    await sql.query(`UPDATE "${schema}".schema_version SET version = 99`);
    await expect(createPostgresStore({ sql, schema })).rejects.toThrow(SchemaTooNewError);
    expect(await sql.query(`SELECT version FROM "${schema}".schema_version`)).toEqual([{ version: 99 }]);
  });

  it("refuses schema names that would need escaping", async () => {
    for (const schema of ["", 'a"b', "Upper", "1a", "x".repeat(49)]) {
      await expect(createPostgresStore({ sql, schema })).rejects.toThrow(InvalidInputError);
    }
  });

  it("ends its followers and refuses calls once it is closed, and leaves the client open", async () => {
    const store = await createPostgresStore({ sql, schema: "closing" });
    const following = (async () => {
      for await (const item of store.log.tail("s", { pollMs: 3_600_000 })) expect(item).toBeUndefined();
    })();
    const ended = expect(following).rejects.toThrow(ClosedError);
    await store.log.bounds("s");
    await store.close();
    await ended;
    await store.close();
    await expect(store.leases.read("a")).rejects.toThrow(ClosedError);
    await expect(store.transaction(async () => 1)).rejects.toThrow(ClosedError);
    expect(await sql.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });
});
