import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import type { PoolLease } from "../src/index.ts";
import { expectConsistent, type FakeConnection, poolSetup } from "./pool-fixture.ts";

expectNoLeaks();

const code = (value: string) => expect.objectContaining({ code: value });

describe("a pool", () => {
  it.each([
    0, 1, 1_000,
  ])("of size %i reports its maximum and nothing leased before the first acquire", async (maxCount) => {
    const { pool } = poolSetup({ maxCount });
    expect(pool.stats).toMatchObject({
      maxCount,
      total: 0,
      leased: 0,
      idle: 0,
      available: maxCount,
      waiting: 0,
    });
    await pool.close();
  });

  it("of size 0 is always exhausted, at once", async () => {
    const { pool } = poolSetup({ maxCount: 0 });
    await expect(pool.acquire()).rejects.toMatchObject({ code: "CONNECTION_POOL_EXHAUSTED", maxCount: 0 });
  });

  it("counts each acquire as leased and no longer available", async () => {
    const { pool } = poolSetup({ maxCount: 5 });
    for (let count = 1; count <= 5; count += 1) {
      await pool.acquire();
      expect(pool.stats).toMatchObject({ leased: count, available: 5 - count, total: count });
    }
  });

  it("lends the connection that was given back last, and counts it as before", async () => {
    const { pool, state } = poolSetup({ maxCount: 3 });
    const [first, second] = [await pool.acquire(), await pool.acquire()];
    const used = first.resource;
    second.release();
    first.release();
    expect(pool.stats).toMatchObject({ leased: 0, idle: 2, total: 2, available: 3 });
    const again = await pool.acquire();
    expect(again.resource).toBe(used);
    expect(state.connections.length).toBe(2);
  });

  it("fails an acquire on an exhausted pool after its own limit, saying how long it waited", async () => {
    const { clock, pool } = poolSetup({ maxCount: 1 });
    await pool.acquire();
    const failed = expect(pool.acquire({ timeoutMs: 250 })).rejects.toMatchObject({
      code: "CONNECTION_POOL_EXHAUSTED",
      waitedMs: 250,
      maxCount: 1,
    });
    await clock.advance(249);
    expect(pool.stats.waiting).toBe(1);
    await clock.advance(1);
    await failed;
    expect(pool.stats).toMatchObject({ waiting: 0, exhaustedCount: 1, leased: 1 });
  });

  it("waits 30 seconds when no limit is given, never for ever", async () => {
    const { clock, pool } = poolSetup({ maxCount: 1 });
    await pool.acquire();
    const failed = expect(pool.acquire()).rejects.toMatchObject({ waitedMs: 30_000 });
    await clock.advance(29_999);
    expect(pool.stats.waiting).toBe(1);
    await clock.advance(1);
    await failed;
  });

  it("hands a returned connection to whoever waits longest", async () => {
    const { clock, pool } = poolSetup({ maxCount: 1 });
    const held = await pool.acquire();
    const order: number[] = [];
    const waiting = [1, 2, 3].map(async (number) => {
      const lease = await pool.acquire();
      order.push(number);
      lease.release();
    });
    await clock.advance(100);
    held.release();
    await Promise.all(waiting);
    expect(order).toEqual([1, 2, 3]);
    expect(pool.stats).toMatchObject({ waitTotalMs: 300, waitMaxMs: 100 });
  });

  it("serves ten workers over five connections, and ends with all of them free", async () => {
    const { clock, pool, open } = poolSetup({ maxCount: 5 });
    let doneCount = 0;
    const workers = Array.from({ length: 10 }, async (_, worker) => {
      for (let turn = 0; turn < 20; turn += 1) {
        await pool.use(async () => clock.sleep(1 + ((worker + turn) % 3)));
        expectConsistent(pool);
      }
      doneCount += 1;
    });
    await clock.advanceUntil(() => doneCount === 10, 60_000);
    await Promise.all(workers);
    expect(pool.stats).toMatchObject({ leased: 0, total: 5, idle: 5, available: 5, acquiredCount: 200 });
    expect(open().length).toBe(5);
  });

  it("takes ten releases at once and ends at zero leased", async () => {
    const { pool } = poolSetup({ maxCount: 10 });
    const leases = await Promise.all(Array.from({ length: 10 }, () => pool.acquire()));
    await Promise.all(leases.map(async (lease) => lease.release()));
    expect(pool.stats).toMatchObject({ leased: 0, idle: 10, available: 10 });
  });

  it("never opens more than its maximum under 200 acquires at once", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 7 });
    state.openMs = 20;
    let doneCount = 0;
    const all = Array.from({ length: 200 }, async () => {
      const lease = await pool.acquire();
      expectConsistent(pool);
      await clock.sleep(3);
      lease.release();
      doneCount += 1;
    });
    await clock.advanceUntil(() => doneCount === 200, 60_000);
    await Promise.all(all);
    expect(state.openMax).toBe(7);
    expect(state.openingMax).toBe(2);
  });

  it("refuses a second release, and changes nothing", async () => {
    const { pool } = poolSetup({ maxCount: 1 });
    const lease = await pool.acquire();
    lease.release();
    const next = await pool.acquire();
    const before = pool.stats;
    expect(() => lease.release()).toThrowError(code("CONNECTION_LEASE_RELEASED"));
    expect(() => lease.destroy()).toThrowError(code("CONNECTION_LEASE_RELEASED"));
    expect(() => lease.resource).toThrowError(code("CONNECTION_LEASE_RELEASED"));
    expect(pool.stats).toEqual(before);
    expect(next.isHeld).toBe(true);
  });

  it("gives back at the end of a block, unless that was done before", async () => {
    const { pool } = poolSetup({ maxCount: 1 });
    {
      using lease = await pool.acquire();
      expect(pool.stats.leased).toBe(1);
      lease.release();
    }
    {
      using _lease = await pool.acquire();
    }
    expect(pool.stats).toMatchObject({ leased: 0, idle: 1 });
  });

  it("refuses waiters beyond its bound at once", async () => {
    const { pool } = poolSetup({ maxCount: 1, waitingMaxCount: 2 });
    const held = await pool.acquire();
    const waiting = [pool.acquire(), pool.acquire()];
    await expect(pool.acquire()).rejects.toMatchObject({ code: "CONNECTION_POOL_EXHAUSTED", waitedMs: 0 });
    held.release();
    const first = await waiting[0];
    first?.release();
    await waiting[1];
  });

  it("forgets a waiter that is aborted: nothing is leased for it, the next one is served", async () => {
    const { clock, pool } = poolSetup({ maxCount: 1 });
    const held = await pool.acquire();
    const controller = new AbortController();
    const reason = new Error("not needed");
    const aborted = expect(pool.acquire({ signal: controller.signal })).rejects.toBe(reason);
    const next = pool.acquire();
    controller.abort(reason);
    await aborted;
    expect(pool.stats.waiting).toBe(1);
    held.release();
    (await next).release();
    await expect(pool.acquire({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(pool.stats).toMatchObject({ leased: 0, waiting: 0, idle: 1 });
    await pool.close();
    expect(clock.pendingCount).toBe(0);
  });

  it("keeps a connection whose opener gave up, for the next one", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 1 });
    state.openMs = 100;
    const controller = new AbortController();
    const aborted = expect(pool.acquire({ signal: controller.signal })).rejects.toThrow("gone");
    controller.abort(new Error("gone"));
    await aborted;
    await clock.advance(100);
    expect(pool.stats).toMatchObject({ idle: 1, opening: 0 });
  });
});

