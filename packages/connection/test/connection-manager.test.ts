import { channel } from "node:diagnostics_channel";
import { OverloadedError, RemoteError } from "@holdfast/kernel";
import { retryPresets } from "@holdfast/resilience";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import type { ManagerEvents } from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo, operate, wait } from "./fixture.ts";

expectNoLeaks();

const busy = (retryAfterMs?: number): RemoteError =>
  new RemoteError({
    code: "RESILIENCE_LOAD_SHED",
    message: "busy",
    retryable: true,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });

describe("connecting", () => {
  it("succeeds with one live node of three, exchanges a message, and leaves the dead ones alone", async () => {
    const { client, node, settle } = await cluster(3);
    await node(1).kill();
    await node(3).kill();
    await settle(client.connect());
    expect(await settle(client.request(echo, { text: "a" }))).toEqual({ text: "a" });
    expect(node(2).calls.length).toBe(1);
    await settle(client.disconnect());
  });

  it.each([
    ["timeoutMs", Number.NaN],
    ["timeoutMs", Number.POSITIVE_INFINITY],
    ["deadlineMs", Number.NaN],
    ["deadlineMs", Number.POSITIVE_INFINITY],
  ])("is followed by no request whose %s is %d, and no node is blamed", async (field, waitMs) => {
    const { client, nodes, settle } = await cluster(2);
    await settle(client.connect());
    await expect(settle(client.request(echo, { text: "a" }, { [field]: waitMs }))).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field,
    });
    expect(nodes.flatMap(({ calls }) => calls)).toEqual([]);
    expect(await settle(client.request(echo, { text: "b" }))).toEqual({ text: "b" });
    await settle(client.disconnect());
  });

  it("fails with the reason when all nodes are dead, without waiting", async () => {
    const { client, clock, nodes, settle } = await cluster(3);
    for (const node of nodes) await node.kill();
    await expect(settle(client.connect())).rejects.toMatchObject({ code: "CONNECTION_REFUSED" });
    expect(clock.monotonicNow()).toBeLessThan(100);
    await settle(client.disconnect());
  });

  it("fails within one connect timeout when all nodes are frozen, naming host and limit", async () => {
    const { client, clock, nodes, settle } = await cluster(3, { connectTimeoutMs: 3_000 });
    for (const node of nodes) node.isFrozen = true;
    await expect(settle(client.connect())).rejects.toMatchObject({
      code: "CONNECTION_TIMEOUT",
      details: { address: expect.stringMatching(/^n\d:7000$/), timeoutMs: 3_000 },
    });
    expect(clock.monotonicNow()).toBe(3_000);
    await settle(client.disconnect());
  });

  it("opens its minimum in the background, spread over the nodes, and restores it after a kill", async () => {
    const { client, clock, nodes, node, settle } = await cluster(3, { pool: { minCount: 6, maxCount: 9 } });
    await settle(client.connect());
    await clock.advance(10);
    expect(nodes.map(({ openCount }) => openCount)).toEqual([2, 2, 2]);
    await node(2).kill();
    await clock.advance(10);
    expect(client.stats.connections.total).toBe(4);
    await node(2).start();
    await clock.advance(60_000);
    expect(nodes.map(({ openCount }) => openCount)).toEqual([2, 2, 2]);
    await settle(client.disconnect());
  });
});

