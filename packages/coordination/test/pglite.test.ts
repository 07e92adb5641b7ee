import type { SqlClient, SqlExecutor } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { coordinationSuite, type SetUp } from "@holdfast/coordination/testing";
import { afterAll, beforeAll, describe } from "vitest";
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
});