describe("a pool with unreliable connections", () => {
  it("replaces a connection that broke while idle, and nobody notices", async () => {
    const { pool, state } = poolSetup({ maxCount: 2 });
    (await pool.acquire()).release();
    state.connections[0]?.breakDown(new Error("reset by peer"));
    expect(pool.stats).toMatchObject({ idle: 0, total: 0, closedCounts: { broken: 1 } });
    const lease = await pool.acquire();
    expect(lease.resource.number).toBe(2);
  });

  it("finds a connection that died in silence, before it is lent", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 1 });
    (await pool.acquire()).release();
    (state.connections[0] as FakeConnection).isValid = false;
    await clock.advance(5_001);
    const acquired = pool.acquire();
    await clock.advance(0);
    expect((await acquired).resource.number).toBe(2);
    expect(pool.stats).toMatchObject({ validatedCount: 1, invalidCount: 1, closedCounts: { invalid: 1 } });
  });

  it("tries the next idle connection when one is invalid, before it opens another", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 3 });
    const leases = await Promise.all([pool.acquire(), pool.acquire()]);
    for (const lease of leases) lease.release();
    await clock.advance(10_000);
    (state.connections[1] as FakeConnection).isValid = false;
    const lease = await pool.acquire();
    expect(lease.resource.number).toBe(1);
    expect(state.connections.length).toBe(2);
  });

  it("lends a second idle connection while the first is being checked for another", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 2 });
    const leases = await Promise.all([pool.acquire(), pool.acquire()]);
    for (const lease of leases) lease.release();
    await clock.advance(6_000);
    const again = Promise.all([pool.acquire(), pool.acquire()]);
    await clock.advance(10);
    expect(pool.stats).toMatchObject({ leased: 2, waiting: 0 });
    for (const lease of await again) lease.release();
    expect(state.connections.length).toBe(2);
    await pool.close();
  });

  it("gives up a validation that does not answer within its limit", async () => {
    const { clock, pool } = poolSetup({ maxCount: 1, validate: () => new Promise(() => undefined) });
    (await pool.acquire()).release();
    await clock.advance(6_000);
    const acquired = pool.acquire();
    await clock.advance(1_000);
    expect((await acquired).id).toBe(2);
  });

  it("checks idle connections every 30 seconds and replaces the dead below the minimum", async () => {
    const { clock, pool, state, open } = poolSetup({ maxCount: 4, minCount: 2, idleTimeoutMs: 600_000 });
    await clock.advance(0);
    expect(open().length).toBe(2);
    for (const connection of state.connections) connection.isValid = false;
    await clock.advance(30_000);
    expect(pool.stats).toMatchObject({ idle: 2, total: 2, invalidCount: 2 });
    expect(open().map(({ number }) => number)).toEqual([3, 4]);
  });

  it("fails the one who waits with the error of the opening, and shrinks nothing", async () => {
    const { pool, state } = poolSetup({ maxCount: 2 });
    const refused = new Error("connection refused");
    state.failure = refused;
    for (let attempt = 0; attempt < 20; attempt += 1) await expect(pool.acquire()).rejects.toBe(refused);
    expect(pool.stats).toMatchObject({ total: 0, opening: 0, openFailedCount: 20, available: 2 });
    state.failure = undefined;
    const leases = await Promise.all([pool.acquire(), pool.acquire()]);
    expect(leases.length).toBe(2);
  });

  it("destroys a connection that arrives after the limit of its opening", async () => {
    const { clock, pool, state, open } = poolSetup({ maxCount: 1, createTimeoutMs: 100 });
    state.openMs = 150;
    const failed = expect(pool.acquire()).rejects.toMatchObject({ code: "KERNEL_TIMEOUT", timeoutMs: 100 });
    await clock.advance(100);
    await failed;
    await clock.advance(50);
    expect(state.connections.length).toBe(1);
    expect(open().length).toBe(0);
    expect(pool.stats.total).toBe(0);
  });

  it("leaks nothing in 10,000 failures between lending and use", async () => {
    const { pool, open } = poolSetup({ maxCount: 3 });
    for (let index = 0; index < 10_000; index += 1) {
      const failing = pool.use(async (_connection, lease) => {
        if (index % 2 === 0) lease.destroy(new Error("broken"));
        throw new Error("no");
      });
      await expect(failing).rejects.toThrow("no");
    }
    expect(pool.stats).toMatchObject({ leased: 0, closedCounts: { destroyed: 5_000 } });
    expect(open().length).toBeLessThanOrEqual(3);
    await Promise.all(Array.from({ length: 3 }, () => pool.acquire()));
  });

  it("resets between two users, and destroys what cannot be reset in time or at all", async () => {
    let mode: "fine" | "fails" | "throws" | "hangs" = "fine";
    const reset = vi.fn((): Promise<void> | undefined => {
      if (mode === "throws") throw new Error("cannot reset");
      if (mode === "hangs") return new Promise(() => undefined);
      return mode === "fails" ? Promise.reject(new Error("rollback failed")) : Promise.resolve();
    });
    const { clock, pool } = poolSetup({ maxCount: 1, reset, resetTimeoutMs: 200 });
    const turn = async (): Promise<number> => {
      const lease = await pool.acquire();
      const { id } = lease;
      lease.release();
      expect(pool.stats.leased).toBe(0);
      expectConsistent(pool);
      await clock.advance(0);
      return id;
    };
    expect([await turn(), await turn()]).toEqual([1, 1]);
    mode = "fails";
    await turn();
    mode = "throws";
    await turn();
    mode = "hangs";
    expect(await turn()).toBe(3);
    mode = "fine";
    const waiting = pool.acquire();
    await clock.advance(200);
    expect((await waiting).id).toBe(4);
    expect(pool.stats.closedCounts).toEqual({ "reset-failed": 3 });
  });

  it("reports a lease that is held too long once, with where it was acquired", async () => {
    const { clock, pool } = poolSetup({ maxCount: 2, leakAfterMs: 1_000 });
    const leaks: { readonly id: number; readonly acquiredAt: string }[] = [];
    pool.events.on("leaked", (leak) => leaks.push(leak));
    (await pool.acquire()).release();
    const forgotten = await pool.acquire();
    await clock.advance(999);
    expect(leaks).toEqual([]);
    await clock.advance(60_000);
    expect(leaks).toMatchObject([{ id: forgotten.id, heldMs: 1_000 }]);
    expect(leaks[0]?.acquiredAt).toContain("pool.test.ts");
  });
});