describe("spreading requests", () => {
  it("gives every node some of 100 sequential requests, and none all of them", async () => {
    const { client, callCounts, settle } = await cluster(3);
    await settle(client.connect());
    for (let index = 0; index < 100; index += 1) await settle(client.request(echo, { text: `${index}` }));
    for (const count of callCounts()) {
      expect(count).toBeGreaterThan(0);
      expect(count).toBeLessThan(100);
    }
    await settle(client.disconnect());
  });

  it("gives a node that is ten times slower clearly less, but not nothing", async () => {
    const { client, callCounts, nodes, node, settle } = await cluster(3);
    for (const each of nodes) each.delayMs = 10;
    node(2).delayMs = 100;
    await settle(client.connect());
    const worker = async (): Promise<void> => {
      for (let index = 0; index < 100; index += 1) await client.request(echo, { text: "x" });
    };
    await settle(Promise.all(Array.from({ length: 8 }, worker)));
    const [first = 0, second = 0, third = 0] = callCounts();
    expect(second).toBeGreaterThan(0);
    expect(second).toBeLessThan(0.6 * Math.min(first, third));
    await settle(client.disconnect());
  });

  it("uses one connection for sequential requests within the idle time, and a new one after it", async () => {
    const { client, clock, node, settle } = await cluster(1, {
      pool: { minCount: 0, idleTimeoutMs: 60_000 },
    });
    await settle(client.connect());
    for (let index = 0; index < 5; index += 1) {
      await settle(client.request(echo, { text: "x" }));
      await clock.advance(50_000);
    }
    expect(new Set(node(1).calls.map(({ peer }) => peer)).size).toBe(1);
    await clock.advance(60_000);
    await settle(client.request(echo, { text: "x" }));
    expect(new Set(node(1).calls.map(({ peer }) => peer)).size).toBe(2);
    await settle(client.disconnect());
  });

  it("sends many requests at once over one connection for each node", async () => {
    const { client, nodes, settle } = await cluster(2, { pool: { minCount: 0 } });
    await settle(client.connect());
    await settle(
      Promise.all(Array.from({ length: 500 }, (_, index) => client.request(echo, { text: `${index}` }))),
    );
    for (const { calls } of nodes) expect(new Set(calls.map(({ peer }) => peer)).size).toBe(1);
    await settle(client.disconnect());
  });
});

describe("holding a node back", () => {
  it("gives it none of ten requests, whatever a probe says, and again some after its release", async () => {
    const { client, node, settle } = await cluster(2);
    await settle(client.connect());
    client.markUnhealthy(1);
    expect(client.health[0]).toMatchObject({
      isHealthy: false,
      isHeld: true,
      isObservedHealthy: true,
      failuresInRow: 1,
    });
    const report = await settle(client.checkHealth());
    expect(report).toMatchObject({ totalCount: 2, healthyCount: 1 });
    for (let index = 0; index < 10; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(1).calls.length).toBe(0);
    client.markHealthy(1);
    expect(client.health[0]).toMatchObject({ isHealthy: true, failuresInRow: 0 });
    for (let index = 0; index < 10; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(1).calls.length).toBeGreaterThan(0);
    await settle(client.disconnect());
  });

  it("ends at once when all nodes are held back", async () => {
    const { client, clock, settle } = await cluster(2);
    await settle(client.connect());
    client.markUnhealthy(1);
    client.markUnhealthy(2);
    const before = clock.monotonicNow();
    await expect(client.request(echo, { text: "x" })).rejects.toMatchObject({
      code: "CONNECTION_NO_HEALTHY_NODES",
      details: { nodes: ["n1:7000", "n2:7000"] },
    });
    expect(clock.monotonicNow()).toBe(before);
    expect(() => client.markUnhealthy(3)).toThrowError(
      expect.objectContaining({ code: "CONNECTION_NODE_NOT_FOUND" }),
    );
    await settle(client.disconnect());
  });
});

