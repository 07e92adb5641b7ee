import type { JobEvent } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { NotLeaderError } from "../../src/errors.ts";
import { settle } from "../settle.ts";
import { setup } from "./client-setup.ts";

const leads = (role: "gate" | "manager", nodeId: string, fence: string, previous?: string): JobEvent => ({
  type: "job.leader",
  at: 0,
  role,
  leader: { nodeId, address: `${nodeId}:1`, fence },
  ...(previous === undefined ? {} : { previous }),
});

describe("the counters of a client", () => {
  it("say of ten jobs watched at once what was asked, followed, lost, found again and handed over", async () => {
    await using t = await setup();
    expect(Object.values(t.client.stats()).every((count) => count === 0)).toBe(true);
    const jobs = await Promise.all(Array.from({ length: 10 }, () => t.submit()));
    expect(t.client.stats()).toMatchObject({ requests: 10, failedAttempts: 0, trackedJobs: 10, watches: 0 });
    const watches = jobs.map(async ({ jobId }) => {
      for await (const item of t.client.watch(jobId)) if (item.kind === "reset") throw new Error("reset");
    });
    await t.clock.advance(100);
    expect(t.client.stats()).toMatchObject({ watches: 10, orphanedWatches: 0, events: 10, requests: 20 });

    await t.node.kill();
    await t.clock.advance(30_000);
    const lost = t.client.stats();
    expect(lost).toMatchObject({ watches: 10, orphanedWatches: 10, lostConnections: 1 });
    expect(lost.failedAttempts).toBeGreaterThan(0);
    await t.node.restart();
    await t.clock.advance(10_000);
    expect(t.client.stats()).toMatchObject({ watches: 10, orphanedWatches: 0 });

    for (const { jobId } of jobs) {
      // The first leader of a job is no transfer.
      await t.cluster.append(jobId, leads("gate", "g1", "1"), leads("gate", "g2", "2", "g1"));
      await t.cluster.append(jobId, leads("manager", "m2", "2", "m1"), leads("manager", "m3", "3", "m2"));
      await t.cluster.finish(jobId);
    }
    await settle(t.clock, Promise.all(watches));
    expect(t.client.stats()).toMatchObject({
      watches: 0,
      events: 10 * 6,
      gateTransfers: 10,
      managerTransfers: 20,
    });
  });

  it("tell redirects that led to the leader from those that led nowhere", async () => {
    await using t = await setup({ nodes: 2 });
    const [a, b] = t.nodes;
    if (a === undefined || b === undefined) return;
    const leader = { nodeId: b.nodeId, address: b.address };
    a.onSubmit = () => new NotLeaderError("the datacenter", leader);
    b.onSubmit = () => undefined;
    for (let count = 0; count < 3; count += 1) await t.submit();
    // Whoever the first was asked of, the others went to the leader at once.
    expect(t.client.stats().redirects).toBeLessThanOrEqual(1);
    expect(t.client.stats().failedRedirects).toBe(0);

    // Nobody leads for a while: two refusals that name no one, and a circle.
    let refusals = 0;
    b.onSubmit = () => {
      refusals += 1;
      if (refusals > 3) return undefined;
      return new NotLeaderError("the datacenter", refusals === 2 ? leader : undefined);
    };
    await t.submit();
    expect(t.client.stats()).toMatchObject({ failedRedirects: 3 });
    const stats = t.client.stats();
    expect(stats.failedAttempts).toBe(stats.redirects + stats.failedRedirects);
  });

  it("say that a consumer which throws ends its own watch and no other", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const seen: string[] = [];
    const sound = (async () => {
      for await (const item of t.client.watch(jobId)) if (item.kind === "event") seen.push(item.event.type);
    })();
    const failing = (async () => {
      for await (const item of t.client.watch(jobId)) throw new Error(`no use for a ${item.kind}`);
    })();
    await expect(settle(t.clock, failing)).rejects.toThrow("no use for a event");
    expect(t.client.stats().watches).toBe(1);
    const result = await t.cluster.finish(jobId);
    expect(await settle(t.clock, t.client.result(jobId))).toEqual(result);
    await settle(t.clock, sound);
    expect(seen).toEqual(["job.status", "job.result"]);
    expect(t.client.stats().watches).toBe(0);
  });

  it("forget a watch that is left, also while it has no node", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const abort = new AbortController();
    const watch = (async () => {
      for await (const _ of t.client.watch(jobId, { signal: abort.signal }));
    })();
    await t.clock.advance(100);
    await t.node.kill();
    await t.clock.advance(1_000);
    expect(t.client.stats()).toMatchObject({ watches: 1, orphanedWatches: 1 });
    abort.abort(new Error("enough"));
    await expect(settle(t.clock, watch)).rejects.toThrow("enough");
    expect(t.client.stats()).toMatchObject({ watches: 0, orphanedWatches: 0 });
  });
});
