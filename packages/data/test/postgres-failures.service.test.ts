import { type AddressInfo, createServer } from "node:net";
import { deferred, untilAborted } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { createFaultProxy, type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { type Database, openPostgres } from "../src/index.ts";

describeService("postgres", "a PostgreSQL server in trouble", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres({ password: "s3cret/pass" });
    await server.sql("CREATE TABLE t (n int PRIMARY KEY)");
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  const open = (options: Partial<Parameters<typeof openPostgres>[0]> = {}): Promise<Database> =>
    openPostgres({ url: server.url, max: 2, ...options });
  const secretOf = (error: unknown): string => {
    const parts: string[] = [];
    for (let at = error; at instanceof Error; at = at.cause) {
      parts.push(String(at), at.stack ?? "", JSON.stringify(at));
    }
    return parts.join(" ");
  };

  it("refuses wrong credentials and unknown databases with their own errors, never with the password", async () => {
    const wrong = await openPostgres({ url: server.url.replace("s3cret", "wr0ng") }).catch((error) => error);
    expect(wrong).toMatchObject({ code: "SQL_AUTHENTICATION_FAILED", retryable: false });
    expect(secretOf(wrong)).not.toContain("wr0ng");
    const none = await openPostgres({ url: server.url.replace(":s3cret%2Fpass", "") }).catch(
      (error) => error,
    );
    expect(none).toMatchObject({ code: "SQL_AUTHENTICATION_FAILED" });
    const missing = await openPostgres({ url: server.urlOf("nowhere") }).catch((error) => error);
    expect(missing).toMatchObject({ code: "SQL_CONNECT_FAILED", retryable: false });
    expect(missing.message).toContain("no database nowhere");
    expect(secretOf(missing)).not.toContain("s3cret");
  });

  it("says within the connect time that a host does not answer, naming it", async () => {
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const startedAt = performance.now();
    await expect(
      openPostgres({ url: `postgres://u:s3cret@127.0.0.1:${port}/d`, connectTimeoutMs: 300 }),
    ).rejects.toMatchObject({
      code: "SQL_CONNECT_FAILED",
      retryable: true,
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await new Promise((resolve) => silent.close(resolve));
    await expect(openPostgres({ url: `postgres://127.0.0.1:${port}/d` })).rejects.toThrow("nothing listens");
  });

  it("cancels a statement on the server at its own or the pool's limit, and the connection answers afterwards", async () => {
    await using database = await open({ max: 1, statementTimeoutMs: 400 });
    const pid = async (): Promise<unknown> => database.query("SELECT pg_backend_pid() AS pid");
    const before = await pid();
    await expect(database.query("SELECT pg_sleep(60)", [], { timeoutMs: 100 })).rejects.toMatchObject({
      code: "SQL_STATEMENT_TIMEOUT",
      details: { timeoutMs: 100 },
    });
    expect(await pid()).toEqual(before);
    await expect(database.query("SELECT pg_sleep(60)", [])).rejects.toMatchObject({
      code: "SQL_STATEMENT_TIMEOUT",
      details: { timeoutMs: 400 },
    });
    expect(await pid()).toEqual(before);
    expect(
      await server.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()",
      ),
    ).toBe("0");
  });

  it("ends a statement on the server when its caller aborts, with the caller's reason", async () => {
    await using database = await open({ max: 1 });
    const controller = new AbortController();
    const reason = new Error("not needed any more");
    const running = database.query("SELECT pg_sleep(61)", [], { signal: controller.signal });
    const active =
      "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(61)' AND state = 'active'";
    await vi.waitFor(async () => expect(await server.sql(active)).toBe("1"));
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    expect(await database.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
    expect(await server.sql(active)).toBe("0");
    expect(database.stats().sessionOpenedCount).toBe(1);
  });

  it("answers reads that share a connection with one that is given up, times out, or fails", async () => {
    await using database = await open({ max: 1 });
    await database.query(
      "CREATE FUNCTION slowly(n int) RETURNS int LANGUAGE sql AS 'SELECT n FROM pg_sleep(20)'",
    );
    for (let round = 0; round < 10; round += 1) {
      const controller = new AbortController();
      const around = (n: number): Promise<unknown> => database.query("SELECT $1::int AS n", [n]);
      const reads = [
        around(0),
        database.query("SELECT slowly($1) AS n", [1], { signal: controller.signal }),
        around(2),
        database.query("SELECT slowly($1) AS n", [3], { timeoutMs: 1 + round }),
        database.query("SELECT 1 / $1::int AS n", [0]),
        around(5),
        around(6),
      ];
      const outcomes = Promise.allSettled(reads);
      await new Promise<void>((resolve) => {
        if (round % 2 === 0) setImmediate(resolve);
        else resolve();
      });
      controller.abort("given up");
      expect(
        (await outcomes).map((outcome) =>
          outcome.status === "fulfilled" ? outcome.value : String(outcome.reason.code ?? outcome.reason),
        ),
      ).toEqual([
        [{ n: 0 }],
        "given up",
        [{ n: 2 }],
        expect.stringMatching(/^SQL_(STATEMENT|POOL)_TIMEOUT$/),
        "SQL_STATEMENT_FAILED",
        [{ n: 5 }],
        [{ n: 6 }],
      ]);
    }
    expect(database.stats()).toMatchObject({ sessionOpenedCount: 1, waitingCount: 0 });
  });

  it("types a statement that an administrator cancelled", async () => {
    await using database = await open();
    const running = database.query("SELECT pg_sleep(62)", []);
    const cancel =
      "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(62)'";
    const expectation = expect(running).rejects.toMatchObject({
      code: "SQL_STATEMENT_CANCELLED",
      retryable: true,
    });
    await vi.waitFor(async () => expect(await server.sql(cancel)).toBe("1"));
    await expectation;
  });

  it("does not let 40 callers take more than their connections, and answers each its own", async () => {
    await using database = await open({ max: 5, applicationName: "crowd" });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) => database.query<{ n: number }>("SELECT $1::int AS n", [n])),
    );
    expect(answers.map(([row]) => row?.n)).toEqual(Array.from({ length: 200 }, (_, n) => n));
    await vi.waitFor(() =>
      expect(database.stats()).toMatchObject({
        sessionCount: 5,
        idleCount: 5,
        busyCount: 0,
        waitingCount: 0,
      }),
    );
    expect(await server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'crowd'")).toBe(
      "5",
    );
  });

  it("tells apart what a broken connection lost, what it may have done, and what it did not", async () => {
    await using proxy = await createFaultProxy({ target: { host: server.host, port: server.port } });
    await using database = await open({ url: server.url.replace(String(server.port), String(proxy.port)) });
    const cutDuring = async (run: () => Promise<unknown>, state: string): Promise<unknown> => {
      const outcome = run().catch((error: unknown) => error);
      await vi.waitFor(async () =>
        expect(
          await server.sql(
            `SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'holdfast' AND ${state}`,
          ),
        ).toBe("t"),
      );
      proxy.reset();
      return outcome;
    };
    // The server notices a cut only when a statement ends, so each has a duration of its own to be known by.
    const sleeping = (seconds: string): string => `query LIKE '%pg_sleep(${seconds})' AND state = 'active'`;
    expect(await cutDuring(() => database.query("SELECT pg_sleep(3.1)", []), sleeping("3.1"))).toMatchObject({
      code: "SQL_CONNECTION_LOST",
      retryable: true,
    });
    expect(
      await cutDuring(() => database.query("INSERT INTO t SELECT 1 FROM pg_sleep(3.2)", []), sleeping("3.2")),
    ).toMatchObject({ code: "KERNEL_OUTCOME_UNKNOWN", retryable: false });
    expect(
      await cutDuring(
        () => database.transaction((tx) => tx.query("INSERT INTO t SELECT 2 FROM pg_sleep(3.3)", [])),
        sleeping("3.3"),
      ),
    ).toMatchObject({ code: "SQL_CONNECTION_LOST", retryable: true });
    // A commit held up on the server by a deferred trigger, its answer lost on the way.
    await server.sql(
      `CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
       CREATE TABLE held (n int);
       CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON held DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()`,
    );
    expect(
      await cutDuring(
        () => database.transaction((tx) => tx.query("INSERT INTO held VALUES (1)", [])),
        "query = 'COMMIT' AND state = 'active'",
      ),
    ).toMatchObject({ code: "KERNEL_OUTCOME_UNKNOWN", retryable: false });
    await vi.waitFor(async () => expect(await server.sql("SELECT count(*) FROM held")).toBe("1"), 5_000);
    expect(database.stats()).toMatchObject({ unknownCount: 1, sessionClosedCounts: { broken: 4 } });
    expect(await database.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });

  it("knows that nothing was kept where the connection broke before COMMIT was sent", async () => {
    await using proxy = await createFaultProxy({ target: { host: server.host, port: server.port } });
    await using database = await open({ url: server.url.replace(String(server.port), String(proxy.port)) });
    const outcome = database.transaction(async (tx) => {
      await tx.query("INSERT INTO t VALUES (71)", []);
      proxy.reset();
      await tx.query("SELECT 1", []).catch(() => undefined);
    });
    await expect(outcome).rejects.toMatchObject({ code: "SQL_CONNECTION_LOST", retryable: true });
    expect(database.stats()).toMatchObject({ unknownCount: 0, rolledBackCount: 1 });
    expect(await server.sql("SELECT count(*) FROM t WHERE n = 71")).toBe("0");
  });

  it("lets an aborted transaction go though the server never answers, without any limit on statements", async () => {
    await using proxy = await createFaultProxy({ target: { host: server.host, port: server.port } });
    const clock = new VirtualClock();
    const url = server.url.replace(String(server.port), String(proxy.port));
    await using database = await open({ url, clock, statementTimeoutMs: 0 });
    const stop = new AbortController();
    const inside = deferred<void>();
    let outcome: unknown;
    void database
      .transaction(
        async (tx) => {
          await tx.query("SELECT 1", []);
          inside.resolve();
          await untilAborted(new Promise(() => undefined), stop.signal);
        },
        { signal: stop.signal },
      )
      .catch((error: unknown) => {
        outcome = error;
      });
    await inside.promise;
    proxy.set({ cut: true });
    stop.abort(new Error("enough"));
    await vi.waitFor(async () => {
      await clock.advance(1_000);
      expect(outcome).toEqual(new Error("enough"));
    });
    await proxy.heal();
  });

  it("loses no caller to a server that was restarted between calls", async () => {
    await using database = await open({ max: 3 });
    await Promise.all([1, 2, 3].map(() => database.query("SELECT pg_sleep(0.05)")));
    await vi.waitFor(() => expect(database.stats().idleCount).toBe(3));
    await server.restart();
    await vi.waitFor(() => expect(database.stats().idleCount).toBe(0));
    expect(await database.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
    expect(database.stats().sessionClosedCounts.broken).toBe(3);
  });

  it("goes on listening after the server was killed and came back", async () => {
    await using database = await open();
    const seen: string[] = [];
    await using _first = await database.listen("alpha", (payload) => seen.push(`alpha ${payload}`));
    await using _second = await database.listen("beta", (payload) => seen.push(`beta ${payload}`));
    await server.kill("SIGKILL");
    await server.start();
    const sent = new Set<string>();
    await vi.waitFor(
      async () => {
        const payload = `p${sent.size}`;
        sent.add(payload);
        await server.sql(`SELECT pg_notify('alpha', '${payload}'), pg_notify('beta', '${payload}')`);
        expect(seen.some((line) => line.startsWith("alpha p"))).toBe(true);
        expect(seen.some((line) => line.startsWith("beta p"))).toBe(true);
      },
      { timeout: 15_000, interval: 200 },
    );
    expect(
      await server.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' AND pid <> pg_backend_pid()",
      ),
    ).toBe("1");
  });

  it("types a deadlock and a serialisation failure as worth running again", async () => {
    await using database = await open({ max: 4 });
    await database.query("DELETE FROM t; INSERT INTO t VALUES (101), (102)");
    const lockBoth = (
      first: number,
      second: number,
      meet: Promise<void>,
      arrive: () => void,
    ): Promise<unknown> =>
      database
        .transaction(async (tx) => {
          await tx.query("SELECT n FROM t WHERE n = $1 FOR UPDATE", [first]);
          arrive();
          await meet;
          await tx.query("SELECT n FROM t WHERE n = $1 FOR UPDATE", [second]);
          return "done";
        })
        .catch((error: { code: string; retryable: boolean }) => `${error.code} ${error.retryable}`);
    let arrived = 0;
    let go = (): void => undefined;
    const meet = new Promise<void>((resolve) => {
      go = resolve;
    });
    const arrive = (): void => {
      arrived += 1;
      if (arrived === 2) go();
    };
    const outcomes = await Promise.all([lockBoth(101, 102, meet, arrive), lockBoth(102, 101, meet, arrive)]);
    expect(outcomes.sort()).toEqual(["SQL_SERIALIZATION_FAILED true", "done"]);
  });

  it("leaves no connection behind after it was closed, and cuts what outlasts the grace", async () => {
    const database = await open({ applicationName: "closing" });
    await using _listener = await database.listen("gamma", () => undefined);
    const running = database.query("SELECT pg_sleep(63)", []).catch((error: unknown) => error);
    await database.close({ graceMs: 50 });
    expect(await running).toMatchObject({ code: "SQL_CONNECTION_LOST" });
    await expect(database.query("SELECT 1")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    await expect(database.listen("gamma", () => undefined)).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    await vi.waitFor(async () =>
      expect(
        await server.sql(
          "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closing' AND query NOT LIKE '%pg_sleep%'",
        ),
      ).toBe("0"),
    );
  });
});
