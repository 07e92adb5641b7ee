import { type Leases, StoreUnavailableError } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NodeLease, nextLookMs, nodeIdOf } from "./node-lease.ts";

describe("a node's lease", () => {
  let clock: VirtualClock;
  let leases: Leases<unknown>;
  let isCutOff: boolean;
  const open: NodeLease[] = [];
  const random = seededRandom(3);

  beforeEach(() => {
    clock = new VirtualClock();
    isCutOff = false;
    const inner = createMemoryStore({ clock }).leases as Leases<unknown>;
    leases = new Proxy(inner, {
      get: (target, name) => {
        const member = Reflect.get(target, name) as (...values: unknown[]) => unknown;
        return (...values: unknown[]) => {
          if (isCutOff) throw new StoreUnavailableError(String(name));
          return member.apply(target, values);
        };
      },
    });
  });
  afterEach(async () => {
    isCutOff = false;
    await Promise.all(open.splice(0).map((lease) => lease.stop()));
  });

  const node = async (nodeId: string) => {
    const events: string[] = [];
    const lease = new NodeLease({
      leases,
      clock,
      random,
      logger: silentLogger,
      nodeId,
      role: "manager",
      address: `${nodeId}:1`,
      ttlMs: 3_000,
      onLost: () => events.push("lost"),
      onLeaderChanged: (isLeader) => events.push(isLeader ? "leads" : "follows"),
    });
    open.push(lease);
    await lease.start();
    return { lease, events };
  };

  it("is renewed for as long as the node lives, under one owner id", async () => {
    const { lease } = await node("a");
    const { ownerId } = lease;
    expect(nodeIdOf(ownerId ?? "")).toBe("a");
    await clock.advance(60_000);
    expect(lease.ownerId).toBe(ownerId);
    expect(await lease.live()).toEqual([
      { ownerId, nodeId: "a", role: "manager", address: "a:1", remainingMs: expect.any(Number) },
    ]);
  });

  it("gives the leadership to one node, which the others know", async () => {
    const [a, b] = [await node("a"), await node("b")];
    await clock.advance(10_000);
    expect([a.lease.isLeader, b.lease.isLeader]).toEqual([true, false]);
    expect(b.lease.knownLeader).toEqual(a.lease.knownLeader);
    expect(a.lease.knownLeader).toMatchObject({
      nodeId: "a",
      address: "a:1",
      fence: String(a.lease.leaderFence),
    });
  });

  it("lets another node lead soon after the leader's lease ended, under a larger fence", async () => {
    const [a, b] = [await node("a"), await node("b")];
    const fence = a.lease.leaderFence ?? 0n;
    await a.lease.stop({ release: false });
    await clock.advance(3_100);
    expect(b.lease.isLeader).toBe(true);
    expect(b.lease.leaderFence).toBeGreaterThan(fence);
    expect((await b.lease.live()).map(({ nodeId }) => nodeId)).toEqual(["b"]);
  });

  it("lets another node lead at once when the leader resigns, and the leader stays alive", async () => {
    const [a, b] = [await node("a"), await node("b")];
    await a.lease.resign();
    await clock.advance(1_100);
    expect([a.lease.isLeader, b.lease.isLeader]).toEqual([false, true]);
    await clock.advance(10_000);
    expect(a.lease.isLeader).toBe(false);
    expect(a.lease.ownerId).toBeDefined();
  });

  it("is lost by the node's own clock when the store does not answer, and taken anew as another incarnation", async () => {
    const { lease, events } = await node("a");
    const { ownerId } = lease;
    await clock.advance(1_100);
    isCutOff = true;
    // The renewal asked for at 1000 holds until 4000.
    await clock.advance(2_800);
    expect(lease.ownerId).toBe(ownerId);
    await clock.advance(200);
    expect(lease.ownerId).toBeUndefined();
    expect(lease.isLeader).toBe(false);
    await clock.advance(2_000);
    expect(events).toEqual(["leads", "follows", "lost"]);
    isCutOff = false;
    await clock.advance(2_000);
    expect(lease.ownerId).toBeDefined();
    expect(lease.ownerId).not.toBe(ownerId);
    expect(lease.isLeader).toBe(true);
  });

  it("is released by stop, so that others see at once that the node is gone", async () => {
    const [a, b] = [await node("a"), await node("b")];
    await a.lease.stop();
    expect((await b.lease.live()).map(({ nodeId }) => nodeId)).toEqual(["b"]);
    expect(a.lease.ownerId).toBeUndefined();
  });

  it("of a node that died is looked at the moment it ends, and no more often than asked while nodes live", async () => {
    const { lease } = await node("a");
    const { lease: other } = await node("b");
    const wait = async () => nextLookMs(await lease.live(), { self: lease.ownerId, everyMs: 1_000 });
    for (let look = 0; look < 20; look += 1) {
      expect(await wait()).toBe(1_000);
      await clock.advance(1_000);
    }
    await clock.advance(300);
    const dead = other.ownerId;
    await other.stop({ release: false });
    const waits: number[] = [];
    while ((await lease.live()).some(({ ownerId }) => ownerId === dead)) {
      waits.push(await wait());
      await clock.advance(waits.at(-1) as number);
    }
    // The last look came just as the lease ended.
    const before = waits.at(-1) as number;
    expect(before).toBeLessThan(1_000);
    expect(waits.slice(0, -1)).toEqual(waits.slice(0, -1).map(() => 1_000));
    expect(waits.reduce((sum, ms) => sum + ms, 0)).toBeLessThanOrEqual(3_001);
  });
});
