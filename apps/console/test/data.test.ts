import type { Database } from "@holdfast/data";
import { type Clock, systemClock, TimeoutError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { DataTierView } from "../src/data-view.ts";
import { createDataSource, type DataSource } from "../src/server/index.ts";
import { setUp } from "./fixture.ts";

/** A database that fails every statement, or answers none. */
const scriptedDatabase = (query: () => Promise<never>): Database => {
  const stats = {
    sessionMaxCount: 10,
    sessionCount: 0,
    idleCount: 0,
    busyCount: 0,
    waitingCount: 0,
    listenerCount: 0,
    statementCount: 0,
    statementFailedCount: 0,
    transactionCount: 0,
    committedCount: 0,
    rolledBackCount: 0,
    unknownCount: 0,
    acquireTimeoutCount: 0,
    acquireWaitTotalMs: 0,
    sessionOpenedCount: 0,
    sessionClosedCounts: { broken: 2, "read-only": 1, idle: 0, lifetime: 0, "cancel-failed": 0, closed: 0 },
  };
  return {
    kind: "postgres",
    serverVersion: "15.20",
    durability: "server",
    query,
    execute: query,
    transaction: query,
    listen: query,
    stats: () => stats,
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
};

const view = { database: { condition: "healthy" } } as unknown as DataTierView;
const still: DataSource = { look: async () => view };

describe("the data tier", () => {
  it("is told to those who may read, once and live, and nobody may publish into it", async () => {
    await using server = await setUp({}, { data: still, tokens: true });
    expect((await server.ask("/api/data")).status).toBe(401);
    expect((await server.ask("/api/data", { token: "cancel-token-0001" })).status).toBe(401);
    const answer = await server.ask("/api/data", { token: "reader-token-0001" });
    expect(await answer.json()).toEqual(view);
    const page = await server.open({ says: { hello: { version: 2, token: "reader-token-0001" } } });
    page.subscribe("data");
    await page.expect("data", [{ payload: view }]);
    const published = await server.ask("/broadcast", {
      method: "POST",
      token: "operate-token-0001",
      body: JSON.stringify({ channel: "data", event: "state", payload: {} }),
    });
    expect(published.ok).toBe(false);
  });

  it("is said to be absent where the console has none", async () => {
    await using server = await setUp();
    const answer = await server.ask("/api/data");
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ error: { code: "CONSOLE_NOT_FOUND" } });
    const page = await server.open();
    page.subscribe("data");
    await page.expect("data", [{ payload: null }]);
  });

  it("is not looked at while nobody watches", async () => {
    let looks = 0;
    const counting: DataSource = {
      look: async () => {
        looks += 1;
        return view;
      },
    };
    await using server = await setUp({}, { data: counting });
    await server.clock.advance(10_000);
    expect(looks).toBe(0);
    const page = await server.open();
    page.subscribe("data");
    await page.expect("data", [{ payload: view }]);
    expect(looks).toBeGreaterThan(0);
  });

  it("shows what fails as failed, with the reason and without a secret, beside what does not", async () => {
    const database = scriptedDatabase(() => Promise.reject(new Error("password=hunter2")));
    const seen = await createDataSource({ database, clock: systemClock }).look(AbortSignal.timeout(10_000));
    expect(seen).toMatchObject({
      database: { condition: "down", takesWrites: false, takesReads: false },
      server: { kind: "failed", last: null },
      nodes: { kind: "failed" },
      shards: { kind: "failed" },
      failovers: { kind: "absent" },
      caches: { kind: "absent" },
      backups: { kind: "absent" },
      pool: { sessionMaxCount: 10, brokenCount: 3 },
    });
    expect(JSON.stringify(seen)).not.toContain("hunter2");
  });

  it("shows what could be read a while ago beside why it cannot be now, and since when", async () => {
    let isAway = false;
    let wallMs = 1_000;
    const clock: Clock = { ...systemClock, wallNow: () => wallMs, monotonicNow: () => wallMs };
    const history = [{ timeline: 1, forkLsn: 0n, at: undefined, leader: "a", reason: "failover" }];
    const database = {
      ...scriptedDatabase(() => Promise.reject(new Error("away"))),
      kind: "cluster",
      status: () => ({ condition: { kind: "healthy", takesWrites: true, takesReads: true }, nodes: [] }),
      history: () => (isAway ? Promise.reject(new TimeoutError("history", 5_000)) : Promise.resolve(history)),
    } as unknown as Database;
    const source = createDataSource({ database, clock });
    const look = async () => (await source.look(AbortSignal.timeout(10_000))).failovers;
    const value = [{ timeline: 1, leader: "a" }];
    expect(await look()).toMatchObject({ kind: "shown", value });
    isAway = true;
    // Still remembered, and as old as it is.
    wallMs = 3_000;
    expect(await look()).toMatchObject({ kind: "shown", value });
    wallMs = 61_000;
    expect(await look()).toMatchObject({
      kind: "failed",
      message: "history took longer than 5000 ms",
      last: { seenAt: 1_000, value },
    });
    isAway = false;
    wallMs = 122_000;
    expect(await look()).toMatchObject({ kind: "shown", value });
  });
});