describe("failing nodes", () => {
  it("lose no repeatable request when one is killed under load; the others take over", async () => {
    const { client, node, settle, clock } = await cluster(3);
    await settle(client.connect());
    let answeredCount = 0;
    const worker = async (): Promise<void> => {
      for (let index = 0; index < 50; index += 1) {
        await client.request(echo, { text: "x" });
        answeredCount += 1;
        await clock.sleep(5);
      }
    };
    const load = Promise.all(Array.from({ length: 10 }, worker));
    await clock.advance(100);
    await node(2).kill();
    const before = node(2).calls.length;
    await settle(load);
    expect(answeredCount).toBe(500);
    expect(node(2).calls.length).toBe(before);
    await settle(client.disconnect());
  });

  it("lose no read of hundreds that were in flight on one of them, however it fails", async () => {
    const { client, clock, node, nodes, settle } = await cluster(3, { requestTimeoutMs: 300 });
    await settle(client.connect());
    for (const each of nodes) each.delayMs = 50;
    const ask = (count: number) =>
      Promise.all(Array.from({ length: count }, () => client.request(echo, { text: "x" })));
    // A busy client: what it may repeat grows with what it asks.
    for (let round = 0; round < 20; round += 1) await settle(ask(600));
    const killed = ask(600);
    await clock.advance(10);
    await node(1).kill();
    expect((await settle(killed)).length).toBe(600);
    const frozen = ask(600);
    node(2).isFrozen = true;
    expect((await settle(frozen)).length).toBe(600);
    await settle(client.disconnect());
  });

  it("are ejected after three failures in a row, tried once when the time is over, and restored", async () => {
    const events: (keyof ManagerEvents)[] = [];
    const { client, clock, node, settle } = await cluster(2, { pool: { minCount: 0 } });
    for (const name of ["nodeEjected", "nodeRestored"] as const)
      client.events.on(name, () => events.push(name));
    await settle(client.connect());
    await node(1).kill();
    for (let index = 0; index < 30; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(events).toEqual(["nodeEjected"]);
    expect(client.health[0]).toMatchObject({ isObservedHealthy: false });
    await node(1).start();
    const before = node(1).calls.length;
    for (let index = 0; index < 30; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(1).calls.length).toBe(before);
    await clock.advance(32_000);
    expect(events).toEqual(["nodeEjected", "nodeRestored"]);
    for (let index = 0; index < 30; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(1).calls.length).toBeGreaterThan(before);
    await settle(client.disconnect());
  });

  it("count as one failure for all that was in flight on a broken connection", async () => {
    const { client, node, settle, clock } = await cluster(2, { pool: { minCount: 0 } });
    await settle(client.connect());
    node(1).delayMs = 50;
    node(2).delayMs = 50;
    const asked = Promise.all(Array.from({ length: 60 }, () => client.request(echo, { text: "x" })));
    await clock.advance(10);
    await node(1).kill();
    await node(1).start();
    expect(client.health[0]?.failuresInRow).toBe(1);
    await settle(asked);
    await settle(client.disconnect());
  });

  it("are tried all the same when no node is well, the one that failed longest ago first", async () => {
    const { client, node, nodes, settle } = await cluster(2, {
      pool: { minCount: 0 },
      retry: retryPresets.none,
    });
    await settle(client.connect());
    for (const each of nodes) await each.kill();
    for (let index = 0; index < 8; index += 1) {
      await expect(settle(client.request(echo, { text: "x" }))).rejects.toMatchObject({
        code: "CONNECTION_REFUSED",
      });
    }
    expect(client.health.every(({ isObservedHealthy }) => !isObservedHealthy)).toBe(true);
    await node(2).start();
    expect(await settle(client.request(echo, { text: "y" }))).toEqual({ text: "y" });
    expect(client.health[1]).toMatchObject({ isObservedHealthy: true, failuresInRow: 0 });
    await settle(client.disconnect());
  });

  it("that accept but never answer are found by a check, all in parallel within one limit", async () => {
    const { client, clock, nodes, settle } = await cluster(3);
    await settle(client.connect());
    for (const each of nodes) each.isFrozen = true;
    const before = clock.monotonicNow();
    const report = await settle(client.checkHealth({ timeoutMs: 1_000 }));
    expect(clock.monotonicNow() - before).toBe(1_000);
    expect(report).toMatchObject({ totalCount: 3, healthyCount: 0 });
    expect(report.nodes.map(({ failuresInRow }) => failuresInRow)).toEqual([1, 1, 1]);
    const again = await settle(client.checkHealth({ timeoutMs: 1_000 }));
    expect(again.nodes.map(({ failuresInRow }) => failuresInRow)).toEqual([2, 2, 2]);
    for (const each of nodes) each.isFrozen = false;
    const healed = await settle(client.checkHealth({ timeoutMs: 1_000 }));
    expect(healed).toMatchObject({ healthyCount: 3 });
    expect(healed.nodes.map(({ failuresInRow }) => failuresInRow)).toEqual([0, 0, 0]);
    await settle(client.disconnect());
  });
});

describe("retrying", () => {
  it("fails twice, succeeds the third time, after at least 300 ms and exactly three attempts", async () => {
    const { client, clock, node, settle } = await cluster(1);
    await settle(client.connect());
    node(1).failures.push(busy(), busy());
    const before = clock.monotonicNow();
    expect(await settle(client.request(echo, { text: "x" }))).toEqual({ text: "x" });
    expect(clock.monotonicNow() - before).toBeGreaterThanOrEqual(300);
    expect(clock.monotonicNow() - before).toBeLessThanOrEqual(360);
    expect(node(1).calls.length).toBe(3);
    await settle(client.disconnect());
  });

  it("returns the last error when the attempts are used up", async () => {
    const { client, node, settle } = await cluster(1);
    await settle(client.connect());
    const last = new RemoteError({ code: "TEST_LAST", message: "last", retryable: true });
    node(1).failures.push(busy(), busy(), busy(), last);
    await expect(settle(client.request(echo, { text: "x" }))).rejects.toMatchObject({ code: "TEST_LAST" });
    expect(node(1).calls.length).toBe(4);
    await settle(client.disconnect());
  });

  it.each([0, 1, 2, 3, 4, 5])("makes one attempt more than the %i retries allowed", async (maxRetries) => {
    const { client, node, settle } = await cluster(1, {
      retry: { ...retryPresets.standard, maxAttempts: maxRetries + 1 },
    });
    await settle(client.connect());
    node(1).failures.push(...Array.from({ length: 10 }, () => busy()));
    await expect(settle(client.request(echo, { text: "x" }))).rejects.toThrow("busy");
    expect(node(1).calls.length).toBe(maxRetries + 1);
    await settle(client.disconnect());
  });

  it("makes one attempt after an error that is not retryable", async () => {
    const { client, node, settle } = await cluster(2);
    await settle(client.connect());
    for (const number of [1, 2]) {
      node(number).failures.push(new RemoteError({ code: "TEST_NO", message: "no", retryable: false }));
    }
    await expect(settle(client.request(echo, { text: "x" }))).rejects.toMatchObject({ code: "TEST_NO" });
    expect(node(1).calls.length + node(2).calls.length).toBe(1);
    await settle(client.disconnect());
  });

  it("goes to another node when there is one", async () => {
    const { client, node, settle } = await cluster(2);
    await settle(client.connect());
    for (const number of [1, 2]) node(number).failures.push(busy());
    await settle(client.request(echo, { text: "x" }));
    expect([node(1).calls.length, node(2).calls.length].sort()).toEqual([1, 2]);
    await settle(client.disconnect());
  });

  it("waits as long as the node asks it to", async () => {
    const { client, clock, node, settle } = await cluster(1);
    await settle(client.connect());
    node(1).failures.push(busy(2_500));
    const before = clock.monotonicNow();
    await settle(client.request(echo, { text: "x" }));
    expect(clock.monotonicNow() - before).toBe(2_500);
    await settle(client.disconnect());
  });

  it("never sends a write again after it left, unless the caller says that it may be repeated", async () => {
    const { client, node, settle, clock } = await cluster(1);
    await settle(client.connect());
    node(1).delayMs = 60_000;
    await expect(settle(client.request(operate, {}, { timeoutMs: 100 }))).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
      timeoutMs: 100,
      retryable: false,
    });
    expect(node(1).calls.length).toBe(1);
    node(1).failures.push(new RemoteError({ code: "TEST_UNKNOWN", message: "perhaps", retryable: true }));
    await expect(settle(client.request(operate, {}))).rejects.toMatchObject({ code: "TEST_UNKNOWN" });
    expect(node(1).calls.length).toBe(2);
    client.markHealthy(1);
    const repeated = client.request(operate, {}, { timeoutMs: 100, repeatable: true });
    const settled = expect(repeated).resolves.toEqual({});
    await clock.advance(50);
    node(1).delayMs = 0;
    await settle(repeated);
    await settled;
    expect(node(1).calls.length).toBe(4);
    await settle(client.disconnect());
  });

  it("sends a write that was refused before anything was done", async () => {
    const { client, node, settle } = await cluster(1);
    await settle(client.connect());
    node(1).refusals.push(busy());
    expect(await settle(client.request(operate, {}))).toEqual({});
    expect(node(1).refusals).toEqual([]);
    expect(node(1).calls.length).toBe(1);
    await settle(client.disconnect());
  });

  it("never sends a write again whose handler was refused something itself: it may have acted before", async () => {
    const { client, node, settle } = await cluster(1);
    await settle(client.connect());
    // Also one that comes from a third node, which had not begun.
    const relayed = new RemoteError({
      code: "KERNEL_OVERLOADED",
      message: "busy",
      retryable: true,
      details: { notBegun: true },
    });
    for (const [index, failure] of [busy(), new OverloadedError("its pool", 1), relayed].entries()) {
      node(1).failures.push(failure);
      await expect(settle(client.request(operate, {}))).rejects.toMatchObject({ retryable: true });
      expect(node(1).calls.length).toBe(index + 1);
    }
    await settle(client.disconnect());
  });

  it("fails fast when the budget is used up, and recovers with successes", async () => {
    const { client, node, settle } = await cluster(1, { health: { failuresInRowMax: 1_000 } });
    await settle(client.connect());
    node(1).failures.push(...Array.from({ length: 400 }, () => busy()));
    for (let index = 0; index < 40; index += 1)
      await settle(client.request(echo, { text: "x" })).catch(() => undefined);
    const before = node(1).calls.length;
    await settle(client.request(echo, { text: "x" })).catch(() => undefined);
    expect(node(1).calls.length).toBe(before + 1);
    node(1).failures.length = 0;
    for (let index = 0; index < 600; index += 1) await settle(client.request(echo, { text: "x" }));
    node(1).failures.push(busy());
    expect(await settle(client.request(echo, { text: "back" }))).toEqual({ text: "back" });
    await settle(client.disconnect());
  });

  it("adds at most a fifth to the calls in a total outage", async () => {
    const { client, callCounts, nodes, settle } = await cluster(3, { health: { failuresInRowMax: 100_000 } });
    await settle(client.connect());
    for (const node of nodes) node.failures.push(...Array.from({ length: 3_000 }, () => busy()));
    const worker = async (): Promise<void> => {
      for (let index = 0; index < 50; index += 1) {
        await client.request(echo, { text: "x" }).catch(() => undefined);
      }
    };
    await settle(Promise.all(Array.from({ length: 10 }, worker)));
    const attemptCount = callCounts().reduce((sum, count) => sum + count, 0);
    expect(attemptCount).toBeGreaterThanOrEqual(500);
    expect(attemptCount).toBeLessThanOrEqual(600);
    await settle(client.disconnect());
  });

  it("ends at the deadline and on abort, in whatever pause it is", async () => {
    const { client, clock, node, settle } = await cluster(1, { retry: retryPresets.conservative });
    await settle(client.connect());
    node(1).failures.push(...Array.from({ length: 10 }, () => busy(30_000)));
    const before = clock.monotonicNow();
    await expect(settle(client.request(echo, { text: "x" }, { deadlineMs: 700 }))).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
      operation: "test.echo",
      timeoutMs: 700,
    });
    expect(clock.monotonicNow() - before).toBe(700);
    const controller = new AbortController();
    const reason = new Error("not needed");
    const aborted = expect(client.request(echo, { text: "x" }, { signal: controller.signal })).rejects.toBe(
      reason,
    );
    await clock.advance(50);
    controller.abort(reason);
    await aborted;
    await settle(client.disconnect());
  });
});

