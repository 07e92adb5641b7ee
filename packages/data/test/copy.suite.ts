import { hasCode } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { Database } from "../src/index.ts";

/** What `copyIn` guarantees on every kind of database. */
export const copySuite = (kind: string, database: () => Database): void => {
  const fresh = async (): Promise<string> => {
    const table = `copy_${Math.random().toString(36).slice(2)}`;
    await database().query(`CREATE TABLE ${table} (id int PRIMARY KEY, v text)`);
    return table;
  };

  describe(`copy on ${kind}`, () => {
    it("stores every row of several copies when the transaction commits", async () => {
      const table = await fresh();
      const counts = await database().transaction(async (tx) => [
        await tx.copyIn(`COPY ${table} FROM STDIN`, Buffer.from("1\ta\n2\tb\n")),
        await tx.copyIn(`COPY ${table} FROM STDIN`, Buffer.from("3\t\\N\n")),
      ]);
      expect(counts).toEqual([2, 1]);
      expect(await database().query(`SELECT id, v FROM ${table} ORDER BY id`)).toEqual([
        { id: 1, v: "a" },
        { id: 2, v: "b" },
        { id: 3, v: null },
      ]);
    });

    it("refuses a copy with a row that breaks a constraint, keeps nothing, and goes on afterwards", async () => {
      const table = await fresh();
      const broken = database().transaction(async (tx) => {
        await tx.copyIn(`COPY ${table} FROM STDIN`, Buffer.from("1\ta\n"));
        await tx.copyIn(`COPY ${table} FROM STDIN`, Buffer.from("2\tb\n1\tc\n"));
      });
      await expect(broken).rejects.toSatisfy((error) => hasCode(error, "SQL_CONSTRAINT_VIOLATED"));
      expect(await database().query(`SELECT count(*)::int AS n FROM ${table}`)).toEqual([{ n: 0 }]);
    });

    it("refuses a copy into a table that does not exist, and the data is not read as statements", async () => {
      const table = await fresh();
      const missing = database().transaction((tx) =>
        tx.copyIn(`COPY nowhere FROM STDIN`, Buffer.from(`DROP TABLE ${table};\n`)),
      );
      await expect(missing).rejects.toSatisfy((error) => hasCode(error, "SQL_STATEMENT_FAILED"));
      expect(await database().query(`SELECT count(*)::int AS n FROM ${table}`)).toEqual([{ n: 0 }]);
    });
  });
};
