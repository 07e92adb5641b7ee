import { describe, expect, it } from "vitest";
import type { Database } from "../sql/database.ts";
import { defineSchema } from "./define-schema.ts";
import { distributed } from "./schema.ts";
import { tenantOf } from "./tenant.ts";

const schema = defineSchema({
  accounts: distributed({
    by: "tenant",
    columns: { tenant: "text", id: "int4", name: "text" },
    primaryKey: ["tenant", "id"],
  }),
});

/** A tenant's view, and what reached the database through it. */
const setUp = () => {
  const sent: string[] = [];
  const database = {
    query: async (text: string) => {
      sent.push(text);
      return [];
    },
  } as unknown as Database;
  return { tenant: tenantOf(database, schema, "a"), sent };
};

describe("a tenant's query", () => {
  it.each([
    ["a string with escapes", String.raw`SELECT E'\'', name FROM accounts WHERE name <> ''`],
    ["a string with escapes that goes on", `SELECT E'a'\n'\\'', name FROM accounts WHERE name <> ''`],
    ["a quoted name with an apostrophe", `SELECT 1 AS "it's", name FROM accounts WHERE name <> 'x'`],
    ["a name with dollars", "SELECT 1 AS x$a$, name FROM accounts WHERE 'y' <> 'z$a$'"],
    ["a comment that a carriage return ends", "SELECT name -- all of them\rFROM accounts"],
  ])("shows the tenant's rows alone behind %s", async (_what, text) => {
    const { tenant, sent } = setUp();
    await tenant.query(text);
    expect(sent).toEqual([
      `WITH "accounts" AS NOT MATERIALIZED (SELECT * FROM "accounts" WHERE "tenant" = $1) ${text}`,
    ]);
  });

  it.each([
    [
      "a table with its schema behind a string with escapes",
      String.raw`SELECT E'\'', name FROM public.accounts --'`,
    ],
    ["a comment inside a comment", "SELECT 1 /* /* */ ' */, name FROM accounts --'"],
    ["a name in escapes", String.raw`SELECT name FROM U&"\0061ccounts"`],
  ])("is refused with %s, and nothing is sent", async (_what, text) => {
    const { tenant, sent } = setUp();
    await expect(tenant.query(text)).rejects.toMatchObject({ code: "SHARD_TENANT_CROSSED" });
    expect(sent).toEqual([]);
  });

  it.each([
    ["größe", "SELECT name FROM größe"],
    ["größe", "SELECT name FROM GRöße AS g"],
    ["größe", 'SELECT name FROM "größe"'],
    ["konten$2", "SELECT name FROM konten$2 WHERE true"],
    ["счета", "SELECT s.name FROM x,счета s"],
    ["𠮷", "SELECT name FROM 𠮷"],
  ])("shows the tenant's rows alone of a table named %s in %s", async (name, text) => {
    const sent: string[] = [];
    const database = { query: async (each: string) => sent.push(each) } as unknown as Database;
    const declared = defineSchema({ [name]: schema.tables.accounts });
    await tenantOf(database, declared, "a").query(text);
    expect(sent).toEqual([
      `WITH "${name}" AS NOT MATERIALIZED (SELECT * FROM "${name}" WHERE "tenant" = $1) ${text}`,
    ]);
    const elsewhere = tenantOf(database, declared, "a").query(`SELECT name FROM public.${name}`);
    await expect(elsewhere).rejects.toMatchObject({ code: "SHARD_TENANT_CROSSED" });
  });

  it.each([
    ["without quotes", (name: string) => name],
    ["in quotes", (name: string) => `"${name}"`],
  ])("is refused with a name %s that the server would cut to that of a table", async (_what, written) => {
    const sent: string[] = [];
    const database = { query: async (each: string) => sent.push(each) } as unknown as Database;
    const name = "a".repeat(63);
    const tenant = tenantOf(database, defineSchema({ [name]: schema.tables.accounts }), "a");
    const failed = tenant.query(`SELECT name FROM ${written(`${name}b`)}`);
    await expect(failed).rejects.toMatchObject({ code: "SHARD_TENANT_CROSSED" });
    expect(sent).toEqual([]);
    await tenant.query(`SELECT name FROM ${written(name)} WHERE name <> '${"b".repeat(64)}'`);
    expect(sent).toEqual([expect.stringContaining("WITH ")]);
  });

  it("takes words in strings, in comments and in dollars for what they are", async () => {
    const { tenant, sent } = setUp();
    const text = String.raw`SELECT 'from accounts', E'\'accounts', $q$accounts$q$ /* accounts */ -- accounts`;
    await tenant.query(text);
    expect(sent).toEqual([text]);
  });
});
