import { systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { PostgresConnection } from "../postgres/connection.ts";
import type { ConnectionPool } from "../postgres/connection-pool.ts";
import { PostgresDatabase } from "../postgres/postgres-database.ts";
import type { Database, StatementRunner } from "./database.ts";
import { retryTransaction } from "./retry-transaction.ts";
import { runTransaction } from "./run-transaction.ts";
import type { SqlSession } from "./session.ts";
import { timeLeft } from "./time-left.ts";
import { resolveOutcome } from "./transaction-outcome.ts";

const NO_LIMITS = [Number.NaN, -1, 0, 0.5, Number.POSITIVE_INFINITY];

/** A database over one connection that answers everything, and what was asked for. */
const setUp = () => {
  const asked: string[] = [];
  const run = async (text: string) => {
    asked.push(text);
    return { rows: [], rowCount: 0, command: text };
  };
  const connection = { run } as unknown as PostgresConnection;
  const pool = {
    acquireNow: () => connection,
    acquire: async () => connection,
    release: () => undefined,
  } as unknown as ConnectionPool<PostgresConnection>;
  const database = new PostgresDatabase({ pool, maxCount: 1, serverVersion: "15.0", clock: systemClock });
  return { database, session: { run } as unknown as SqlSession, asked };
};

const refused = (field: string) => ({ code: "KERNEL_INVALID_INPUT", field });

describe.each(NO_LIMITS)("a time limit of %d ms", (limitMs) => {
  it("is refused by a statement, in and outside of a transaction, before it is sent", async () => {
    const { database, session, asked } = setUp();
    const options = { timeoutMs: limitMs };
    const query = (runner: StatementRunner) => runner.query("SELECT 1", [], options);
    await expect(query(database)).rejects.toMatchObject(refused("timeoutMs"));
    expect(asked).toEqual([]);
    const within = runTransaction(
      {},
      session,
      async (tx) => {
        await expect(query(tx)).rejects.toMatchObject(refused("timeoutMs"));
        await tx.copyIn("COPY t FROM STDIN", new Uint8Array(), options);
      },
      {},
      () => undefined,
    );
    await expect(within).rejects.toMatchObject(refused("timeoutMs"));
    expect(asked).toEqual(["BEGIN", "ROLLBACK"]);
    expect(() => timeLeft(new VirtualClock(), limitMs)).toThrow(
      expect.objectContaining(refused("timeoutMs")),
    );
  });

  it.each([
    "acquireTimeoutMs",
    "commitTimeoutMs",
  ])("is refused by a transaction as its %s before it begins", async (field) => {
    const { database, asked } = setUp();
    const failed = database.transaction(async () => undefined, { [field]: limitMs });
    await expect(failed).rejects.toMatchObject(refused(field));
    expect(asked).toEqual([]);
  });
});

it.each([
  Number.NaN,
  -1,
  0.5,
  Number.POSITIVE_INFINITY,
])("following up a lost COMMIT for %d ms is refused before anything runs", async (waitMs) => {
  let count = 0;
  const ran = async (): Promise<readonly never[]> => {
    count += 1;
    return [];
  };
  const database = { kind: "postgres", query: ran, transaction: ran } as unknown as Database;
  const again = retryTransaction(database, async () => undefined, { resolveWaitMs: waitMs });
  await expect(again).rejects.toMatchObject(refused("resolveWaitMs"));
  const marker = { xid: "1", systemId: "1", position: { timeline: 1, lsn: 1n } };
  await expect(resolveOutcome(database, marker, { waitMs })).rejects.toMatchObject(refused("waitMs"));
  expect(count).toBe(0);
});
