import { withTimeout } from "@holdfast/kernel";
import { defineStream } from "@holdfast/protocol/contract";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { ConnectionManagerOptions, NodeLease } from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo } from "./fixture.ts";

expectNoLeaks();

const rows = defineStream({
  name: "test.rows",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({}),
  item: z.number(),
});

/** A cluster with one connection for each node, all of them lent. */
const allLent = async (count: number, options: Partial<ConnectionManagerOptions> = {}) => {
  const both = await cluster(count, { pool: { minCount: 0, maxCount: count }, ...options });
  await both.settle(both.client.connect());
  const held: NodeLease[] = [];
  while (held.length < count) held.push(await both.settle(both.client.lease()));
  expect(held.map(({ nodeId }) => nodeId).sort()).toEqual(both.nodes.map((_, index) => index + 1));
  return { ...both, held };
};

describe("a wait for a lease", () => {
  it("takes as long as its caller says, however many nodes there are", async () => {
    const { client, clock, held, settle } = await allLent(3);
    const startedAt = clock.monotonicNow();
    await expect(settle(client.lease({ timeoutMs: 300 }))).rejects.toMatchObject({
      code: "CONNECTION_POOL_EXHAUSTED",
      details: { waitedMs: 300 },
    });
    expect(clock.monotonicNow() - startedAt).toBe(300);
    for (const lease of held) lease.release();
    await settle(client.disconnect());
  });

  it.each([
    0, 1,
  ])("ends when node %i of two gives one back, in whose line it stood first or last", async (index) => {
    const { client, clock, held, settle } = await allLent(2);
    const waiting = client.lease({ timeoutMs: 1_000 });
    await clock.advance(600);
    const startedAt = clock.monotonicNow();
    const free = held[index] as NodeLease;
    free.release();
    const lease = await settle(waiting);
    expect(lease.nodeId).toBe(free.nodeId);
    expect(clock.monotonicNow()).toBe(startedAt);
    expect(client.stats.connections.waiting).toBe(0);
    held[1 - index]?.release();
    lease.release();
    await settle(client.disconnect());
  });

  it("hands nobody a connection twice when two nodes give one back at once", async () => {
    const { client, clock, held, settle } = await allLent(2);
    const waiting = client.lease({ timeoutMs: 1_000 });
    await clock.advance(600);
    for (const lease of held) lease.release();
    const lease = await settle(waiting);
    expect(client.stats.connections).toMatchObject({ active: 1, idle: 1, total: 2 });
    lease.release();
    expect(client.stats.connections).toMatchObject({ active: 0, idle: 2, total: 2 });
    await settle(client.disconnect());
  });

  it("goes on to another node when one takes connections and says nothing", async () => {
    const { client, clock, node, settle } = await cluster(2, { pool: { minCount: 0 } });
    node(1).isFrozen = true;
    await settle(client.connect());
    for (let count = 0; count < 4; count += 1) {
      const startedAt = clock.monotonicNow();
      const lease = await settle(client.lease({ timeoutMs: 1_000 }));
      expect(lease.nodeId).toBe(2);
      expect(clock.monotonicNow() - startedAt).toBeLessThanOrEqual(510);
      lease.release();
    }
    node(1).isFrozen = false;
    await settle(client.disconnect());
  });

  it("leaves every line when its caller gives up, and takes no time that is none", async () => {
    const { client, clock, held, settle } = await allLent(2);
    const controller = new AbortController();
    const reason = new Error("enough");
    const aborted = expect(client.lease({ signal: controller.signal })).rejects.toBe(reason);
    await clock.advance(3_000);
    expect(client.stats.connections.waiting).toBe(2);
    controller.abort(reason);
    await aborted;
    expect(client.stats.connections.waiting).toBe(0);
    for (const timeoutMs of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await expect(client.lease({ timeoutMs })).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    }
    for (const lease of held) lease.release();
    await settle(client.disconnect());
  });
});

