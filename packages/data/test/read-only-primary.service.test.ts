import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isHoldfastError, systemClock } from "@holdfast/kernel";
import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { type Database, openPostgres } from "../src/index.ts";

/** Inserts one row after the other, whatever happens, and keeps account of it. */
const writer = (database: Database, name: string) => {
  const acknowledged: number[] = [];
  const failures: string[] = [];
  const stop = new AbortController();
  const write = async (): Promise<void> => {
    for (let n = 0; !stop.signal.aborted; n += 1) {
      try {
        await database.query("INSERT INTO writes (writer, n) VALUES ($1, $2)", [name, n], {
          timeoutMs: 2_000,
        });
        acknowledged.push(n);
      } catch (error) {
        failures.push(isHoldfastError(error) ? error.code : String(error));
      }
      await systemClock.sleep(5);
    }
  };
  const writing = write();
  return {
    acknowledged,
    failures,
    acknowledges: async (): Promise<void> => {
      const target = acknowledged.length + 10;
      await vi.waitFor(() => expect(acknowledged.length).toBeGreaterThan(target), { timeout: 15_000 });
    },
    [Symbol.asyncDispose]: async (): Promise<void> => {
      stop.abort();
      await writing;
    },
  };
};

describeService("postgres", "a primary that turns read-only, stops or crashes", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres();
    await server.sql("CREATE TABLE writes (writer text, n int, PRIMARY KEY (writer, n))");
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  const everyOneOf = async (acknowledged: readonly number[], name: string): Promise<void> => {
    const soFar = acknowledged.join(", ");
    const rows = `SELECT count(*) FROM writes WHERE writer = '${name}' AND n IN (${soFar})`;
    expect(Number(await server.sql(rows))).toBe(soFar.split(", ").length);
  };

  it.each([
    ["25006", "read-only"],
    ["08000", "broken"],
    ["08003", "broken"],
    ["08006", "broken"],
    ["08P01", "broken"],
    ["57P01", "broken"],
    ["57P02", "broken"],
    ["57P03", "broken"],
  ] as const)("has its connection thrown away after %s", async (sqlState, reason) => {
    await using database = await openPostgres({ url: server.url, max: 1 });
    const pid = async (): Promise<unknown> => (await database.query("SELECT pg_backend_pid() AS pid"))[0];
    const raise = (code: string): Promise<unknown> =>
      database.query(`DO $$ BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = '${code}'; END $$`);
    const first = await pid();
    await expect(raise("22012")).rejects.toMatchObject({ code: "SQL_STATEMENT_FAILED" });
    expect(await pid()).toEqual(first);
    await expect(raise(sqlState)).rejects.toThrow();
    expect(await pid()).not.toEqual(first);
    expect(database.stats().sessionClosedCounts[reason]).toBe(1);
  });

  it("is written to again once it takes writes, by the same program on fresh connections", async () => {
    await using database = await openPostgres({ url: server.url, max: 3 });
    await using writes = writer(database, "demoted");
    await writes.acknowledges();
    // As after a failover that the program was not told of: the server at this address is a standby now.
    await writeFile(join(server.dataDirectory, "standby.signal"), "", { mode: 0o644 });
    await server.restart();
    await vi.waitFor(() => expect(writes.failures).toContain("SQL_READ_ONLY"), { timeout: 15_000 });
    expect(await database.query("SELECT pg_is_in_recovery() AS standby")).toEqual([{ standby: true }]);
    const refusedCount = database.stats().sessionClosedCounts["read-only"];
    expect(refusedCount).toBeGreaterThan(0);
    await server.sql("SELECT pg_promote()");
    await writes.acknowledges();
    await everyOneOf(writes.acknowledged, "demoted");
  });

  it("is written to again after a crash of one of its processes ended every session", async () => {
    await using database = await openPostgres({ url: server.url, max: 3 });
    await using writes = writer(database, "crashed");
    await writes.acknowledges();
    const before = database.stats().sessionClosedCounts.broken;
    const pid = Number(
      await server.sql("SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'holdfast'"),
    );
    process.kill(pid, "SIGKILL");
    await vi.waitFor(() => expect(database.stats().sessionClosedCounts.broken).toBeGreaterThan(before));
    await writes.acknowledges();
    await everyOneOf(writes.acknowledged, "crashed");
  });

  it("is written to again after an administrator ended every session", async () => {
    await using database = await openPostgres({ url: server.url, max: 3 });
    await using writes = writer(database, "ended");
    await writes.acknowledges();
    const before = database.stats().sessionClosedCounts.broken;
    await server.sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast'",
    );
    await vi.waitFor(() => expect(database.stats().sessionClosedCounts.broken).toBeGreaterThan(before));
    await writes.acknowledges();
    await everyOneOf(writes.acknowledged, "ended");
  });
});
