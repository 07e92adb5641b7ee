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

  it("takes words in strings, in comments and in dollars for what they are", async () => {
    const { tenant, sent } = setUp();
    const text = String.raw`SELECT 'from accounts', E'\'accounts', $q$accounts$q$ /* accounts */ -- accounts`;
    await tenant.query(text);
    expect(sent).toEqual([text]);
  });
});