describe("a pool over time", () => {
  it("starts at its minimum, grows on demand to its maximum, and shrinks back after idle time", async () => {
    const { clock, pool, open } = poolSetup({ maxCount: 6, minCount: 2, idleTimeoutMs: 60_000 });
    await clock.advance(0);
    expect(open().length).toBe(2);
    const leases = await Promise.all(Array.from({ length: 6 }, () => pool.acquire()));
    expect(open().length).toBe(6);
    for (const lease of leases) lease.release();
    await clock.advance(61_000);
    expect(pool.stats).toMatchObject({ total: 2, idle: 2 });
    expect(open().length).toBe(2);
  });

  it("opens and keeps all of them without auto-scale, whatever the minimum", async () => {
    const { clock, pool } = poolSetup({ maxCount: 4, minCount: 1, autoScale: false });
    await clock.advance(0);
    expect(pool.stats).toMatchObject({ total: 4, idle: 4, minCount: 4 });
  });

  it("restores its minimum after its connections were killed", async () => {
    const { clock, pool, state, open } = poolSetup({ maxCount: 4, minCount: 3 });
    await clock.advance(1_000);
    for (const connection of [...state.connections]) connection.breakDown();
    await clock.advance(0);
    expect(open().length).toBe(3);
    expect(pool.stats).toMatchObject({ idle: 3, total: 3 });
  });

  it("tries a dead server for its minimum less and less often, not in a loop", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 2, minCount: 1 });
    state.failure = new Error("down");
    for (const connection of state.connections) connection.breakDown();
    await clock.advance(600_000);
    expect(pool.stats.openFailedCount).toBeLessThan(30);
    state.failure = undefined;
    await clock.advance(31_000);
    expect(pool.stats.idle).toBe(1);
  });

  it("lends one connection again and again within the idle time, and a new one after it", async () => {
    const { clock, pool } = poolSetup({ maxCount: 5, idleTimeoutMs: 60_000 });
    const ids = new Set<number>();
    for (let index = 0; index < 10; index += 1) {
      await pool.use(async (_connection, { id }) => ids.add(id));
      await clock.advance(59_000);
    }
    expect([...ids]).toEqual([1]);
    await clock.advance(60_000);
    expect(await pool.use(async (_connection, { id }) => id)).toBe(2);
  });

  it("still lends its maximum after 1,000 rounds of idle expiry", async () => {
    const { clock, pool } = poolSetup({ maxCount: 3, idleTimeoutMs: 1_000 });
    for (let round = 0; round < 1_000; round += 1) {
      (await pool.acquire()).release();
      await clock.advance(1_000);
      expect(pool.stats.total).toBe(0);
    }
    await Promise.all(Array.from({ length: 3 }, () => pool.acquire()));
    expect(pool.stats).toMatchObject({ leased: 3, closedCounts: { idle: 1_000 } });
  });

  it("does not lend a connection of its full lifetime, and ends those opened together at different times", async () => {
    const { clock, pool } = poolSetup({ maxCount: 20, lifetimeMs: 100_000, idleTimeoutMs: 10_000_000 });
    const ends: number[] = [];
    pool.events.on("closed", ({ reason }) => {
      expect(reason).toBe("lifetime");
      ends.push(clock.monotonicNow());
    });
    const leases = await Promise.all(Array.from({ length: 20 }, () => pool.acquire()));
    for (const lease of leases) lease.release();
    await clock.advance(100_000);
    expect(ends.length).toBe(20);
    expect(Math.min(...ends)).toBeGreaterThanOrEqual(90_000);
    expect(new Set(ends).size).toBeGreaterThan(15);
  });

  it("ends a leased connection only after its release", async () => {
    const { clock, pool, open } = poolSetup({ maxCount: 1, lifetimeMs: 1_000 });
    const lease = await pool.acquire();
    await clock.advance(50_000);
    expect(open().length).toBe(1);
    lease.release();
    expect(open().length).toBe(0);
    expect(pool.stats.closedCounts).toEqual({ lifetime: 1 });
  });

  it("replaces a connection after its allowed number of uses", async () => {
    const { pool } = poolSetup({ maxCount: 1, usesMaxCount: 3 });
    const ids: number[] = [];
    for (let use = 0; use < 7; use += 1) await pool.use(async (_connection, { id }) => ids.push(id));
    expect(ids).toEqual([1, 1, 1, 2, 2, 2, 3]);
  });

  it("evicts nothing when the wall clock jumps a day", async () => {
    const { clock, pool } = poolSetup({ maxCount: 2 });
    (await pool.acquire()).release();
    clock.jumpWall(86_400_000);
    clock.jumpWall(-2 * 86_400_000);
    expect((await pool.acquire()).id).toBe(1);
    expect(pool.stats.closedCounts).toEqual({});
  });
});