describe("a lease", () => {
  it("goes on when a request is given up that had not been sent, at once, and keeps the order of the others", async () => {
    const { client, clock, node, settle } = await cluster(1);
    await settle(client.connect());
    const lease = await settle(client.lease());
    node(1).delayMs = 100;
    const first = lease.request(echo, { text: "first" });
    const controller = new AbortController();
    const reason = new Error("enough");
    const { signal } = controller;
    const aborted = expect(lease.request(echo, { text: "never" }, { signal })).rejects.toBe(reason);
    const unread = expect(lease.stream(rows, {}, { signal }).next()).rejects.toBe(reason);
    const last = lease.request(echo, { text: "last" });
    await clock.advance(50);
    controller.abort(reason);
    await Promise.all([aborted, unread]);
    expect(node(1).calls.map(({ text }) => text)).toEqual(["first"]);
    await expect(lease.request(echo, { text: "never" }, { signal })).rejects.toBe(reason);
    expect(await settle(Promise.all([first, last]))).toEqual([{ text: "first" }, { text: "last" }]);
    expect(node(1).calls.map(({ text }) => text)).toEqual(["first", "last"]);
    expect(lease.isHeld).toBe(true);
    lease.release();
    await settle(client.disconnect());
  });

  it("blames no node for its use after it was given back", async () => {
    const { client, settle } = await cluster(1);
    await settle(client.connect());
    const lease = await settle(client.lease());
    lease.release();
    for (let count = 0; count < 5; count += 1) {
      await expect(lease.stream(rows, {}).next()).rejects.toMatchObject({
        code: "CONNECTION_LEASE_RELEASED",
      });
    }
    expect(client.health).toMatchObject([{ isHealthy: true, failuresInRow: 0 }]);
    await settle(client.disconnect());
  });
});

describe("a lease whose user runs out of time", () => {
  it("is over, and its node is not blamed", async () => {
    const { client, clock, node, settle } = await cluster(1);
    await settle(client.connect());
    node(1).delayMs = 100;
    for (let count = 0; count < 5; count += 1) {
      const lease = await settle(client.lease());
      const limit = { operation: "a transaction", timeoutMs: 50 };
      const limited = withTimeout(clock, limit, (signal) => lease.request(echo, { text: "x" }, { signal }));
      await expect(settle(limited)).rejects.toMatchObject({ code: "KERNEL_TIMEOUT" });
      expect(lease.isHeld).toBe(false);
    }
    expect(client.health).toMatchObject([{ isHealthy: true, failuresInRow: 0 }]);
    await settle(client.disconnect());
  });
});

describe("a connection that another node needs", () => {
  it("is given up once it is idle, where there are more nodes than connections", async () => {
    const { client, clock, node, nodes, settle } = await cluster(2, { pool: { minCount: 0, maxCount: 1 } });
    for (const each of nodes) each.delayMs = 100;
    const both = Promise.all(["a", "b"].map((text) => client.request(echo, { text })));
    const startedAt = clock.monotonicNow();
    await settle(both);
    expect(clock.monotonicNow() - startedAt).toBeLessThan(1_000);
    expect([node(1).calls.length, node(2).calls.length]).toEqual([1, 1]);
    await settle(client.disconnect());
  });
});

describe("a node of an older version", () => {
  it("is passed over for what it cannot do, and not blamed for it", async () => {
    const { client, nodes, settle } = await cluster(2, { pool: { minCount: 0 } });
    for (const node of nodes) {
      await node.kill();
      node.register = (handlers) =>
        handlers.onStream(rows, async function* () {
          yield 1;
        });
      await node.start();
    }
    await settle(client.connect());
    const leases = [await settle(client.lease()), await settle(client.lease())];
    const old = leases.find(({ nodeId }) => nodeId === 1);
    Object.defineProperty(old?.peer.remote, "features", { value: [] });
    for (const lease of leases) lease.release();
    for (let count = 0; count < 8; count += 1) {
      expect(await settle(client.stream(rows, {}).next())).toEqual({ done: false, value: 1 });
    }
    expect(client.health.map(({ failuresInRow }) => failuresInRow)).toEqual([0, 0]);
    await settle(client.disconnect());
  });
});

describe("a lease of a node on trial", () => {
  it("leaves the node to others when it ends without a request", async () => {
    const { client, clock, node, settle } = await cluster(2, {
      pool: { minCount: 0 },
      health: { ejectionMs: 1_000 },
      probeEveryMs: 100_000,
    });
    await settle(client.connect());
    node(1).isFrozen = true;
    await settle(client.checkHealth({ timeoutMs: 100 }));
    node(1).isFrozen = false;
    expect(client.health).toMatchObject([{ isHealthy: false }, { isHealthy: true }]);
    await clock.advance(1_000);
    const leases = [await settle(client.lease()), await settle(client.lease())];
    expect(leases.map(({ nodeId }) => nodeId).sort()).toEqual([1, 2]);
    for (const lease of leases) lease.release();
    for (let count = 0; count < 20; count += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(1).calls.length).toBeGreaterThan(0);
    await settle(client.disconnect());
  });
});
