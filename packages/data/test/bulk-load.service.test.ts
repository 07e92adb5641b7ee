import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { type BulkColumn, bulkLoad, type Database, openPostgres } from "../src/index.ts";

interface Row {
  readonly id: number;
  readonly v: string;
  readonly owner?: number;
}

const COLUMNS: readonly BulkColumn<Row>[] = [
  { name: "id", type: "int4" },
  { name: "v", type: "text" },
  { name: "owner", type: "int4" },
];

describeService("postgres", "a bulk load into a PostgreSQL server", () => {
  let server: PostgresServer;
  let database: Database;
  beforeAll(async () => {
    server = await startPostgres();
    database = await openPostgres({ url: server.url, max: 3 });
    await database.query(`CREATE TABLE owners (id int PRIMARY KEY);
      CREATE TABLE items (id int PRIMARY KEY, v text NOT NULL CHECK (v <> ''), owner int REFERENCES owners, n int NOT NULL DEFAULT 7,
        UNIQUE (v))`);
  });
  beforeEach(() => database.query("TRUNCATE items"));
  afterAll(async () => {
    await database?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const count = async (): Promise<number> =>
    (await database.query<{ n: number }>("SELECT count(*)::int AS n FROM items"))[0]?.n ?? -1;
  const rows = (length: number): readonly Row[] =>
    Array.from({ length }, (_, id) => ({ id, v: `row ${id}` }));

  it.each([
    "refuse",
    { skip: ["id"] },
    { update: ["id"] },
  ] as const)("under the policy %j names the row that breaks a check, and keeps nothing", async (onConflict) => {
    const broken = rows(900).map((row) => (row.id === 700 ? { ...row, v: "" } : row));
    const failed = bulkLoad(database, {
      table: "items",
      columns: COLUMNS,
      rows: broken,
      onConflict,
      batchMaxBytes: 2_048,
    });
    await expect(failed).rejects.toMatchObject({
      code: "BULK_ROW_REFUSED",
      rowNumber: 701,
      cause: { kind: "check" },
    });
    expect(await count()).toBe(0);
  });

  it("names the foreign key, or the other unique index, that fails at the end, and keeps nothing", async () => {
    const orphan = rows(10).map((row) => ({ ...row, owner: 99 }));
    const failed = bulkLoad(database, {
      table: "items",
      columns: COLUMNS,
      rows: orphan,
      onConflict: { skip: ["id"] },
    });
    await expect(failed).rejects.toMatchObject({ kind: "foreign-key", constraint: "items_owner_fkey" });
    const twice = bulkLoad(database, {
      table: "items",
      columns: COLUMNS,
      rows: [...rows(2), { id: 5, v: "row 1" }],
      onConflict: { update: ["id"] },
    });
    await expect(twice).rejects.toMatchObject({ kind: "unique", constraint: "items_v_key" });
    expect(await count()).toBe(0);
  });

  it("refuses a table, column or key that is not there, and a policy without its key, before a row is read", async () => {
    let taken = 0;
    function* source() {
      for (const row of rows(10)) {
        taken += 1;
        yield row;
      }
    }
    const load = (changes: object) =>
      bulkLoad(database, { table: "items", columns: COLUMNS, rows: source(), ...changes });
    await expect(
      load({ onConflict: { skip: ["id"] }, columns: [...COLUMNS, { name: "x", type: "text" }] }),
    ).rejects.toMatchObject({ field: "columns" });
    await expect(load({ columns: [] })).rejects.toMatchObject({ field: "columns" });
    await expect(load({ columns: [{ name: "id", type: "money" }] })).rejects.toMatchObject({
      field: "column id",
    });
    await expect(load({ batchMaxBytes: 10 })).rejects.toMatchObject({ field: "batchMaxBytes" });
    expect(taken).toBe(0);
    await expect(load({ onConflict: { skip: ["n"] } })).rejects.toMatchObject({ field: "onConflict.skip" });
    await expect(load({ table: "nowhere" })).rejects.toMatchObject({
      code: "SQL_STATEMENT_FAILED",
      sqlState: "42P01",
    });
    expect(await count()).toBe(0);
  });

  it.each([
    ["", 2],
    ["NULLS NOT DISTINCT", 1],
  ])("under the policy update takes NULL in a key as the unique index does (%s), as if the rows came one by one", async (nulls, emptyCount) => {
    const table = `keyed_${emptyCount}`;
    await database.query(`CREATE TABLE ${table} (a int, b int, v text, UNIQUE ${nulls} (b, a))`);
    const input = [
      { a: 1, b: 1, v: "one" },
      { a: null, b: 1, v: "two" },
      { a: 1, b: 1, v: "three" },
      { a: null, b: 1, v: "four" },
    ];
    const columns: readonly BulkColumn<(typeof input)[number]>[] = [
      { name: "a", type: "int4" },
      { name: "b", type: "int4" },
      { name: "v", type: "text" },
    ];
    const load = () =>
      bulkLoad(database, { table, columns, rows: input, onConflict: { update: ["a", "b"] } });
    const empty = async () =>
      database.query<{ v: string }>(`SELECT v FROM ${table} WHERE a IS NULL ORDER BY v DESC`);
    expect(await load()).toMatchObject({
      insertedCount: 1 + emptyCount,
      supersededCount: 3 - emptyCount,
    });
    expect((await empty()).map(({ v }) => v)).toEqual(emptyCount === 2 ? ["two", "four"] : ["four"]);
    expect(await load()).toMatchObject(
      emptyCount === 2 ? { insertedCount: 2, updatedCount: 1 } : { insertedCount: 0, updatedCount: 2 },
    );
  });

  it("keeps nothing when the connection breaks in the middle, and says that it may be tried again", async () => {
    async function* source() {
      yield* rows(500);
      await server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast' AND state = 'idle in transaction'",
      );
      yield* rows(1_000).slice(500);
    }
    const failed = bulkLoad(database, {
      table: "items",
      columns: COLUMNS,
      rows: source(),
      batchMaxBytes: 1_024,
    });
    await expect(failed).rejects.toMatchObject({ code: "SQL_CONNECTION_LOST", retryable: true });
    expect(await count()).toBe(0);
    const report = await bulkLoad(database, {
      table: "items",
      columns: COLUMNS,
      rows: rows(1_000),
      batchMaxBytes: 1_024,
    });
    expect(report).toMatchObject({ readCount: 1_000, insertedCount: 1_000 });
  });

  it("leaves at once when it is aborted while the server makes it wait, and the connection is used again", async () => {
    const controller = new AbortController();
    const opened = database.stats().sessionOpenedCount;
    const blocker = await openPostgres({ url: server.url, max: 1 });
    await blocker.transaction(async (tx) => {
      await tx.query("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
      const waiting = bulkLoad(database, {
        table: "items",
        columns: COLUMNS,
        rows: rows(5_000),
        signal: controller.signal,
      });
      waiting.catch(() => undefined);
      await vi.waitFor(
        async () => {
          const held = await server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
          );
          expect(held).toBe("1");
        },
        { timeout: 10_000 },
      );
      controller.abort(new Error("enough"));
      await expect(waiting).rejects.toThrow("enough");
    });
    await blocker.close();
    expect(await count()).toBe(0);
    expect(database.stats().sessionOpenedCount - opened).toBeLessThanOrEqual(2);
  });
});