describe("clearing and closing a pool", () => {
  it("replaces every connection after a clear, leased ones when they come back", async () => {
    const { pool, open } = poolSetup({ maxCount: 3 });
    const leased = await pool.acquire();
    (await pool.acquire()).release();
    pool.clear();
    expect(open().map(({ number }) => number)).toEqual([1]);
    leased.release();
    expect(open().length).toBe(0);
    expect((await pool.acquire()).id).toBe(3);
    expect(pool.stats.closedCounts).toEqual({ cleared: 2 });
  });

  it("does not lend a connection whose opening began before the clear", async () => {
    const { clock, pool, state } = poolSetup({ maxCount: 1 });
    state.openMs = 100;
    const acquired = pool.acquire();
    await clock.advance(50);
    pool.clear();
    await clock.advance(200);
    expect((await acquired).id).toBe(2);
  });

  it("fails those who wait when the server is known to be gone", async () => {
    const { pool } = poolSetup({ maxCount: 1 });
    await pool.acquire();
    const waiting = expect(pool.acquire()).rejects.toThrow("failed over");
    pool.clear({ error: new Error("failed over") });
    await waiting;
  });

  it("waits for leases before it closes, refuses new ones, and leaves nothing open", async () => {
    const { clock, pool, open } = poolSetup({ maxCount: 3, minCount: 2 });
    const lease = await pool.acquire();
    const waiting = Promise.all([pool.acquire(), pool.acquire()]);
    await waiting;
    const failing = expect(pool.acquire()).rejects.toThrowError(code("CONNECTION_POOL_CLOSED"));
    const closed = vi.fn();
    const closing = pool.close({ drainMs: 10_000 }).then(closed);
    await failing;
    await expect(pool.acquire()).rejects.toThrowError(code("CONNECTION_POOL_CLOSED"));
    await clock.advance(1_000);
    expect(closed).not.toHaveBeenCalled();
    for (const other of await waiting) other.release();
    lease.release();
    await closing;
    expect(open().length).toBe(0);
    expect(pool.stats).toMatchObject({ total: 0, idle: 0, leased: 0 });
    expect(clock.pendingCount).toBe(0);
    await pool.close();
  });

  it("destroys what does not come back in time; its late return is no error", async () => {
    const { clock, pool, open } = poolSetup({ maxCount: 1 });
    const lease = await pool.acquire();
    const closing = pool.close({ drainMs: 500 });
    await clock.advance(500);
    await closing;
    expect(open().length).toBe(0);
    lease.release();
    expect(pool.stats).toMatchObject({ total: 0, leased: 0 });
  });

  it("destroys a connection whose opening ends after the close", async () => {
    const { clock, pool, state, open } = poolSetup({ maxCount: 1 });
    state.openMs = 100;
    const failing = expect(pool.acquire()).rejects.toThrowError(code("CONNECTION_POOL_CLOSED"));
    const closing = pool.close();
    await failing;
    await closing;
    await clock.advance(100);
    expect(state.connections.length).toBe(1);
    expect(open().length).toBe(0);
  });

  it("does not wait for ever on a connection that does not close", async () => {
    const { clock, pool } = poolSetup({ maxCount: 1, destroy: () => new Promise(() => undefined) });
    (await pool.acquire()).release();
    const closing = pool.close();
    await clock.advance(2_000);
    await closing;
  });
});

