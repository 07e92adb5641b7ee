import { SchemaTooNewError, type SqlClient, type SqlExecutor } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { coordinationSuite, locksSuite, type SetUp, stateSyncSuite } from "@holdfast/coordination/testing";
import { ClosedError, InvalidInputError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
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
  stateSyncSuite(setUp);
  locksSuite(setUp);

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

  it("forgets leases that are long over, and no others", async () => {
    const schema = "sweeping";
    const clock = new VirtualClock();
    await using store = await createPostgresStore({ sql, schema, clock });
    await store.leases.grant("over", { owner: "a", ttlMs: 1000 });
    await elapseInSql(sql, schema, 2 * 86_400_000);
    await store.leases.grant("lapsed", { owner: "a", ttlMs: 1000 });
    await elapseInSql(sql, schema, 60_000);
    await store.leases.grant("held", { owner: "a", ttlMs: 1000 });
    await clock.advance(3_600_000);
    await vi.waitFor(async () => {
      expect(await sql.query(`SELECT name FROM "${schema}".leases ORDER BY name`)).toEqual([
        { name: "held" },
        { name: "lapsed" },
      ]);
    });
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
