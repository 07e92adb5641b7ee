import type { SqlClient, SqlExecutor } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { coordinationSuite, locksSuite, type SetUp, stateSyncSuite } from "@holdfast/coordination/testing";
import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { openPg } from "./pg-client.ts";
import { elapseInSql } from "./sql-elapse.ts";

describeService("postgres", "the PostgreSQL store on a server", () => {
  let server: PostgresServer;
  let sql: SqlClient & AsyncDisposable;
  let count = 0;
  const nextSchema = (): string => {
    count += 1;
    return `store_${count}`;
  };

  beforeAll(async () => {
    server = await startPostgres();
    sql = openPg(server.url, 20);
  });
  afterAll(async () => {
    await sql?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const setUp: SetUp<SqlExecutor> = async () => {
    const schema = nextSchema();
    const store = await createPostgresStore({ sql, schema });
    return {
      store,
      elapse: (ms) => elapseInSql(sql, schema, ms),
      runsBesideTransactions: true,
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  coordinationSuite(setUp);
  stateSyncSuite(setUp);
  locksSuite(setUp);

  describe("schedules", () => {
    it("fire also where there are more than are listed", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      const { schedules } = store.queue("q");
      await schedules.put({ name: "z", everyMs: 1000, task: { type: "t", payload: 1 } });
      await sql.query(
        `INSERT INTO "${schema}".schedules (queue, name, spec, next_at)
         SELECT 'q', 'a' || n, '{"everyMs":1000,"task":{"type":"t","payload":1}}', clock_timestamp() + interval '1 day'
         FROM generate_series(1, 1000) n`,
      );
      await sql.query(`UPDATE "${schema}".schedules SET next_at = clock_timestamp() WHERE name = 'z'`);
      expect((await schedules.due()).schedules.map(({ name }) => name)).toEqual(["z"]);
      expect(await schedules.list()).toHaveLength(1000);
    });
  });

  describe("start-up", () => {
    it("lets programs that start together bring the schema up once", async () => {
      const schema = nextSchema();
      const stores = await Promise.all(Array.from({ length: 8 }, () => createPostgresStore({ sql, schema })));
      const ids = await Promise.all(
        stores.map((store, index) => store.queue("q").enqueue([{ id: `t${index}`, type: "a", payload: 1 }])),
      );
      expect(ids.flat()).toHaveLength(8);
      expect((await stores[0]?.queue("q").stats())?.total).toBe(8);
      await Promise.all(stores.map((store) => store.close()));
    });

    it("needs no right to create schemas once the schema is there", async () => {
      const schema = nextSchema();
      await (await createPostgresStore({ sql, schema })).close();
      await sql.query("CREATE ROLE plain LOGIN");
      await sql.query(`GRANT USAGE ON SCHEMA "${schema}" TO plain`);
      await sql.query(`GRANT ALL ON ALL TABLES IN SCHEMA "${schema}" TO plain`);
      await sql.query(`GRANT ALL ON ALL SEQUENCES IN SCHEMA "${schema}" TO plain`);
      await using plain = openPg(server.url.replace("postgres@", "plain@"), 2);
      await using store = await createPostgresStore({ sql: plain, schema });
      expect((await store.leases.grant("a", { owner: "a", ttlMs: 1000 })).kind).toBe("granted");
    });
  });

  describe("two stores on one schema", () => {
    it("see each other's work and wake each other's followers", async () => {
      const schema = nextSchema();
      await using one = await createPostgresStore({ sql, schema });
      await using two = await createPostgresStore({ sql, schema });
      let wakeCount = 0;
      const stop = two.queue("q").onAvailable(() => {
        wakeCount += 1;
      });
      const tail = two.log
        .tail("s", { signal: AbortSignal.timeout(10_000), pollMs: 3_600_000 })
        [Symbol.asyncIterator]();
      const next = tail.next();
      await vi.waitFor(async () => {
        await one.queue("q").enqueue([{ type: "a", payload: 1 }]);
        expect(wakeCount).toBeGreaterThan(0);
      });
      await one.log.append([{ stream: "s", payload: "from one" }]);
      expect((await next).value).toMatchObject({ entries: [{ payload: "from one" }] });
      expect((await two.queue("q").claim({ worker: "w", maxCount: 1, leaseMs: 1000 })).length).toBe(1);
      await tail.return?.();
      stop();
    });

    it("wake everybody when an append names more streams than a notification can hold", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      const name = (index: number): string => `stream/${"x".repeat(100)}/${index}`;
      const tail = store.log
        .tail(name(150), { signal: AbortSignal.timeout(10_000), pollMs: 3_600_000 })
        [Symbol.asyncIterator]();
      const next = tail.next();
      await store.log.append(
        Array.from({ length: 200 }, (_, index) => ({ stream: name(index), payload: index })),
      );
      expect((await next).value).toMatchObject({ entries: [{ payload: 150 }] });
      await tail.return?.();
    });
  });

  describe("calls that change many rows", () => {
    it("never wait for each other in a circle, in whatever order the rows were made", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      const { leases } = store;
      const held: { readonly name: string; readonly token: bigint }[] = [];
      // Last name first: a scan of the table meets them in the order opposite to that of their names.
      for (let index = 39; index >= 0; index -= 1) {
        const name = `group/${String(index).padStart(2, "0")}`;
        const outcome = await leases.grant(name, { owner: "a", ttlMs: 60_000 });
        if (outcome.kind === "granted") held.push(outcome.grant);
      }
      const deadlocks = async (): Promise<number> => {
        await sql.query("SELECT pg_stat_force_next_flush()");
        const [row] = await sql.query<{ count: string }>(
          "SELECT deadlocks AS count FROM pg_stat_database WHERE datname = current_database()",
        );
        return Number(row?.count);
      };
      const before = await deadlocks();
      for (let round = 0; round < 25; round += 1) {
        const [renewed] = await Promise.all([
          leases.renew(held, { ttlMs: 60_000 }),
          leases.list("group/", { awaitRelease: true }),
          leases.renew([...held].reverse(), { ttlMs: 60_000 }),
          elapseInSql(sql, schema, 1),
        ]);
        expect(renewed).not.toContain(false);
      }
      expect(await deadlocks()).toBe(before);
    });
  });

  describe("fence tokens", () => {
    it("keep growing when a replica that missed the last of them is promoted", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      await using replica = await server.startReplica();
      // The replica stops to replay, so the primary's next tokens never reach it.
      await replica.sql("SELECT pg_wal_replay_pause()");
      const replay = (): Promise<string> => replica.sql("SELECT pg_get_wal_replay_pause_state()");
      await vi.waitFor(async () => expect(await replay()).toBe("paused"));
      const tokens: bigint[] = [];
      for (let index = 0; index < 100; index += 1) {
        const outcome = await store.leases.grant(`name-${index}`, { owner: "old", ttlMs: 1000 });
        if (outcome.kind === "granted") tokens.push(outcome.grant.token);
      }
      await replica.sql("SELECT pg_promote(false)");
      await vi.waitFor(async () => expect(await replica.sql("SELECT pg_is_in_recovery()")).toBe("f"), 10_000);
      await using promoted = openPg(replica.url, 2);
      await using after = await createPostgresStore({ sql: promoted, schema });
      const outcome = await after.leases.grant("name-0", { owner: "new", ttlMs: 1000 });
      if (outcome.kind !== "granted") throw new Error("not granted");
      expect(outcome.grant.token).toBeGreaterThan(tokens.at(-1) as bigint);
    });

    it("keep growing when a dump is loaded into a server on an earlier timeline", async () => {
      const schema = nextSchema();
      const before = await createPostgresStore({ sql, schema });
      const outcome = await before.leases.grant("a", { owner: "a", ttlMs: 1000 });
      if (outcome.kind !== "granted") throw new Error("not granted");
      await before.close();
      // What a dump from a server on timeline 5 brings along.
      await sql.query(`UPDATE "${schema}".schema_version SET timeline = 5`);
      const dumped = (5n << 40n) + (outcome.grant.token & ((1n << 40n) - 1n));
      for (let start = 0; start < 2; start += 1) {
        await using store = await createPostgresStore({ sql, schema });
        await store.leases.revokeAll();
        const again = await store.leases.grant("a", { owner: "a", ttlMs: 1000 });
        if (again.kind !== "granted") throw new Error("not granted");
        expect(again.grant.token).toBeGreaterThan(dumped);
        expect(again.grant.token).toBeLessThan(6n << 40n);
      }
    });
  });

  describe("claims", () => {
    it("walk an index in claim order and touch only what they take", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      const queue = store.queue("q");
      await queue.enqueue(
        Array.from({ length: 5000 }, (_, index) => ({
          type: "a",
          payload: index,
          delayMs: index % 2 === 0 ? 3_600_000 : 0,
          priority: index % 2 === 0 ? ("critical" as const) : ("normal" as const),
        })),
      );
      await sql.query(`ANALYZE "${schema}".tasks`);
      const before = await sql.query<{ read: string }>(
        `SELECT seq_tup_read AS read FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'tasks'`,
        [schema],
      );
      const claimed = await queue.claim({ worker: "w", maxCount: 10, leaseMs: 1000 });
      expect(claimed.map(({ payload }) => payload)).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
      await queue.complete(claimed);
      await vi.waitFor(async () => {
        // Statistics arrive late, so wait until the claims are in.
        const [after] = await sql.query<{ read: string; updates: string }>(
          `SELECT seq_tup_read AS read, n_tup_upd AS updates FROM pg_stat_user_tables
           WHERE schemaname = $1 AND relname = 'tasks'`,
          [schema],
        );
        expect(Number(after?.updates)).toBe(20);
        expect(Number(after?.read)).toBe(Number(before[0]?.read));
      });
    });

    it("put what cannot be read into dead letter, as it is, and hand out the others", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      const queue = store.queue("q");
      await queue.enqueue(["a", "b"].map((id) => ({ id, type: "t", payload: { of: id } })));
      await sql.query(`UPDATE "${schema}".tasks SET payload = '{"of":' WHERE id = 'a'`, []);
      const claimed = await queue.claim({ worker: "w", maxCount: 9, leaseMs: 60_000 });
      expect(claimed.map(({ id }) => id)).toEqual(["b"]);
      expect(await queue.list({ states: ["dead"] })).toMatchObject([
        { id: "a", payload: '{"of":', failures: [{ worker: "w", error: { code: "DAMAGED" } }] },
      ]);
      expect(await queue.stats()).toMatchObject({ pending: 0, claimed: 1, dead: 1, total: 2 });
    });

    it("go to others while a transaction that claimed is open", async () => {
      const schema = nextSchema();
      await using store = await createPostgresStore({ sql, schema });
      const queue = store.queue("q");
      await queue.enqueue(["a", "b"].map((id) => ({ id, type: "t", payload: 1 })));
      await store.transaction(async (tx) => {
        const mine = await queue.claim({ worker: "one", maxCount: 1, leaseMs: 1000, tx });
        const others = await queue.claim({ worker: "two", maxCount: 5, leaseMs: 1000 });
        expect(mine.map(({ id }) => id)).toEqual(["a"]);
        expect(others.map(({ id }) => id)).toEqual(["b"]);
      });
    });
  });

  describe("an outage", () => {
    it("is an error of its own, never an empty queue, a free lease or a busy one", async () => {
      await using own = await startPostgres();
      await using client = openPg(own.url, 4);
      await using store = await createPostgresStore({ sql: client });
      const queue = store.queue("q");
      await queue.enqueue([{ id: "a", type: "t", payload: 1 }]);
      const held = await store.leases.grant("lease", { owner: "me", ttlMs: 60_000 });
      if (held.kind !== "granted") throw new Error("not granted");
      // Its sessions end with it; those of a postmaster that is killed may go on answering for a moment.
      await own.kill("SIGQUIT");
      const unavailable = { code: "COORDINATION_STORE_UNAVAILABLE", retryable: true };
      await expect(queue.claim({ worker: "w", maxCount: 1, leaseMs: 1000 })).rejects.toMatchObject({
        code: expect.stringMatching(/STORE_UNAVAILABLE|OUTCOME_UNKNOWN/),
      });
      await expect(queue.claim({ worker: "w", maxCount: 1, leaseMs: 1000 })).rejects.toMatchObject(
        unavailable,
      );
      await expect(store.leases.read("lease")).rejects.toMatchObject(unavailable);
      await expect(store.leases.grant("lease", { owner: "x", ttlMs: 1000 })).rejects.toMatchObject(
        unavailable,
      );
      await expect(store.log.read("s")).rejects.toMatchObject(unavailable);
      await expect(store.transaction(async () => 1)).rejects.toMatchObject(unavailable);
      await own.start();
      // Nothing that was answered for is lost, and nothing that was refused has happened.
      expect((await store.leases.read("lease"))?.token).toBe(held.grant.token);
      expect((await queue.claim({ worker: "w", maxCount: 9, leaseMs: 1000 })).map(({ id }) => id)).toEqual([
        "a",
      ]);
    });
  });
});
