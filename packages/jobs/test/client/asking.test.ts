import { PROTOCOL_FEATURES } from "@holdfast/protocol";
import { JOB_STATUSES, type JobStatus } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { NotLeaderError, RateLimitedError } from "../../src/errors.ts";
import { settle } from "../settle.ts";
import { setup } from "./client-setup.ts";
import { jobResult } from "./scripted-node.ts";

describe("a ping", () => {
  it("asks every node at once and says of each how it answered: well, with an error, not in time, not at all", async () => {
    await using t = await setup({ nodes: 4 });
    const [, failing, silent, gone] = t.nodes;
    if (failing === undefined || silent === undefined || gone === undefined) return;
    failing.onPing = () => Promise.reject(new RateLimitedError("heartbeat", 2_000));
    silent.onPing = () => t.clock.sleep(60_000);
    await settle(t.clock, gone.kill());
    const startedAt = t.clock.monotonicNow();
    expect(await settle(t.clock, t.client.ping())).toMatchObject([
      {
        address: "gate-0:7401",
        nodeId: "node-gate-0:7401",
        state: "active",
        roundTripMs: expect.any(Number),
      },
      { address: "gate-1:7401", error: { code: "JOBS_RATE_LIMITED" } },
      { address: "gate-2:7401", error: { code: "KERNEL_TIMEOUT" } },
      { address: "gate-3:7401", error: { code: "CONNECTION_REFUSED" } },
    ]);
    // Five seconds for all together, not for each.
    expect(t.clock.monotonicNow() - startedAt).toBeLessThan(5_100);
    await t.clock.advance(60_000);
  });

  it("reports all well, nothing where no node is configured, and ends when aborted", async () => {
    await using t = await setup({ nodes: 2 });
    const answers = await settle(t.clock, t.client.ping());
    expect(answers.map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(await t.newClient({ gates: [] }).ping()).toEqual([]);
    t.node.onPing = () => t.clock.sleep(60_000);
    const abort = new AbortController();
    const pending = t.client.ping({ signal: abort.signal });
    await t.clock.advance(100);
    abort.abort(new Error("enough"));
    await expect(settle(t.clock, pending)).rejects.toThrow("enough");
    await t.clock.advance(60_000);
  });
});

describe("what a client announces", () => {
  it("is protocol 1.5 and its fifteen features, sorted: the fourteen up to 1.4, and streaming", async () => {
    await using t = await setup();
    await settle(t.clock, t.client.ping());
    const features = [
      "batched_stats",
      "cancellation",
      "client_reconnection",
      "fence_tokens",
      "health_piggyback",
      "healthcheck_extensions",
      "heartbeat",
      "idempotency_keys",
      "job_submission",
      "rate_limiting",
      "retry_after",
      "stats_compression",
      "streaming",
      "three_signal_health",
      "workflow_dispatch",
    ];
    expect(t.node.callers).toMatchObject([{ nodeId: "tester", role: "client", version: "1.5", features }]);
    expect(features.filter((name) => (PROTOCOL_FEATURES[name] ?? 9) <= 4).length).toBe(14);
  });
});

describe("extremes", () => {
  it.each([
    ["empty", ""],
    ["of 10,000 characters", "x".repeat(10_000)],
    ["of other scripts", "señal-中文-🚀"],
  ])("an id that is %s, a leader without address and times long ago are taken as they are", async (_, jobId) => {
    await using t = await setup();
    await t.cluster.add(jobId);
    const longAgo = Date.UTC(1, 0, 1);
    t.node.view = {
      submittedAt: longAgo,
      leader: { nodeId: "gone", address: "", fence: "0" },
      datacenters: { east: { status: "running", progress: { done: 0, total: 0 } } },
    };
    const view = await settle(t.clock, t.client.get(jobId));
    expect(view).toMatchObject({ jobId, submittedAt: longAgo, leader: { address: "" } });
    expect(view.datacenters["east"]).not.toHaveProperty("leader");
    const waiting = t.client.result(jobId);
    await t.clock.advance(100);
    const result = await t.cluster.finish(jobId, { submittedAt: longAgo });
    expect(await settle(t.clock, waiting)).toEqual(result);
  });
});

describe("finding the leader", () => {
  it("is told once by each of many watches when it is lost and once when it is found, however long it takes", async () => {
    await using t = await setup();
    const jobs = [];
    for (let index = 0; index < 10; index += 1) jobs.push(await t.submit());
    const told = jobs.map((): string[] => []);
    const watches = jobs.map(async ({ jobId }, index) => {
      for await (const item of t.client.watch(jobId)) {
        if (item.kind === "connection")
          told[index]?.push(`${item.state} ${t.clock.monotonicNow() >= 300_000}`);
      }
    });
    await t.clock.advance(100);
    expect(told.flat()).toEqual([]);
    await t.node.kill();
    await t.clock.advance(100_000);
    expect(told).toEqual(jobs.map(() => ["lost false"]));
    await t.clock.advance(200_000);
    await t.node.restart();
    await t.clock.advance(60_000);
    expect(told).toEqual(jobs.map(() => ["lost false", "restored true"]));
    for (const { jobId } of jobs) await t.cluster.finish(jobId);
    await settle(t.clock, Promise.all(watches));
  });

  it("asks again after a pause when a refusal names none", async () => {
    await using t = await setup();
    let refusals = 2;
    t.node.onSubmit = () => (refusals-- > 0 ? new NotLeaderError("the datacenter", undefined) : undefined);
    await t.submit();
    expect(t.submissions().length).toBe(3);
    expect(t.clock.monotonicNow()).toBeGreaterThan(750);
  });

  it("believes what nodes say last: every answer names the leader of now, or none", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const nobody = { nodeId: "gone", address: "", fence: "1" };
    for (const leader of [
      { nodeId: "a", address: "a:1", fence: "2" },
      nobody,
      { nodeId: "b", address: "b:1", fence: "9007199254740993" },
    ]) {
      t.node.view = { leader };
      expect((await settle(t.clock, t.client.get(jobId))).leader).toEqual(leader);
    }
  });
});