describe("hedging", () => {
  const slowSometimes = async (hedge: boolean) => {
    const setup = await cluster(
      2,
      hedge ? { hedge: { warmUpCount: 20, share: 0.05, burstMaxCount: 10 } } : {},
    );
    const { client, nodes, settle } = setup;
    await settle(client.connect());
    for (const node of nodes) node.delayMs = 2;
    for (let index = 0; index < 100; index += 1) await settle(client.request(echo, { text: "warm" }));
    return setup;
  };

  it("is off by default", async () => {
    const { client, nodes, settle, callCounts } = await slowSometimes(false);
    for (const node of nodes) node.delayMs = 1_000;
    await settle(client.request(echo, { text: "slow" }));
    expect(callCounts().reduce((sum, count) => sum + count)).toBe(101);
    expect(client.stats.hedges).toBeUndefined();
    await settle(client.disconnect());
  });

  it("asks one other node after most would have answered, and takes the faster answer", async () => {
    const { client, clock, nodes, settle } = await slowSometimes(true);
    const hedged: number[] = [];
    client.events.on("hedged", ({ nodeId }) => hedged.push(nodeId));
    for (const node of nodes) node.calls.length = 0;
    const slow = client.request(wait, { key: "never" }, { timeoutMs: 500 });
    const refused = expect(slow).rejects.toMatchObject({ code: "KERNEL_TIMEOUT" });
    await clock.advance(500);
    await refused;
    // A write gets no copy, however slow.
    expect(hedged).toEqual([]);
    const [first, second] = nodes;
    if (first !== undefined) first.delayMs = 5_000;
    if (second !== undefined) second.delayMs = 5_000;
    const asked = client.request(echo, { text: "slow" });
    await clock.advance(30);
    for (const node of nodes) node.delayMs = 0;
    expect(hedged.length).toBe(1);
    const texts = nodes.map(({ calls }) => calls.filter(({ text }) => text === "slow").length);
    expect(texts).toEqual([1, 1]);
    await settle(asked);
    await settle(client.disconnect());
  });

  it("adds at most its share to the load", async () => {
    const { client, nodes, settle, callCounts } = await slowSometimes(true);
    for (const node of nodes) node.delayMs = 200;
    const before = callCounts().reduce((sum, count) => sum + count);
    await settle(Promise.all(Array.from({ length: 400 }, () => client.request(echo, { text: "slow" }))));
    const added = callCounts().reduce((sum, count) => sum + count) - before - 400;
    expect(added).toBeGreaterThan(0);
    expect(added).toBeLessThanOrEqual(0.05 * 500);
    await settle(client.disconnect());
  });
});

