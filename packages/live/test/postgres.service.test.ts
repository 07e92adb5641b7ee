import { createPostgresStore } from "@holdfast/coordination/postgres";
import { openPostgres } from "@holdfast/data";
import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LiveServer, StoredChannelLog } from "../src/server/index.ts";
import { channelLogSuite } from "../src/testing/channel-log.suite.ts";

describeService("postgres", "channels on PostgreSQL", () => {
  let server: PostgresServer;
  let sql: Awaited<ReturnType<typeof openPostgres>>;
  let count = 0;
  beforeAll(async () => {
    server = await startPostgres();
    sql = await openPostgres({ url: server.url });
  });
  afterAll(async () => {
    await sql?.close();
    await server?.[Symbol.asyncDispose]();
  });

  /** Two logs, as two servers have them: each with its own store over the same database. */
  const twoLogs = async (historyMaxCount: number) => {
    count += 1;
    const schema = `live_${count}`;
    const store = await createPostgresStore({ sql, schema });
    const otherStore = await createPostgresStore({ sql, schema });
    const log = new StoredChannelLog({ log: store.log, historyMaxCount });
    const other = new StoredChannelLog({ log: otherStore.log, historyMaxCount });
    return {
      store,
      log,
      other,
      async [Symbol.asyncDispose]() {
        for (const each of [log, other, store, otherStore]) await each.close();
      },
    };
  };

  channelLogSuite(async () => ({
    ...(await twoLogs(20)),
    historyMaxCount: 20,
    until: (condition) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 30_000 }),
  }));

  describe("an event written in the transaction of the change it tells of", () => {
    it("is trimmed with the history like any other, and refused when it is too large", async () => {
      await using logs = await twoLogs(20);
      const draft = (payloadText: string) => ({ channel: "order", event: "e", payloadText, id: "i" });
      for (let count = 0; count < 60; count += 1) {
        await logs.store.transaction((tx) => logs.log.publishIn(tx, [draft("{}")]));
      }
      expect((await logs.log.bounds("order")).trimmedTo).toBeGreaterThanOrEqual(35n);
      const large = draft(`{"text":"${"x".repeat(262_144)}"}`);
      const publishing = logs.store.transaction((tx) => logs.log.publishIn(tx, [large]));
      await expect(publishing).rejects.toMatchObject({ code: "LIVE_EVENT_TOO_LARGE" });
    });

    it("reaches handlers on every server when that commits, and nobody when it rolls back", async () => {
      await using logs = await twoLogs(20);
      await using live = new LiveServer({ log: logs.other, origins: [] });
      const seen: string[] = [];
      await live.subscribe("order", ({ event }) => {
        seen.push(event);
      });
      const draft = (event: string) => ({ channel: "order", event, payloadText: "{}", id: event });
      const failing = logs.store.transaction(async (tx) => {
        await logs.log.publishIn(tx, [draft("rolled back")]);
        throw new Error("the change failed");
      });
      await expect(failing).rejects.toThrow("the change failed");
      await logs.store.transaction(async (tx) => {
        await logs.log.publishIn(tx, [draft("committed")]);
      });
      await vi.waitFor(() => expect(seen).toEqual(["committed"]), { timeout: 30_000 });
    });
  });
});
