import { OutcomeUnknownError, seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { StoreUnavailableError } from "../../errors.ts";
import type { Notifier } from "../../notifier.ts";
import type { SqlClient, SqlExecutor } from "./sql-client.ts";
import type { Statements } from "./sql-files.ts";
import { StatementRunner } from "./statement-runner.ts";
import { PostgresTaskQueue } from "./task-queue.ts";

/** A queue on a server that goes away after so many statements, each of which completes the first of its claims. */
const setUp = (doneCount: number) => {
  let count = 0;
  const sql = {
    query: async () => {
      count += 1;
      if (count > doneCount) throw Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
      return [{ n: 1 }];
    },
  } as unknown as SqlClient;
  const queue = new PostgresTaskQueue("q", {
    clock: new VirtualClock(),
    statements: new StatementRunner(sql, {} as Statements),
    notifier: {} as Notifier,
    random: seededRandom(1),
    logger: silentLogger,
    payloadMaxBytes: 1000,
  });
  const complete = (options: { readonly tx?: SqlExecutor } = {}) =>
    queue.complete(
      ["a", "b"].map((id) => ({ id, token: 1n })),
      options,
    );
  return { sql, complete };
};

describe("completing tasks that are kept beside some that are not", () => {
  it("says that the outcome is unknown when the server goes away half-way", async () => {
    await expect(setUp(1).complete()).rejects.toBeInstanceOf(OutcomeUnknownError);
  });

  it("says that nothing was done where that is so", async () => {
    await expect(setUp(0).complete()).rejects.toBeInstanceOf(StoreUnavailableError);
    const { sql, complete } = setUp(1);
    await expect(complete({ tx: sql })).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it("tells of each what became of it", async () => {
    expect(await setUp(2).complete()).toEqual(["completed", "completed"]);
  });
});