describe("exclusive leases", () => {
  it("keep one connection from begin to end, and answer in order", async () => {
    const { client, node, settle } = await cluster(2);
    await settle(client.connect());
    const lease = await settle(client.lease());
    node(lease.nodeId).delayMs = 20;
    const answers = Promise.all(["a", "b", "c"].map((text) => lease.request(echo, { text })));
    expect((await settle(answers)).map(({ text }) => text)).toEqual(["a", "b", "c"]);
    expect(new Set(node(lease.nodeId).calls.map(({ peer }) => peer)).size).toBe(1);
    lease.release();
    expect(() => lease.release()).toThrowError(
      expect.objectContaining({ code: "CONNECTION_LEASE_RELEASED" }),
    );
    await expect(lease.request(echo, { text: "late" })).rejects.toMatchObject({
      code: "CONNECTION_LEASE_RELEASED",
    });
    await settle(client.disconnect());
  });

  it("destroy their connection after a timeout, so that a late answer reaches nobody", async () => {
    const { client, node, settle } = await cluster(1, { pool: { minCount: 0 } });
    await settle(client.connect());
    const lease = await settle(client.lease());
    const peers = new Set<string>();
    node(1).delayMs = 1_000;
    await expect(settle(lease.request(echo, { text: "late" }, { timeoutMs: 50 }))).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
    });
    expect(lease.isHeld).toBe(false);
    for (const { peer } of node(1).calls) peers.add(peer);
    node(1).delayMs = 0;
    const next = await settle(client.lease());
    expect(await settle(next.request(echo, { text: "new" }))).toEqual({ text: "new" });
    expect(peers.has(node(1).calls.at(-1)?.peer ?? "")).toBe(false);
    next.release();
    await settle(client.disconnect());
  });

  it("never exceed the maximum of the client under 200 at once; the next waits and is served in order", async () => {
    const { client, clock, settle } = await cluster(3, { pool: { minCount: 0, maxCount: 10 } });
    await settle(client.connect());
    let maximum = 0;
    const worker = async (): Promise<void> => {
      const lease = await client.lease({ timeoutMs: 60_000 });
      const { active, idle, opening, resetting, total } = client.stats.connections;
      expect(active + idle + opening + resetting).toBe(total);
      maximum = Math.max(maximum, total);
      await clock.sleep(5);
      lease.release();
    };
    await settle(Promise.all(Array.from({ length: 200 }, worker)));
    expect(maximum).toBeLessThanOrEqual(10);
    await settle(client.disconnect());
  });

  it("guarantee each node its share although another could take all", async () => {
    const { client, settle, nodes } = await cluster(2, {
      pool: { minCount: 0, maxCount: 4, acquireTimeoutMs: 100 },
    });
    await settle(client.connect());
    client.markUnhealthy(2);
    const greedy = [await settle(client.lease()), await settle(client.lease())];
    await expect(settle(client.lease())).rejects.toMatchObject({ code: "CONNECTION_POOL_EXHAUSTED" });
    client.markHealthy(2);
    const fair = [await settle(client.lease()), await settle(client.lease())];
    expect(nodes.map(({ openCount }) => openCount)).toEqual([2, 2]);
    for (const lease of [...greedy, ...fair]) lease.release();
    await settle(client.disconnect());
  });

  it("say how long was waited when none is free", async () => {
    const { client, settle } = await cluster(1, {
      pool: { minCount: 0, maxCount: 1, acquireTimeoutMs: 300 },
    });
    await settle(client.connect());
    const held = await settle(client.lease());
    await expect(settle(client.lease())).rejects.toMatchObject({
      code: "CONNECTION_POOL_EXHAUSTED",
      details: { waitedMs: 300, max: 1 },
    });
    held.release();
    await settle(client.disconnect());
  });
});

