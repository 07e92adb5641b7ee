import { describe, expect, it } from "vitest";
import { StoreConflictError, StoreUnavailableError } from "../../errors.ts";
import type { SqlClient } from "./sql-client.ts";
import type { Statements } from "./sql-files.ts";
import { StatementRunner } from "./statement-runner.ts";

/** A client whose first calls fail with these states. */
const failing = (...states: readonly string[]): { readonly sql: SqlClient; readonly calls: string[] } => {
  const calls: string[] = [];
  const sql = {
    query: async (text: string) => {
      const state = states[calls.push(text) - 1];
      if (state !== undefined) throw Object.assign(new Error("driver"), { code: state });
      return [];
    },
  } as unknown as SqlClient;
  return { sql, calls };
};
const statements = { "renew-leases": "renew" } as unknown as Statements;

describe("a statement that was rolled back in favour of a concurrent one", () => {
  it("is run again, whole", async () => {
    const { sql, calls } = failing("40P01", "40001");
    expect(await new StatementRunner(sql, statements).run("renew-leases", [])).toEqual([]);
    expect(calls).toHaveLength(3);
  });

  it("is given up after four times, as a conflict that the caller may retry", async () => {
    const { sql, calls } = failing(...Array.from({ length: 9 }, () => "40P01"));
    const run = new StatementRunner(sql, statements).run("renew-leases", []);
    await expect(run).rejects.toBeInstanceOf(StoreConflictError);
    await expect(run).rejects.toMatchObject({ retryable: true });
    expect(calls).toHaveLength(4);
  });

  it("is not run again inside the caller's transaction, which has ended with it", async () => {
    const { sql, calls } = failing("40P01");
    const run = new StatementRunner(sql, statements).run("renew-leases", [], { tx: sql });
    await expect(run).rejects.toMatchObject({ code: "40P01" });
    expect(calls).toHaveLength(1);
  });

  it("is not run again where it lost a key to another: what is there now is the answer", async () => {
    const { sql, calls } = failing("23505");
    await expect(new StatementRunner(sql, statements).run("renew-leases", [])).rejects.toBeInstanceOf(
      StoreConflictError,
    );
    expect(calls).toHaveLength(1);
  });
});

describe("a transaction of the store's own", () => {
  const inside = (error: object): Promise<unknown> => {
    const tx = { query: () => Promise.reject(error) };
    const sql = { transaction: (body: (tx: unknown) => Promise<unknown>) => body(tx) };
    const runner = new StatementRunner(sql as unknown as SqlClient, statements);
    return runner.ownTransaction("delete-streams", (own) => runner.run("renew-leases", [], { tx: own }));
  };

  it("tells in the store's terms what failed before its commit: nothing was changed then", async () => {
    const gone = new Error("Connection terminated unexpectedly");
    await expect(inside(gone)).rejects.toBeInstanceOf(StoreUnavailableError);
    const stopped = Object.assign(new Error("terminating connection"), { code: "57P01" });
    await expect(inside(stopped)).rejects.toBeInstanceOf(StoreUnavailableError);
    const deadlock = Object.assign(new Error("deadlock detected"), { code: "40P01" });
    await expect(inside(deadlock)).rejects.toBeInstanceOf(StoreConflictError);
  });
});
