import { VirtualClock } from "@holdfast/kernel/testing";
import { afterEach, describe, expect, it } from "vitest";
import { type Database, openEmbedded } from "../src/index.ts";

const gate = (): { readonly promise: Promise<void>; readonly open: () => void } => {
  let open = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { promise, open };
};

describe("the embedded database", () => {
  let database: Database | undefined;
  afterEach(async () => {
    await database?.close({ graceMs: 0 });
    database = undefined;
  });

  it("lets other calls wait while a transaction is open, then serves them in order of arrival", async () => {
    const clock = new VirtualClock();
    const db = await openEmbedded({ clock });
    database = db;
    const order: string[] = [];
    const hold = gate();
    const transaction = db.transaction(async (tx) => {
      await tx.query("SELECT 1");
      await hold.promise;
      await tx.query("SELECT 1");
      order.push("transaction");
    });
    const controller = new AbortController();
    const waiting = [
      db.query("SELECT 1").then(() => order.push("first")),
      db.query("SELECT 1", [], { signal: controller.signal }).catch((error) => order.push(String(error))),
      db.transaction((tx) => tx.query("SELECT 1")).then(() => order.push("second")),
    ];
    await clock.advance(10);
    expect(order).toEqual([]);
    expect(db.stats()).toMatchObject({ busyCount: 1, waitingCount: 3 });
    controller.abort("left");
    hold.open();
    await Promise.all([transaction, ...waiting]);
    expect(order.filter((entry) => entry !== "left")).toEqual(["transaction", "first", "second"]);
    expect(order).toContain("left");
    expect(db.stats()).toMatchObject({
      busyCount: 0,
      waitingCount: 0,
      acquireWaitTotalMs: expect.any(Number),
    });
  });

  it("bounds how many wait and how long", async () => {
    const clock = new VirtualClock();
    const db = await openEmbedded({ clock, acquireTimeoutMs: 1_000, waitingMaxCount: 2 });
    database = db;
    const hold = gate();
    const transaction = db.transaction(() => hold.promise);
    const long = db.query("SELECT 1 AS one", [], { timeoutMs: 5_000 });
    const short = db.query("SELECT 1").catch((error: unknown) => error);
    await expect(db.query("SELECT 1")).rejects.toMatchObject({ code: "KERNEL_OVERLOADED", retryable: true });
    await clock.advance(1_001);
    expect(await short).toMatchObject({ code: "SQL_POOL_TIMEOUT", retryable: true });
    hold.open();
    await transaction;
    expect(await long).toEqual([{ one: 1 }]);
    expect(db.stats().acquireTimeoutCount).toBe(1);
  });

  it("lets calls under way finish before it closes, and cuts a transaction that outlasts the grace", async () => {
    const clock = new VirtualClock();
    const db = await openEmbedded({ clock });
    const hold = gate();
    const finishing = db.transaction(async (tx) => {
      await hold.promise;
      return tx.query("SELECT 1 AS one");
    });
    const waiting = db.query("SELECT 2 AS two");
    const closed = db.close();
    await expect(db.query("SELECT 1")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    hold.open();
    expect(await finishing).toEqual([{ one: 1 }]);
    expect(await waiting).toEqual([{ two: 2 }]);
    await closed;
    expect(clock.pendingCount).toBe(0);

    const other = await openEmbedded({ clock });
    const never = gate();
    const cut = other.transaction(async (tx) => {
      await never.promise;
      await tx.query("SELECT 1");
    });
    const expectation = expect(cut).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    const otherClosed = other.close({ graceMs: 100 });
    await clock.advance(101);
    await otherClosed;
    never.open();
    await expectation;
  });

  it("keeps its log short and its tables free of dead rows without being asked, and sleeps when idle", async () => {
    const clock = new VirtualClock();
    const db = await openEmbedded({ clock });
    database = db;
    await db.query("CREATE TABLE churn (n int PRIMARY KEY, pad text)");
    await db.query("INSERT INTO churn SELECT g, repeat('x', 400) FROM generate_series(1, 5000) AS g", []);
    for (let round = 0; round < 8; round += 1)
      await db.query("UPDATE churn SET pad = repeat(md5(random()::text), 12)", []);
    const state = async (): Promise<{ readonly logged: number; readonly dead: number }> => {
      await db.query("SELECT pg_stat_force_next_flush()");
      const [row] = await db.query<{ logged: number; dead: number }>(
        `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn)::float8 AS logged,
                (SELECT n_dead_tup::int FROM pg_stat_user_tables WHERE relname = 'churn') AS dead
         FROM pg_control_checkpoint()`,
        [],
      );
      return { logged: row?.logged ?? 0, dead: row?.dead ?? 0 };
    };
    const before = await state();
    expect(before.logged).toBeGreaterThan(16 * 2 ** 20);
    expect(before.dead).toBeGreaterThan(10_000);
    // Once for the checkpoint and the vacuum, and once more because those were activity too.
    for (let look = 0; look < 3; look += 1) await clock.advance(5_001);
    const after = await state();
    expect(after.logged).toBeLessThan(before.logged / 2);
    expect(after.dead).toBe(0);
    await clock.advance(60_000);
    expect(clock.pendingCount).toBe(0);
  });

  it("gives the event loop its turns during a long chain of statements", async () => {
    const db = await openEmbedded();
    database = db;
    let turns = 0;
    let next: NodeJS.Immediate | undefined;
    const turn = (): void => {
      turns += 1;
      next = setImmediate(turn);
    };
    turn();
    for (let n = 0; n < 20; n += 1) {
      await db.query("SELECT count(*) FROM generate_series(1, 100000)", []);
    }
    clearImmediate(next);
    expect(turns).toBeGreaterThan(3);
  });

  it("has pgvector", async () => {
    const db = await openEmbedded();
    database = db;
    await db.query("CREATE EXTENSION vector; CREATE TABLE points (id int, at vector(3))");
    await db.query("INSERT INTO points VALUES (1, '[0,0,1]'), (2, '[0,1,0]'), (3, '[1,0,0]')");
    expect(await db.query("SELECT id, at FROM points ORDER BY at <-> $1 LIMIT 1", ["[0.1,0.9,0]"])).toEqual([
      { id: 2, at: "[0,1,0]" },
    ]);
  });

  it("says what it is, and refuses options that it cannot honour", async () => {
    const db = await openEmbedded();
    database = db;
    expect(db).toMatchObject({
      kind: "embedded",
      durability: "none",
      serverVersion: expect.stringMatching(/^18\./),
    });
    await expect(openEmbedded({ sharedBuffersMb: 0 })).rejects.toMatchObject({ field: "sharedBuffersMb" });
    await expect(openEmbedded({ acquireTimeoutMs: 1.5 })).rejects.toMatchObject({
      field: "acquireTimeoutMs",
    });
  });
});