describe("pool options", () => {
  it.each<[string, object]>([
    ["maxCount", { maxCount: -1 }],
    ["maxCount", { maxCount: Number.NaN }],
    ["maxCount", { maxCount: Number.POSITIVE_INFINITY }],
    ["minCount", { maxCount: 2, minCount: 3 }],
    ["minCount", { minCount: -1 }],
    ["acquireTimeoutMs", { acquireTimeoutMs: 0 }],
    ["idleTimeoutMs", { idleTimeoutMs: 1.5 }],
    ["openingMaxCount", { openingMaxCount: 0 }],
  ])("name the wrong field: %s", (field, options) => {
    expect(() => poolSetup(options)).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field }),
    );
  });
});

describe("any sequence of calls", () => {
  it("keeps the statistics true and the maximum unbroken", async () => {
    const fc = await import("fast-check");
    const action = fc.constantFrom(
      "acquire",
      "acquire",
      "release",
      "destroy",
      "break",
      "fail",
      "heal",
      "clear",
      "wait",
      "abort",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
        const { clock, pool, state, open } = poolSetup({ maxCount: 3, minCount: 1, acquireTimeoutMs: 5_000 });
        const held: PoolLease<FakeConnection>[] = [];
        const controllers: AbortController[] = [];
        for (const name of actions) {
          state.openMs = name === "wait" ? 0 : 5;
          if (name === "acquire") {
            const controller = new AbortController();
            controllers.push(controller);
            pool.acquire({ signal: controller.signal }).then(
              (lease) => held.push(lease),
              () => undefined,
            );
          } else if (name === "release") held.shift()?.release();
          else if (name === "destroy") held.pop()?.destroy();
          else if (name === "break") open()[0]?.breakDown();
          else if (name === "fail") state.failure = new Error("down");
          else if (name === "heal") state.failure = undefined;
          else if (name === "clear") pool.clear();
          else if (name === "abort") controllers.shift()?.abort();
          else await clock.advance(700);
          expectConsistent(pool);
        }
        await clock.advance(6_000);
        expectConsistent(pool);
        expect(pool.stats.waiting).toBe(0);
        for (const lease of held) lease.release();
        state.failure = undefined;
        const closing = pool.close();
        await clock.advance(5_000);
        await closing;
        expect(open().length).toBe(0);
        expect(clock.pendingCount).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
