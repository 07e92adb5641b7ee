import { describe, expect, it } from "vitest";
import { StatementError } from "../errors.ts";
import type { Transaction } from "../sql/database.ts";
import { bulkLoad } from "./bulk-load.ts";

type Tx = Pick<Transaction, "copyIn">;

/** A database whose COPY does what the test says. */
const databaseOf = (tx: Tx) => ({
  transaction: <T>(body: (tx: Transaction) => Promise<T>): Promise<T> => body(tx as Transaction),
});
const COLUMNS = [{ name: "id", type: "int4" }] as const;

describe("a bulk load", () => {
  it.each([
    ["COPY items, line 3, column v2", 3],
    ["COPY items, line 3", 3],
    ['COPY items, line 3, column x: "7"', 3],
    ["COPY items, Zeile 12, Spalte c1", 12],
    ["COPY items, line 4, column a, 5", 4],
    ['SQL function "check_2" statement 1\nCOPY items, line 6, column v2', 6],
  ])("reads the row out of %j", async (where, rowNumber) => {
    const cause = Object.assign(new Error("refused"), { where });
    const failed = bulkLoad(
      databaseOf({
        copyIn: () => Promise.reject(new StatementError("refused", { sqlState: "22P03" }, { cause })),
      }),
      { table: "items", columns: COLUMNS, rows: [{ id: 1 }] },
    );
    await expect(failed).rejects.toMatchObject({ code: "BULK_ROW_REFUSED", rowNumber });
  });

  it("leaves at once when it is aborted while its source stands still, and lets the source go", async () => {
    const controller = new AbortController();
    let isAsked = false;
    let isLeft = false;
    const rows: AsyncIterable<{ id: number }> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          isAsked = true;
          controller.abort(new Error("enough"));
          return new Promise(() => undefined);
        },
        return: () => {
          isLeft = true;
          return new Promise(() => undefined);
        },
      }),
    };
    const { signal } = controller;
    const database = databaseOf({ copyIn: async () => 0 });
    const failed = bulkLoad(database, { table: "items", columns: COLUMNS, rows, signal });
    await expect(failed).rejects.toThrow("enough");
    expect([isAsked, isLeft]).toEqual([true, true]);
  });

  it("closes its source when a row of it cannot be encoded", async () => {
    let isLeft = false;
    async function* source() {
      try {
        yield { id: 1 };
        yield { id: Number.NaN };
      } finally {
        isLeft = true;
      }
    }
    const { signal } = new AbortController();
    const database = databaseOf({ copyIn: async () => 0 });
    await expect(
      bulkLoad(database, { table: "items", columns: COLUMNS, rows: source(), signal }),
    ).rejects.toMatchObject({ rowNumber: 2 });
    expect(isLeft).toBe(true);
  });
});