describe("the result", () => {
  const ends = ["completed", "partial", "failed", "cancelled", "timeout"] satisfies JobStatus[];

  it.each(ends)("is waited for through every status on the way, until the job is %s", async (status) => {
    await using t = await setup();
    const { jobId } = await t.submit();
    let isReleased = false;
    const waiting = t.client.result(jobId).finally(() => {
      isReleased = true;
    });
    await t.clock.advance(100);
    for (const passing of JOB_STATUSES) {
      if ((ends as JobStatus[]).includes(passing)) continue;
      await t.cluster.append(jobId, { type: "job.status", at: 0, status: passing });
      await t.clock.advance(20_000);
      expect(isReleased).toBe(false);
    }
    // One datacenter's result is not yet the job's.
    const part = jobResult(jobId);
    await t.cluster.append(jobId, { type: "job.result", at: 0, datacenter: "east", result: part });
    await t.clock.advance(1_000);
    expect(isReleased).toBe(false);
    const result = await t.cluster.finish(jobId, { status });
    expect(await settle(t.clock, waiting)).toEqual(result);
  });

  it.each([
    ["gates", (addresses: readonly string[]) => ({ gates: addresses, managers: [] })],
    ["managers alone", (addresses: readonly string[]) => ({ gates: [], managers: addresses })],
  ])("is learnt by asking within one interval when its push is lost: %s", async (_, targets) => {
    await using t = await setup({ watchSilenceMs: 1_000_000 });
    const client = t.newClient({ ...targets([t.node.address]), clientId: "other" });
    const { jobId } = await settle(t.clock, client.submit({ workflows: [{ workflow: "w", input: {} }] }));
    const waiting = client.result(jobId);
    await t.clock.advance(100);
    t.node.feed.forget(jobId);
    const finishedAt = t.clock.monotonicNow();
    const result = await t.cluster.finish(jobId);
    expect(await settle(t.clock, waiting)).toEqual(result);
    expect(t.clock.monotonicNow() - finishedAt).toBeLessThanOrEqual(5_000);
    await settle(t.clock, client.close());
  });
});

describe("a rate limit", () => {
  it("that asks for more than is left of the time is thrown at once", async () => {
    await using t = await setup();
    t.node.onSubmit = () => new RateLimitedError("job_submit", 70_000);
    await expect(t.submit()).rejects.toMatchObject({ code: "JOBS_RATE_LIMITED", retryAfterMs: 70_000 });
    expect(t.submissions().length).toBe(1);
    expect(t.clock.monotonicNow()).toBeLessThan(100);
  });
});

describe("a call", () => {
  it("ends with the client that is closed, and leaves no timer", async () => {
    await using t = await setup();
    await settle(t.clock, t.node.kill());
    const asked = [t.client.list(), t.client.submit({ workflows: [{ workflow: "w", input: {} }] })];
    for (const call of asked) call.catch(() => undefined);
    await t.clock.advance(1_200);
    await settle(t.clock, t.client.close());
    await t.clock.advance(10);
    expect(t.clock.pendingCount).toBe(0);
    for (const call of asked) await expect(call).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
  });
});
