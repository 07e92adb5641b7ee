import type { Assignment } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";
import type { ScriptedWorker } from "./scripted-worker.ts";

describe("the next attempt of a shard that failed", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  /** Both wait for work, the one given first with more room; whoever gets the only shard is told. */
  const whoGets = async (claims: readonly (readonly [ScriptedWorker, room: number])[]) => {
    const pending = claims.map(async ([worker, room]) => ({ worker, got: await worker.claim(room, 3_000) }));
    const all = await cluster.run(Promise.all(pending));
    const winners = all.filter(({ got }) => got.length > 0);
    expect(winners.length).toBe(1);
    const { worker, got } = winners[0] as (typeof winners)[number];
    return { worker, shard: got[0] as Assignment };
  };

  it("goes to another worker that waits, though the one that failed it has more room, and with the same input", async () => {
    const manager = await cluster.manager("m1");
    const a = await cluster.worker(manager, "a");
    const b = await cluster.worker(manager, "b");
    const client = await cluster.client(manager);
    const input = { size: 3, nested: ["x"] };
    const { jobId } = await client.submit([
      { name: "first" },
      { name: "second", dependsOn: ["first"], input },
    ]);
    const [first] = await a.claimAll(1);
    if (first === undefined) return;
    await a.complete(first, { output: { found: 7 } });
    const [shard] = await a.claimAll(1);
    if (shard === undefined) return;
    expect(shard).toMatchObject({ attempt: 1, input });
    await a.fail(shard);
    const second = await whoGets([
      [a, 10],
      [b, 1],
    ]);
    expect(second.worker).toBe(b);
    // What a workflow is given stays the same over its attempts.
    const { attempt: _one, token: _first, ...before } = shard;
    const { attempt, token: _second, ...after } = second.shard;
    expect(attempt).toBe(2);
    expect(after).toEqual(before);
    expect(Object.keys(after.dependencies)).toEqual(["first"]);
    await b.complete(second.shard);
    expect((await client.finished(jobId)).status).toBe("completed");
  });

  it("goes to one that offers other workflows too, and avoids all that failed it", async () => {
    const manager = await cluster.manager("m1");
    const a = await cluster.worker(manager, "a");
    const b = await cluster.worker(manager, "b");
    const c = await cluster.worker(manager, "c", { noop: {}, special: {} });
    const client = await cluster.client(manager);
    await client.submit([{ name: "only", maxAttempts: 5 }]);
    const [shard] = await a.claimAll(1);
    if (shard === undefined) return;
    await a.fail(shard);
    const second = await whoGets([
      [a, 10],
      [b, 1],
    ]);
    expect(second.worker).toBe(b);
    await b.fail(second.shard);
    const third = await whoGets([
      [a, 10],
      [b, 10],
      [c, 1],
    ]);
    expect(third.worker).toBe(c);
  });

  it("goes back to the same worker when no other has room", async () => {
    const manager = await cluster.manager("m1");
    const a = await cluster.worker(manager, "a");
    await cluster.worker(manager, "b");
    const client = await cluster.client(manager);
    await client.submit([{ name: "only" }]);
    const [shard] = await a.claimAll(1);
    if (shard === undefined) return;
    await a.fail(shard);
    expect((await a.claimAll(1))[0]?.attempt).toBe(2);
  });

  it("avoids a worker whose claim lapsed, and one that failed it under another manager", async () => {
    const first = await cluster.manager("m1");
    const other = await cluster.manager("m2");
    const a = await cluster.worker(first, "a");
    const b = await cluster.worker(first, "b");
    await a.attach(other);
    await b.attach(other);
    const client = await cluster.client(first);
    await client.submit([{ name: "only", maxAttempts: 5 }]);
    await a.claim(1, 2_000, first);
    // Both wait when the lease ends.
    const pending = [a.claim(10, 8_000, first), b.claim(1, 8_000, first)];
    const [byA, byB] = await cluster.run(Promise.all(pending));
    expect([byA?.length, byB?.length]).toEqual([0, 1]);
    await b.fail(byB?.[0] as Assignment, {}, first);
    // The other manager has not heard of it: the shard's history says so.
    const c = await cluster.worker(first, "c");
    await c.attach(other);
    const elsewhere = await cluster.run(Promise.all([b.claim(10, 3_000, other), c.claim(1, 3_000, other)]));
    expect(elsewhere.map(({ length }) => length)).toEqual([0, 1]);
  });
});
