import { describe, expect, it } from "vitest";
import type { Database } from "../sql/database.ts";
import { checkCitusVersion } from "./citus-version.ts";
import { defineSchema } from "./define-schema.ts";
import type { Shards } from "./open-shards.ts";
import { distributed, local, reference, type ShardTable } from "./schema.ts";
import { schemaSteps } from "./schema-ddl.ts";
import { ShardSchemaError } from "./shard-errors.ts";

const accounts = distributed({
  by: "tenant",
  columns: { tenant: "text", id: "int4", name: "text", note: { type: "text", nullable: true } },
  primaryKey: ["tenant", "id"],
});

const problemsOf = (tables: Record<string, ShardTable>): readonly string[] => {
  try {
    defineSchema(tables);
  } catch (error) {
    if (error instanceof ShardSchemaError) return error.problems;
    throw error;
  }
  return [];
};

describe("a declaration", () => {
  it("without the distribution column in a primary or unique key is refused by the compiler and at plan time", () => {
    const columns = { tenant: "text", id: "int4" } as const;
    // @ts-expect-error the primary key lacks the column that the table is distributed by
    const noKey = distributed({ by: "tenant", columns, primaryKey: ["id"] });
    // @ts-expect-error so does a unique key
    const noUnique = distributed({ by: "tenant", columns, primaryKey: ["tenant", "id"], unique: [["id"]] });
    // @ts-expect-error and this is no column
    const noColumn = distributed({ by: "owner", columns, primaryKey: ["tenant"] });
    expect(problemsOf({ t: noKey })).toEqual([
      "table t: its primary key (id) must contain tenant, by which the table is distributed",
    ]);
    expect(problemsOf({ t: noUnique })).toEqual([
      "table t: a unique key (id) must contain tenant, by which the table is distributed",
    ]);
    expect(problemsOf({ t: noColumn as unknown as ShardTable }).join()).toContain(
      "distributed by owner, which is no column of it",
    );
  });

  it("names every problem at once: types, foreign keys, groups, circles", () => {
    const problems = problemsOf({
      accounts,
      smuggler: local({ columns: { id: "int4); DROP TABLE x; --" as "int4" }, primaryKey: ["id"] }),
      orders: distributed({
        by: "tenant",
        columns: { tenant: "text", id: "int4", account: "int4" },
        primaryKey: ["tenant", "id"],
        foreignKeys: [
          { columns: ["account"], references: "accounts", referenced: ["id"] },
          { columns: ["account"], references: "nowhere", referenced: ["id"] },
          { columns: ["tenant", "account"], references: "accounts", referenced: ["id", "tenant"] },
        ],
      }),
      numbers: distributed({ by: "n", columns: { n: "int4" }, primaryKey: ["n"] }),
      other: distributed({
        by: "tenant",
        columns: { tenant: "text", id: "int4" },
        primaryKey: ["tenant", "id"],
        group: "far",
        shardCount: 2,
        foreignKeys: [{ columns: ["tenant", "id"], references: "accounts", referenced: ["tenant", "id"] }],
      }),
      countries: reference({
        columns: { id: "int4", tenant: "text" },
        primaryKey: ["id"],
        foreignKeys: [{ columns: ["tenant", "id"], references: "accounts", referenced: ["tenant", "id"] }],
      }),
    }).join("\n");
    expect(problems).toContain("smuggler: column id has no type");
    expect(problems).toContain("refers to (id), which is no unique key there");
    expect(problems).toContain("nowhere, which is not declared");
    expect(problems).toContain("must contain tenant and match it with tenant");
    expect(problems).toContain(
      "numbers: it is distributed by a int4, but accounts of the same group default by a text",
    );
    expect(problems).toContain("leaves the group far");
    expect(problems).toContain("shardCount must be an integer from 4");
    expect(problems).toContain("countries: the foreign key to accounts refers to a distributed table");
    const circle = { columns: ["id"], referenced: ["id"] } as const;
    expect(
      problemsOf({
        a: local({
          columns: { id: "int4" },
          primaryKey: ["id"],
          foreignKeys: [{ ...circle, references: "b" }],
        }),
        b: local({
          columns: { id: "int4" },
          primaryKey: ["id"],
          foreignKeys: [{ ...circle, references: "a" }],
        }),
      }),
    ).toEqual(["the foreign keys of a, b go in a circle"]);
  });

  it("gives statements in the order in which they can run: create, distribute, then keys and indexes", () => {
    const schema = defineSchema({
      orders: distributed({
        by: "tenant",
        columns: { tenant: "text", id: "int4", account: "int4", country: "text" },
        primaryKey: ["tenant", "id"],
        foreignKeys: [
          {
            columns: ["tenant", "account"],
            references: "accounts",
            referenced: ["tenant", "id"],
            onDelete: "cascade",
          },
          { columns: ["country"], references: "countries", referenced: ["code"] },
        ],
        indexes: [{ columns: ["country"] }],
      }),
      accounts,
      countries: reference({ columns: { code: "text" }, primaryKey: ["code"] }),
    });
    expect(schemaSteps(schema).map(({ table, kind }) => `${kind} ${table}`)).toEqual([
      "create accounts",
      "distribute accounts",
      "create countries",
      "distribute countries",
      "create orders",
      "distribute orders",
      "foreign-key orders",
      "foreign-key orders",
      "index orders",
    ]);
    expect(schemaSteps(schema)[1]?.text).toBe(
      `SELECT create_distributed_table('"accounts"', 'tenant', 'hash', colocate_with => 'none', shard_count => 32)`,
    );
    expect(schemaSteps(schema)[5]?.text).toContain(`colocate_with => '"accounts"'`);
  });

  it("gives each index and each foreign key a name of its own, whatever the order of the tables", () => {
    const columns = { id: "int4", item_id: "int4", data: "jsonb" } as const;
    const order = local({
      columns,
      primaryKey: ["id"],
      indexes: [{ columns: ["item_id"] }, { columns: ["data"], method: "gin" }],
      foreignKeys: [
        { columns: ["item_id"], references: "order_item", referenced: ["id"] },
        { columns: ["item_id"], references: "thing", referenced: ["id"] },
      ],
    });
    const orderItem = local({
      columns,
      primaryKey: ["id"],
      indexes: [{ columns: ["id"] }, { columns: ["data"] }, { columns: ["data"], method: "gin" }],
    });
    const thing = local({ columns, primaryKey: ["id"] });
    const namesOf = (tables: Record<string, ShardTable>): readonly string[] =>
      schemaSteps(defineSchema(tables))
        .flatMap(({ text }) => /(?:INDEX IF NOT EXISTS|ADD CONSTRAINT) "([^"]+)"/.exec(text)?.[1] ?? [])
        .sort();
    const names = namesOf({ order, order_item: orderItem, thing });
    expect(new Set(names).size).toBe(7);
    expect(namesOf({ thing, order_item: orderItem, order })).toEqual(names);
    // What nothing else would be called keeps its plain name.
    expect(names.filter((name) => name === "order_data_idx")).toHaveLength(1);
    expect(names.every((name) => name.length <= 50)).toBe(true);
  });

  it("makes a query without its tenant an error of the compiler, and likewise a wrong tenant, table, column or value", () => {
    const countries = reference({ columns: { code: "text" }, primaryKey: ["code"] });
    const schema = defineSchema({ accounts, countries });
    // Never called: what counts is that the lines marked below do not compile.
    const uses = (shards: Shards<(typeof schema)["tables"]>): void => {
      // @ts-expect-error no tenant was named
      void shards.query("SELECT * FROM accounts");
      // @ts-expect-error nor here
      void shards.select("accounts");
      void shards.crossTenant().query("SELECT * FROM accounts");
      // @ts-expect-error a tenant is text
      void shards.forTenant(7);
      const tenant = shards.forTenant("a");
      void tenant.insert("accounts", { id: 1, name: "x" });
      // @ts-expect-error the key comes from the tenant
      void tenant.insert("accounts", { id: 1, name: "x", tenant: "b" });
      // @ts-expect-error name is missing
      void tenant.insert("accounts", { id: 1 });
      // @ts-expect-error id is a number
      void tenant.insert("accounts", { id: "1", name: "x" });
      // @ts-expect-error a row of the reference table has no tenant
      void tenant.insert("countries", { code: "de" });
      void tenant.select("accounts").then(([row]) => {
        const [id, note]: readonly [number | undefined, string | null | undefined] = [row?.id, row?.note];
        // @ts-expect-error a row is read with the types that it is declared with
        const wrong: number | undefined = row?.name;
        return [id, note, wrong];
      });
      // @ts-expect-error there is no such column
      void tenant.select("accounts", { where: { colour: "red" } });
      void tenant.update("accounts", { set: { note: null }, where: { id: 1 } });
      // @ts-expect-error name is not nullable
      void tenant.update("accounts", { set: { name: null } });
      // @ts-expect-error a row keeps its tenant
      void tenant.update("accounts", { set: { tenant: "b" } });
    };
    expect(uses).toBeTypeOf("function");
    const database: Database | undefined = undefined;
    expect(database).toBeUndefined();
  });
});

describe("versions", () => {
  it.each([
    ["13.2.2", 15],
    ["14.0.0", 18],
    ["12.1.3", 16],
    ["15.0.0", 19],
  ])("Citus %s and PostgreSQL %i go together", (citus, postgres) => {
    expect(() => checkCitusVersion(citus, postgres)).not.toThrow();
  });

  it.each([
    ["14.0.0", 15, /supports PostgreSQL 16 to 18, the server is 15: use Citus 13\.0\.1 or newer/],
    ["12.1.3", 17, /supports PostgreSQL 14 to 16, the server is 17: use Citus 14\.0\.0/],
    ["10.2.0", 15, /older than 11\.1/],
    ["13.2.2", 14, /15 to 17/],
  ])("Citus %s and PostgreSQL %i are refused with one that would do", (citus, postgres, message) => {
    expect(() => checkCitusVersion(citus, postgres)).toThrow(message);
  });
});
