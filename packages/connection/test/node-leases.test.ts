import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import type { ConnectionManagerOptions, NodeLease } from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo } from "./fixture.ts";

expectNoLeaks();

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
