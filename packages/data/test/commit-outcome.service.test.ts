import { hasCode } from "@holdfast/kernel";
import {
  createFaultProxy,
  type FaultProxy,
  type PostgresServer,
  startPostgres,
  waitUntil,
} from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import {
  type Database,
  markTransaction,
  openPostgres,
  resolveOutcome,
  retryTransaction,
} from "../src/index.ts";
import { makeCommitsWait } from "./unconfirmed-commits.ts";

describeService("postgres", "a COMMIT that is not answered as it should be", () => {
  let server: PostgresServer;
  let link: FaultProxy;
  let direct: Database;
  let database: Database;
  beforeAll(async () => {
    server = await startPostgres();
    link = await createFaultProxy({ target: { port: server.port } });
    direct = await openPostgres({ url: server.url });
    const url = new URL(server.url);
    url.port = String(link.port);
    database = await openPostgres({ url: url.toString(), statementTimeoutMs: 3_000 });
    await direct.query("CREATE TABLE entries (name text PRIMARY KEY)", []);
  });
  afterEach(async () => {
    await direct.query("ALTER SYSTEM RESET synchronous_standby_names");
    await direct.query("SELECT pg_reload_conf()", []);
  });
  afterAll(async () => {
    await database?.close({ graceMs: 0 });
    await direct?.close();
    await link?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const isThere = async (name: string): Promise<boolean> =>
    (await direct.query("SELECT 1 FROM entries WHERE name = $1", [name])).length === 1;

  it("is found out to be committed when only the answer was lost, and the body does not run twice", async () => {
    let runs = 0;
    const result = await retryTransaction(database, async (tx) => {
      runs += 1;
      await tx.query("INSERT INTO entries VALUES ('answer lost')", []);
      if (runs === 1) cutAnswerOfCommit();
      return "the result";
    });
    expect(result).toBe("the result");
    expect(runs).toBe(1);
    expect(await isThere("answer lost")).toBe(true);
  });

  /** Lets COMMIT reach the server, keeps its answer back, and breaks the connection once the row is there. */
  const cutAnswerOfCommit = (): void => {
    const poll = async (): Promise<void> => {
      await waitUntil("COMMIT to arrive", () => isThere("answer lost"), { intervalMs: 5 });
      link.reset();
      await link.heal();
    };
    link.set({ latencyMs: 400 }, "toClient");
    void poll();
  };

  it("is found out to be aborted when it never arrived, and runs again", async () => {
    let runs = 0;
    await retryTransaction(database, async (tx) => {
      runs += 1;
      await tx.query("INSERT INTO entries VALUES ('never arrived')", []);
      if (runs === 1) {
        const [row] = await tx.query<{ pid: number }>("SELECT pg_backend_pid() AS pid", []);
        await direct.query("SELECT pg_terminate_backend($1)", [row?.pid]);
      }
    });
    expect(runs).toBe(2);
    expect(await isThere("never arrived")).toBe(true);
  });

  it("is told apart by the server: committed, aborted, or still under way", async () => {
    const markers: {
      committed?: Awaited<ReturnType<typeof markTransaction>>;
      aborted?: Awaited<ReturnType<typeof markTransaction>>;
    } = {};
    await direct.transaction(async (tx) => {
      await tx.query("INSERT INTO entries VALUES ('committed')", []);
      markers.committed = await markTransaction(tx);
      expect(await resolveOutcome(database, markers.committed, { waitMs: 1 })).toBe("unknown");
    });
    await direct
      .transaction(async (tx) => {
        await tx.query("INSERT INTO entries VALUES ('aborted')", []);
        markers.aborted = await markTransaction(tx);
        throw new Error("no");
      })
      .catch(() => undefined);
    const { committed, aborted } = markers;
    if (committed === undefined || aborted === undefined) throw new Error("no marker");
    expect(await resolveOutcome(direct, committed)).toBe("committed");
    expect(await resolveOutcome(direct, aborted)).toBe("aborted");
    expect(await resolveOutcome(direct, { ...committed, systemId: "1" })).toBe("unknown");
    expect(await resolveOutcome(direct, { ...committed, xid: "4000000000" })).toBe("unknown");
  });

  it("says by its deadline that no synchronous replica has confirmed it, instead of hanging or calling it done", async () => {
    await makeCommitsWait(direct);
    const { unknownCount } = direct.stats();
    const startedAt = performance.now();
    const inTransaction = direct.transaction(
      (tx) => tx.query("INSERT INTO entries VALUES ('unconfirmed 1')", []),
      {
        commitTimeoutMs: 200,
      },
    );
    await expect(inTransaction).rejects.toSatisfy((error) => hasCode(error, "SQL_REPLICATION_UNCONFIRMED"));
    const alone = direct.query("INSERT INTO entries VALUES ('unconfirmed 2')", [], { timeoutMs: 200 });
    await expect(alone).rejects.toMatchObject({ code: "SQL_REPLICATION_UNCONFIRMED", retryable: false });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(direct.stats().unknownCount).toBe(unknownCount + 1);
    // It is visible, which is why it must not be run again.
    expect(await isThere("unconfirmed 1")).toBe(true);
  });

  it("answers 20 workers with 10 questions each, every one its own", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, worker) => {
        const rows: number[] = [];
        for (let number = 0; number < 10; number += 1) {
          const [row] = await direct.query<{ value: number }>("SELECT $1::int AS value", [
            worker * 100 + number,
          ]);
          rows.push(row?.value ?? -1);
        }
        return rows;
      }),
    );
    expect(answers.flat()).toEqual(
      Array.from({ length: 200 }, (_, index) => Math.floor(index / 10) * 100 + (index % 10)),
    );
  });
});
