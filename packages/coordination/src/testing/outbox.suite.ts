import { describe, expect, it, vi } from "vitest";
import { Outbox, type OutboxEvent } from "../event-bus/outbox.ts";
import type { RelayContext, RelayOptions } from "../event-bus/relay.ts";
import type { SetUp } from "./harness.ts";
import { expectLossRefused } from "./lossy-values.ts";

/** A relay that a test can stop; `deliver` hears of every event. */
const startRelay = <Tx>(
  outbox: Outbox<Tx>,
  owner: string,
  deliver: (event: OutboxEvent, context: RelayContext) => Promise<unknown>,
  options: Partial<RelayOptions> = {},
) => {
  const controller = new AbortController();
  const ended = outbox
    .relay({ owner, deliver, ttlMs: 1000, backoffBaseMs: 1, ...options, signal: controller.signal })
    .catch(() => undefined);
  return {
    [Symbol.asyncDispose]: async () => {
      controller.abort(new Error("stopped"));
      await ended;
    },
  };
};

/** Events that are told of exactly if their transaction commits. Waits in real time, shortly, for the relay. */
export const outboxSuite = <Tx>(setUp: SetUp<Tx>): void => {
  describe("an outbox", () => {
    it("relays what a transaction told of once it has committed, in order, and nothing of one that failed", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      const got: OutboxEvent[] = [];
      const ids = await store.transaction((tx) =>
        outbox.append(tx, [
          { type: "made", data: { n: 1 } },
          { type: "paid", data: { n: 2 }, id: "own-id" },
        ]),
      );
      await expect(
        store.transaction(async (tx) => {
          await outbox.append(tx, [{ type: "lost", data: null }]);
          throw new Error("rolled back");
        }),
      ).rejects.toThrow("rolled back");
      expect(await outbox.stats()).toEqual({ waiting: 2, dead: 0 });
      await using _relay = startRelay(outbox, "r", async (event) => got.push(event));
      await vi.waitFor(() => expect(got).toHaveLength(2));
      expect(got.map(({ id, type, data }) => ({ id, type, data }))).toEqual([
        { id: ids[0], type: "made", data: { n: 1 } },
        { id: "own-id", type: "paid", data: { n: 2 } },
      ]);
      await vi.waitFor(async () => expect(await outbox.stats()).toEqual({ waiting: 0, dead: 0 }));
      await store.transaction((tx) => outbox.append(tx, [{ type: "later", data: 3 }]));
      await vi.waitFor(() => expect(got).toHaveLength(3));
    });

    it("gives up an event that takes all the room of an entry, and tells of it as it was", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      const frame = JSON.stringify({ id: "big", type: "t", data: "" }).length;
      const data = "x".repeat(1_048_576 - frame);
      await store.transaction((tx) =>
        outbox.append(tx, [
          { id: "big", type: "t", data },
          { id: "next", type: "t", data: 1 },
        ]),
      );
      const got: string[] = [];
      await using _relay = startRelay(
        outbox,
        "r",
        async ({ id }) => {
          got.push(id);
          if (id === "big") throw new Error("e".repeat(3_000_000));
        },
        { attemptMaxCount: 2 },
      );
      await vi.waitFor(async () => expect(await outbox.stats()).toEqual({ waiting: 0, dead: 1 }));
      expect(got).toEqual(["big", "big", "next"]);
      expect(await outbox.dead()).toMatchObject([{ entry: { id: "big", type: "t", data }, error: "" }]);
    });

    it("keeps the beginning of an error of any length with what was given up", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      await store.transaction((tx) => outbox.append(tx, [{ id: "a", type: "t", data: 1 }]));
      const deliver = () => Promise.reject(new Error("e".repeat(3_000_000)));
      await using _relay = startRelay(outbox, "r", deliver, { attemptMaxCount: 1 });
      await vi.waitFor(async () => expect(await outbox.dead()).toHaveLength(1));
      const [dead] = await outbox.dead();
      expect(dead).toMatchObject({ entry: { id: "a", type: "t", data: 1 } });
      expect(dead?.error).toMatch(/^e{1000,5000}$/);
    });

    it("delivers again, under the same id, what a relay that died had not confirmed", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      const ids = await store.transaction((tx) =>
        outbox.append(
          tx,
          [1, 2, 3].map((data) => ({ type: "t", data })),
        ),
      );
      const first: string[] = [];
      let tokenOfFirst = 0n;
      {
        // It dies in the second delivery, after the receiver has it.
        const relay = startRelay(outbox, "dying", async (event, { token, signal }) => {
          first.push(event.id);
          tokenOfFirst = token;
          if (first.length < 2) return;
          await new Promise((_, reject) =>
            signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
          );
        });
        await vi.waitFor(() => expect(first).toHaveLength(2));
        await relay[Symbol.asyncDispose]();
      }
      const second: string[] = [];
      let tokenOfSecond = 0n;
      await using _relay = startRelay(outbox, "next", async (event, { token }) => {
        second.push(event.id);
        tokenOfSecond = token;
      });
      await vi.waitFor(async () => expect((await outbox.stats()).waiting).toBe(0));
      expect(first).toEqual(ids.slice(0, 2));
      expect(second.slice(-2)).toEqual(ids.slice(1));
      expect(new Set([...first, ...second])).toEqual(new Set(ids));
      expect(tokenOfSecond).toBeGreaterThan(tokenOfFirst);
    });

    it("lets no deposed relay forget what its successor has yet to deliver", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      await store.transaction((tx) => outbox.append(tx, [{ type: "t", data: 1 }]));
      let hasDelivered = false;
      await using _relay = startRelay(outbox, "paused", async () => {
        if (hasDelivered) throw new Error("deposed for good");
        hasDelivered = true;
        // Another takes over while it believes to be in office.
        await store.leases.revokeAll();
        await store.leases.grant("outbox/orders/0", { owner: "next", ttlMs: 60_000 });
      });
      await vi.waitFor(() => expect(hasDelivered).toBe(true));
      const { log } = store;
      await vi.waitFor(async () => expect((await log.bounds("outbox/orders/0")).head.offset).toBe(1n));
      expect(await outbox.stats()).toEqual({ waiting: 1, dead: 0 });
    });

    it("tries again what fails, keeps the order, and gives up after so many tries with the reason kept", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      await store.transaction((tx) =>
        outbox.append(
          tx,
          ["good", "shaky", "bad", "last"].map((data) => ({ type: "t", data, id: data })),
        ),
      );
      // Something that is no event must not stop the others.
      await store.log.append([{ stream: "outbox/orders/0", payload: "garbage" }]);
      const tries: string[] = [];
      await using _relay = startRelay(
        outbox,
        "r",
        async ({ data }, { attempt }) => {
          tries.push(`${data} ${attempt}`);
          if (data === "bad" || (data === "shaky" && attempt === 1)) throw new Error(`${data} failed`);
        },
        { attemptMaxCount: 3 },
      );
      await vi.waitFor(async () => expect(await outbox.stats()).toEqual({ waiting: 0, dead: 2 }));
      expect(tries).toEqual(["good 1", "shaky 1", "shaky 2", "bad 1", "bad 2", "bad 3", "last 1"]);
      expect(await outbox.dead()).toMatchObject([
        { entry: { id: "bad", type: "t", data: "bad" }, error: "bad failed" },
        { entry: "garbage" },
      ]);
      await outbox.forgetDead(1);
      expect(await outbox.dead()).toMatchObject([{ entry: "garbage" }]);
    });

    it("counts a delivery that takes too long as failed: tells it so, tries again, and gives it up in the end", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      const ids = ["slow", "stuck", "last"];
      await store.transaction((tx) =>
        outbox.append(
          tx,
          ids.map((id) => ({ id, type: "t", data: null })),
        ),
      );
      const tries: string[] = [];
      const reasons: unknown[] = [];
      await using _relay = startRelay(
        outbox,
        "r",
        ({ id }, { attempt, signal }) => {
          tries.push(`${id} ${attempt}`);
          if (id === "last" || (id === "slow" && attempt === 2)) return Promise.resolve();
          signal.addEventListener("abort", () => reasons.push(signal.reason), { once: true });
          return new Promise(() => undefined);
        },
        { attemptMaxCount: 2, timeoutMs: 20 },
      );
      await vi.waitFor(async () => expect(await outbox.stats()).toEqual({ waiting: 0, dead: 1 }));
      expect(tries).toEqual(["slow 1", "slow 2", "stuck 1", "stuck 2", "last 1"]);
      expect(reasons).toMatchObject(Array(3).fill({ code: "KERNEL_TIMEOUT", timeoutMs: 20 }));
      expect(await outbox.dead()).toMatchObject([
        { entry: { id: "stuck" }, error: "the delivery of event stuck took longer than 20 ms" },
      ]);
    });

    it("stops at once in the middle of a delivery that never ends, and leaves the event to the next relay", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      await store.transaction((tx) => outbox.append(tx, [{ id: "a", type: "t", data: null }]));
      const got: string[] = [];
      const stuck = startRelay(outbox, "stuck", async ({ id }) => {
        got.push(`stuck ${id}`);
        await new Promise(() => undefined);
      });
      await vi.waitFor(() => expect(got).toEqual(["stuck a"]));
      await stuck[Symbol.asyncDispose]();
      await using _relay = startRelay(outbox, "next", async ({ id }) => got.push(`next ${id}`));
      await vi.waitFor(async () => expect(await outbox.stats()).toEqual({ waiting: 0, dead: 0 }));
      expect(got).toEqual(["stuck a", "next a"]);
    });

    it("spreads keys over partitions and keeps the order within each key", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "many", partitionCount: 3 });
      const events = Array.from({ length: 30 }, (_, n) => ({
        type: "t",
        data: n,
        id: `e${n}`,
        key: `k${n % 5}`,
      }));
      await store.transaction((tx) => outbox.append(tx, events));
      const got: OutboxEvent[] = [];
      await using _one = startRelay(outbox, "one", async (event) => got.push(event));
      await using _two = startRelay(outbox, "two", async (event) => got.push(event));
      await vi.waitFor(() => expect(got).toHaveLength(30));
      for (let key = 0; key < 5; key += 1) {
        const ofKey = got.map(({ data }) => Number(data)).filter((n) => n % 5 === key);
        expect(ofKey).toEqual([...ofKey].sort((a, b) => a - b));
      }
    });

    it("refuses data that it could not give back as it was, by path and kind, and tells of nothing", async () => {
      await using harness = await setUp();
      const { store } = harness;
      const outbox = new Outbox({ store, name: "orders" });
      await store.transaction((tx) =>
        expectLossRefused("event.data", (data) =>
          outbox.append(tx, [
            { type: "fine", data: 1 },
            { type: "lossy", data },
          ]),
        ),
      );
      expect(await outbox.stats()).toEqual({ waiting: 0, dead: 0 });
    });

    it("refuses to relay with numbers that would make it try for ever", async () => {
      await using harness = await setUp();
      const outbox = new Outbox({ store: harness.store, name: "orders" });
      for (const wrong of [
        { attemptMaxCount: Number.NaN },
        { attemptMaxCount: 0 },
        { backoffBaseMs: Number.NaN },
        { backoffCapMs: 0 },
        { timeoutMs: Number.NaN },
        { timeoutMs: 0 },
        { timeoutMs: Infinity },
      ]) {
        const signal = AbortSignal.timeout(2000);
        const relaying = outbox.relay({ owner: "r", deliver: async () => undefined, signal, ...wrong });
        await expect(relaying).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      }
    });
  });
};