describe("membership", () => {
  it("gives an announced node traffic, lets a removed one finish, and never drops one given by hand", async () => {
    const { client, nodes, node, settle, clock } = await cluster(3, { hosts: ["n1:7000"] });
    await settle(client.connect());
    client.setAnnouncedHosts(["n2:7000", "n3:7000"]);
    for (let index = 0; index < 60; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(nodes.every(({ calls }) => calls.length > 0)).toBe(true);
    node(2).delayMs = 500;
    const running = Promise.all(Array.from({ length: 20 }, () => client.request(echo, { text: "running" })));
    await clock.advance(10);
    client.setAnnouncedHosts(["n3:7000"]);
    expect((await settle(running)).length).toBe(20);
    const before = node(2).calls.length;
    for (let index = 0; index < 30; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(2).calls.length).toBe(before);
    await clock.advance(10_000);
    expect(node(2).openCount).toBe(0);
    client.setAnnouncedHosts([]);
    expect(client.health.map(({ host, nodeId }) => [host, nodeId])).toEqual([["n1:7000", 1]]);
    expect(client.addHost("n2:7000")).toBe(4);
    await settle(client.disconnect());
  });

  it("moves on without an error when a node says goodbye, and returns to it after its restart", async () => {
    const { client, node, settle, clock } = await cluster(2);
    await settle(client.connect());
    const draining = vi.fn();
    client.events.on("nodeDraining", draining);
    node(1).delayMs = 300;
    node(2).delayMs = 300;
    const running = Promise.all(Array.from({ length: 20 }, () => client.request(echo, { text: "running" })));
    await clock.advance(10);
    const stopping = node(1).stop();
    await clock.advance(1);
    const before = node(1).calls.length;
    const during = Promise.all(Array.from({ length: 20 }, () => client.request(echo, { text: "during" })));
    expect((await settle(running)).length).toBe(20);
    expect((await settle(during)).length).toBe(20);
    await stopping;
    expect(node(1).calls.length).toBe(before);
    expect(draining).toHaveBeenCalledOnce();
    expect(client.stats.ejectedCount).toBe(0);
    await node(1).start();
    node(1).delayMs = 0;
    node(2).delayMs = 0;
    await clock.advance(40_000);
    for (let index = 0; index < 30; index += 1) await settle(client.request(echo, { text: "x" }));
    expect(node(1).calls.length).toBeGreaterThan(before);
    await settle(client.disconnect());
  });
});

describe("disconnecting", () => {
  it("closes every connection, leaves no timer, refuses new work, and may be repeated", async () => {
    const { client, clock, nodes, settle } = await cluster(3);
    await settle(client.connect());
    await clock.advance(10);
    const asked = client.request(echo, { text: "last" });
    await clock.advance(0);
    expect(await asked).toEqual({ text: "last" });
    await settle(client.disconnect());
    await clock.advance(10);
    expect(nodes.map(({ openCount }) => openCount)).toEqual([0, 0, 0]);
    expect(client.stats.connections.total).toBe(0);
    expect(client.health).toEqual([]);
    await expect(client.request(echo, { text: "x" })).rejects.toMatchObject({
      code: "CONNECTION_POOL_CLOSED",
    });
    await expect(client.lease()).rejects.toMatchObject({ code: "CONNECTION_POOL_CLOSED" });
    await expect(client.connect()).rejects.toMatchObject({ code: "CONNECTION_POOL_CLOSED" });
    await client.disconnect();
    for (const node of nodes) await node.kill();
    await clock.advance(10_000);
    expect(clock.pendingCount).toBe(0);
  });

  it("works with the cluster down", async () => {
    const { client, nodes, settle } = await cluster(3);
    await settle(client.connect());
    for (const node of nodes) await node.kill();
    await settle(client.disconnect());
    expect(client.stats.connections.total).toBe(0);
  });
});

describe("what a client tells", () => {
  it("emits each event once, and publishes it on a diagnostics channel", async () => {
    const seen: string[] = [];
    const opened = channel("holdfast.connection.connectionOpened");
    const listener = (message: unknown): void => {
      seen.push(`opened ${(message as { nodeId: number }).nodeId}`);
    };
    opened.subscribe(listener);
    const { client, settle } = await cluster(1, { pool: { minCount: 0 } });
    client.events.on("connectionClosed", ({ nodeId, reason }) => seen.push(`closed ${nodeId} ${reason}`));
    await settle(client.connect());
    await settle(client.request(echo, { text: "x" }));
    await settle(client.disconnect());
    opened.unsubscribe(listener);
    expect(seen).toEqual(["opened 1", "closed 1 closed"]);
  });

  it("counts successes, errors and timeouts apart", async () => {
    const { client, node, settle } = await cluster(1, { retry: retryPresets.none });
    await settle(client.connect());
    await settle(client.request(echo, { text: "x" }));
    node(1).failures.push(busy());
    await settle(client.request(echo, { text: "x" })).catch(() => undefined);
    node(1).delayMs = 1_000;
    await settle(client.request(echo, { text: "x" }, { timeoutMs: 10 })).catch(() => undefined);
    expect(client.stats.requests).toMatchObject({
      totalCount: 3,
      successCount: 1,
      errorCount: 1,
      timeoutCount: 1,
    });
    await settle(client.disconnect());
  });
});

describe("configuration", () => {
  it.each<[string, object]>([
    ["hosts", { hosts: [] }],
    ["hosts", { hosts: ["a:b:c"] }],
    ["pool.maxCount", { pool: { maxCount: 0 } }],
    ["pool.minCount", { pool: { minCount: 21 } }],
    ["pool.minCount", { pool: { minCount: -1 } }],
    ["connectTimeoutMs", { connectTimeoutMs: Number.NaN }],
    ["requestTimeoutMs", { requestTimeoutMs: 0 }],
    ["heartbeatMs", { heartbeatMs: 50 }],
  ])("is refused before any socket opens, naming the field: %s", async (field, options) => {
    await expect(cluster(1, options)).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT", field });
  });

  it("gives a host without a port 7000, reads IPv6, and merges duplicates", async () => {
    const { client } = await cluster(1, { hosts: ["a", "a:7000", "[::1]", "[::1]:7001", "b:1"] });
    expect(client.health.map(({ host }) => host)).toEqual(["a:7000", "[::1]:7000", "[::1]:7001", "b:1"]);
    expect(client.stats.connections).toMatchObject({ maxCount: 20, total: 0 });
  });
});
