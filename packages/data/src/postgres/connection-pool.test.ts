import { type Deferred, deferred, type Random, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { ConnectError } from "../errors.ts";
import type { SessionCloseReason } from "../sql/database.ts";
import { ConnectionPool } from "./connection-pool.ts";
import type { PooledConnection } from "./pooled-connection.ts";

class FakeConnection implements PooledConnection {
  acceptsMore = true;
  readonly #gone = deferred<void>();
  readonly gone = this.#gone.promise;
  closeReason: SessionCloseReason | undefined;
  isInTransaction = false;
  isUnsettled = false;
  isClosed = false;
  rolledBackCount = 0;
  settling: Deferred<void> | undefined;
  /** What closing waits for. */
  goodbye: Deferred<void> | undefined;

  readonly number: number;

  constructor(number: number) {
    this.number = number;
  }

  async settle(): Promise<void> {
    await this.settling?.promise;
    this.isUnsettled = false;
  }
  async rollBack(): Promise<void> {
    this.rolledBackCount += 1;
    this.isInTransaction = false;
  }
  async close(reason: SessionCloseReason): Promise<void> {
    this.closeReason ??= reason;
    this.isClosed = true;
    this.settling?.resolve();
    await this.goodbye?.promise;
    this.#gone.resolve();
  }
  breakNow(): void {
    this.closeReason ??= "broken";
    this.#gone.resolve();
  }
}

const setUp = (
  options: { maxCount?: number; waitingMaxCount?: number; idleTimeoutMs?: number; random?: Random } = {},
) => {
  const clock = new VirtualClock();
  const opened: FakeConnection[] = [];
  const opening: Deferred<void>[] = [];
  const state = { failure: undefined as Error | undefined, holdOpening: false };
  const pool = new ConnectionPool<FakeConnection>({
    server: "test",
    open: async () => {
      if (state.holdOpening) {
        const gate = deferred<void>();
        opening.push(gate);
        await gate.promise;
      }
      if (state.failure !== undefined) throw state.failure;
      const connection = new FakeConnection(opened.length);
      opened.push(connection);
      return connection;
    },
    maxCount: options.maxCount ?? 2,
    waitingMaxCount: options.waitingMaxCount ?? 100,
    acquireTimeoutMs: 1_000,
    idleTimeoutMs: options.idleTimeoutMs ?? 10_000,
    lifetimeMs: 100_000,
    clock,
    random: options.random ?? { next: () => 0 },
    logger: silentLogger,
  });
  const addsUp = (): void => {
    const closed = (["broken", "read-only", "idle", "lifetime", "cancel-failed", "closed"] as const).reduce(
      (sum, reason) => sum + pool.closedCount(reason),
      0,
    );
    expect(pool.openedCount).toBe(pool.idleCount + pool.busyCount + closed);
  };
  return { clock, pool, opened, opening, state, addsUp };
};

describe("a pool of connections", () => {
  it("opens no more than its most, and serves those who wait in order of arrival", async () => {
    const { pool, opened, clock, addsUp } = setUp();
    const first = await pool.acquire();
    const second = await pool.acquire();
    const order: number[] = [];
    const waits = [1, 2, 3].map(async (n) => {
      const connection = await pool.acquire();
      order.push(n);
      pool.release(connection);
    });
    await clock.advance(10);
    expect(pool.waitingCount).toBe(3);
    pool.release(first);
    await Promise.all(waits);
    expect(order).toEqual([1, 2, 3]);
    expect(opened).toHaveLength(2);
    pool.release(second);
    expect([pool.idleCount, pool.busyCount, pool.waitingCount]).toEqual([2, 0, 0]);
    addsUp();
    await pool.close(0);
    addsUp();
    expect(opened.every((connection) => connection.isClosed)).toBe(true);
  });

  it("shares no connection that has outlived its time, however many would go on sharing it", async () => {
    const { clock, pool, opened } = setUp({ maxCount: 1 });
    const first = await pool.acquire({ kind: "shared" });
    const second = await pool.acquire({ kind: "shared" });
    expect(second).toBe(first);
    await clock.advance(60 * 60_000);
    const third = pool.acquire({ kind: "shared" });
    pool.release(first);
    pool.release(second);
    expect((await third).number).not.toBe(first.number);
    expect([opened.length, pool.closedCount("lifetime")]).toEqual([2, 1]);
  });

  it("waits no longer for those it has once it is closed without a grace", async () => {
    const { pool, opened } = setUp();
    await pool.acquire();
    const patient = pool.close(60_000);
    await pool.close(0);
    await patient;
    expect(opened[0]?.isClosed).toBe(true);
  });

  it("gives up waiting after the acquire time, refuses more than may wait, and hands nothing to who left", async () => {
    const { pool, clock } = setUp({ maxCount: 1, waitingMaxCount: 2 });
    const held = await pool.acquire();
    const controller = new AbortController();
    const aborted = pool.acquire({ signal: controller.signal });
    const timedOut = pool.acquire({ timeoutMs: 500 });
    await expect(pool.acquire()).rejects.toMatchObject({ code: "KERNEL_OVERLOADED", retryable: true });
    controller.abort(new Error("left"));
    await expect(aborted).rejects.toThrow("left");
    const stays = pool.acquire({ timeoutMs: 900 });
    const expectation = expect(timedOut).rejects.toMatchObject({ code: "SQL_POOL_TIMEOUT", retryable: true });
    await clock.advance(600);
    await expectation;
    pool.release(held);
    expect(await stays).toBe(held);
    expect(pool.acquireTimeoutCount).toBe(1);
    pool.release(held);
    await pool.close(0);
  });

  it("lends the connection used last, and closes those that stay idle", async () => {
    const { pool, clock, opened, addsUp } = setUp({ maxCount: 3 });
    const all = [await pool.acquire(), await pool.acquire(), await pool.acquire()];
    for (const connection of all) pool.release(connection);
    for (let round = 0; round < 4; round += 1) {
      await clock.advance(3_000);
      const connection = await pool.acquire();
      expect(connection.number).toBe(2);
      pool.release(connection);
    }
    expect(opened.map((connection) => connection.closeReason)).toEqual(["idle", "idle", undefined]);
    await clock.advance(10_001);
    expect(pool.idleCount).toBe(0);
    expect(clock.pendingCount).toBe(0);
    addsUp();
    await pool.close(0);
  });

  it("replaces connections at the end of their lifetimes, which are spread", async () => {
    let next = 0;
    const { pool, clock, opened } = setUp({
      idleTimeoutMs: 1_000_000,
      random: { next: () => [0, 1][next++ % 2] ?? 0 },
    });
    const busy = await pool.acquire();
    const other = await pool.acquire();
    pool.release(other);
    await clock.advance(79_000);
    pool.release(await pool.acquire());
    await clock.advance(1_001);
    expect(opened[1]?.closeReason).toBe("lifetime");
    expect(opened[0]?.closeReason).toBeUndefined();
    await clock.advance(20_000);
    // Lent ones are replaced when they come back.
    expect(busy.isClosed).toBe(false);
    pool.release(busy);
    await clock.advance(1);
    expect(busy.closeReason).toBe("lifetime");
    expect((await pool.acquire()).number).toBeGreaterThan(1);
    await pool.close(0);
  });

  it("never lends a broken connection, idle or returned, and opens another for those who wait", async () => {
    const { pool, clock, opened, addsUp } = setUp({ maxCount: 1 });
    const first = await pool.acquire();
    pool.release(first);
    first.breakNow();
    await clock.advance(0);
    expect(pool.idleCount).toBe(0);
    const second = await pool.acquire();
    expect(second).not.toBe(first);
    const waiting = pool.acquire();
    second.closeReason = "read-only";
    pool.release(second);
    expect((await waiting).number).toBe(2);
    expect(opened[1]?.isClosed).toBe(true);
    expect([pool.closedCount("broken"), pool.closedCount("read-only")]).toEqual([1, 1]);
    addsUp();
    await pool.close(0);
  });

  it("rolls back what an owner left open before the next owner gets it", async () => {
    const { pool } = setUp({ maxCount: 1 });
    const connection = await pool.acquire();
    connection.isInTransaction = true;
    pool.release(connection);
    const next = await pool.acquire();
    expect(next).toBe(connection);
    expect(connection.rolledBackCount).toBe(1);
    await pool.close(0);
  });

  it("lends a connection again only after a statement that was given up has ended", async () => {
    const { pool, clock } = setUp({ maxCount: 1 });
    const connection = await pool.acquire();
    connection.isUnsettled = true;
    connection.settling = deferred();
    pool.release(connection);
    let isLent = false;
    const next = pool.acquire().then((lent) => {
      isLent = true;
      return lent;
    });
    await clock.advance(100);
    expect([isLent, pool.busyCount, pool.idleCount]).toEqual([false, 1, 0]);
    connection.settling.resolve();
    expect(await next).toBe(connection);
    await pool.close(0);
  });

  it("lets reads share the lent connections once no more can be opened, the emptiest first, and no more than fit", async () => {
    const { pool } = setUp({ maxCount: 2 });
    const alone = await pool.acquire();
    const shared: FakeConnection[] = [];
    for (let n = 0; n < 8; n += 1) shared.push(await pool.acquire({ kind: "shared" }));
    expect(new Set(shared)).toHaveLength(1);
    expect(shared).not.toContain(alone);
    expect(pool.acquireNow("shared")).toBeUndefined();
    const first = shared[0] as FakeConnection;
    pool.release(first);
    expect(pool.acquireNow("shared")).toBe(first);
    pool.release(alone);
    // A free connection is better than a shared one.
    expect(pool.acquireNow("shared")).toBe(alone);
    expect(pool.acquireNow("shared")).toBe(alone);
    first.acceptsMore = false;
    pool.release(first);
    alone.acceptsMore = false;
    expect(pool.acquireNow("shared")).toBeUndefined();
    await pool.close(0);
  });

  it("does not let reads overtake a caller that waits for a connection of its own", async () => {
    const { pool, clock } = setUp({ maxCount: 1 });
    const first = await pool.acquire({ kind: "shared" });
    const order: string[] = [];
    const alone = pool.acquire().then((connection) => {
      order.push("alone");
      return connection;
    });
    const readers = [1, 2].map((n) =>
      pool.acquire({ kind: "shared" }).then((connection) => {
        order.push(`reader ${n}`);
        return connection;
      }),
    );
    await clock.advance(1);
    expect(order).toEqual([]);
    pool.release(first);
    await clock.advance(1);
    expect(order).toEqual(["alone"]);
    pool.release(await alone);
    // Both at once: they share it.
    await clock.advance(1);
    expect(order).toEqual(["alone", "reader 1", "reader 2"]);
    for (const reader of readers) pool.release(await reader);
    expect([pool.idleCount, pool.busyCount]).toEqual([1, 0]);
    await pool.close(0);
  });

  it("fails each waiting caller with the reason why no connection opens, and recovers", async () => {
    const { pool, state, clock } = setUp();
    state.failure = new ConnectError("test", "refused");
    const outcomes = await Promise.allSettled([pool.acquire(), pool.acquire(), pool.acquire()]);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: { code: "SQL_CONNECT_FAILED" } });
    state.failure = undefined;
    pool.release(await pool.acquire());
    expect(clock.monotonicNow()).toBe(0);
    await pool.close(0);
  });

  it("gives a connection that came back to who waits, and keeps the one that opened too late", async () => {
    const { pool, state, opening, clock } = setUp();
    const first = await pool.acquire();
    state.holdOpening = true;
    const waiting = pool.acquire();
    await clock.advance(0);
    pool.release(first);
    expect(await waiting).toBe(first);
    opening[0]?.resolve();
    await clock.advance(0);
    expect(pool.idleCount).toBe(1);
    await pool.close(0);
  });

  it("closes a connection too that opens while it closes the others", async () => {
    const { pool, opened, opening, state } = setUp();
    const first = await pool.acquire();
    state.holdOpening = true;
    const second = pool.acquire();
    // Who waited for a second one gets the first.
    pool.release(first);
    pool.release(await second);
    first.goodbye = deferred();
    const closed = pool.close(0);
    opening[0]?.resolve();
    await vi.waitFor(() => expect(opened).toHaveLength(2));
    await vi.waitFor(() => expect(opened[1]?.isClosed).toBe(true));
    first.goodbye.resolve();
    await closed;
  });

  it("lets its callers finish before it closes, and cuts those that take longer", async () => {
    const { pool, clock, opened } = setUp();
    const slow = await pool.acquire();
    const stuck = await pool.acquire();
    const waiting = pool.acquire();
    const closed = pool.close(500);
    await expect(pool.acquire()).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    pool.release(slow);
    expect(await waiting).toBe(slow);
    pool.release(slow);
    await clock.advance(499);
    expect(stuck.isClosed).toBe(false);
    await clock.advance(2);
    await closed;
    expect(opened.every((connection) => connection.isClosed)).toBe(true);
    pool.release(stuck);
    expect([pool.idleCount, pool.busyCount, pool.closedCount("closed")]).toEqual([0, 0, 2]);
    expect(clock.pendingCount).toBe(0);
  });
});
