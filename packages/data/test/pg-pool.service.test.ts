import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { sql as drizzleSql, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { integer, jsonb, pgTable, text, timestamp } from "drizzle-orm/pg-core";
import { type Generated, Kysely, sql as kyselySql, PostgresDialect } from "kysely";
import type { Pool } from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Database, openEmbedded, openPostgres, PgPool } from "../src/index.ts";

interface People {
  id: Generated<number>;
  name: string;
  profile: { readonly tags: readonly string[] };
  born: Date;
}

const people = pgTable("people", {
  id: integer("id").primaryKey().generatedAlwaysAsIdentity(),
  name: text("name").notNull().unique(),
  profile: jsonb("profile").$type<{ tags: string[] }>().notNull(),
  born: timestamp("born", { withTimezone: true }).notNull(),
});

const born = new Date("1815-12-10T12:30:00.250Z");

describeService("postgres", "the face of a pg.Pool", () => {
  let server: PostgresServer;
  let database: Database;
  let pool: PgPool;
  beforeAll(async () => {
    server = await startPostgres();
    database = await openPostgres({ url: server.url, max: 3 });
    pool = new PgPool(database);
    await database.query(
      `CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
        profile jsonb NOT NULL, born timestamptz NOT NULL)`,
    );
  });
  afterAll(async () => {
    await database?.close();
    await server?.[Symbol.asyncDispose]();
  });

  it("carries Kysely: queries, a transaction that commits, one that rolls back, and typed errors", async () => {
    const kysely = new Kysely<{ people: People }>({ dialect: new PostgresDialect({ pool }) });
    const ada = { name: "Ada", profile: { tags: ["first"] }, born };
    const inserted = await kysely.insertInto("people").values(ada).returningAll().executeTakeFirstOrThrow();
    expect(inserted).toMatchObject({ ...ada, id: expect.any(Number) });
    const update = await kysely
      .updateTable("people")
      .set({ name: "Ada L." })
      .where("id", "=", inserted.id)
      .executeTakeFirst();
    expect(update.numUpdatedRows).toBe(1n);
    await kysely.transaction().execute(async (trx) => {
      await trx
        .insertInto("people")
        .values({ ...ada, name: "Grace" })
        .execute();
    });
    const failing = kysely.transaction().execute(async (trx) => {
      await trx
        .insertInto("people")
        .values({ ...ada, name: "Nobody" })
        .execute();
      await trx
        .insertInto("people")
        .values({ ...ada, name: "Grace" })
        .execute();
    });
    await expect(failing).rejects.toMatchObject({
      code: "SQL_CONSTRAINT_VIOLATED",
      kind: "unique",
      constraint: "people_name_key",
    });
    const names = await kysely.selectFrom("people").select("name").orderBy("name").execute();
    expect(names.map(({ name }) => name)).toEqual(["Ada L.", "Grace"]);
    expect((await kyselySql<{ one: number }>`SELECT ${1}::int AS one`.execute(kysely)).rows).toEqual([
      { one: 1 },
    ]);
    await kysely.destroy();
    // The database was opened by somebody else, so it is still open.
    expect(await database.query("SELECT 1 AS one", [])).toEqual([{ one: 1 }]);
  });

  it("carries Drizzle: queries in both row forms, nested transactions, and its own readers of values", async () => {
    const db = drizzle(pool as unknown as Pool, { schema: { people } });
    await db.delete(people);
    const [ada] = await db
      .insert(people)
      .values({ name: "Ada", profile: { tags: ["x"] }, born })
      .returning();
    expect(ada).toMatchObject({ name: "Ada", profile: { tags: ["x"] }, born });
    expect(await db.select({ n: people.name, b: people.born }).from(people)).toEqual([{ n: "Ada", b: born }]);
    expect(await db.query.people.findFirst({ where: eq(people.name, "Ada") })).toMatchObject({ born });
    await db.transaction(async (tx) => {
      await tx.insert(people).values({ name: "Grace", profile: { tags: [] }, born });
      await tx
        .transaction(async (inner) => {
          await inner.insert(people).values({ name: "Nobody", profile: { tags: [] }, born });
          inner.rollback();
        })
        .catch(() => undefined);
    });
    const rows = await db.execute<{ name: string }>(drizzleSql`SELECT name FROM people ORDER BY name`);
    expect(rows.rows).toEqual([{ name: "Ada" }, { name: "Grace" }]);
    expect(rows.fields[0]?.name).toBe("name");
  });

  it("gives back what is left open, destroys what it is told to, and keeps its figures", async () => {
    const client = await pool.connect();
    await client.query("BEGIN");
    await client.query("DELETE FROM people");
    expect(client.processID).toBeGreaterThan(0);
    client.release();
    await expect
      .poll(() => database.query("SELECT count(*)::int > 0 AS kept FROM people", []))
      .toEqual([{ kept: true }]);
    const before = database.stats().sessionOpenedCount;
    const doomed = await pool.connect();
    const pid = doomed.processID;
    doomed.release(true);
    await expect
      .poll(() => database.query("SELECT 1 FROM pg_stat_activity WHERE pid = $1", [pid]))
      .toEqual([]);
    expect(database.stats().sessionOpenedCount).toBeGreaterThanOrEqual(before);
    expect(pool).toMatchObject({
      totalCount: expect.any(Number),
      idleCount: expect.any(Number),
      waitingCount: 0,
    });
  });

  it("is refused to the embedded database, which has no connections to lend", async () => {
    await using embedded = await openEmbedded();
    expect(() => new PgPool(embedded)).toThrow(/database must be one that openPostgres or openCluster gave/);
  });
});
