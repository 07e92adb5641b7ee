import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { NodeNotReadyError, NotLeaderError, RateLimitedError } from "../../src/errors.ts";
import { settle } from "../settle.ts";
import { setup } from "./client-setup.ts";

describe("a cancel", () => {
  it.each([
    ["cancelling", "cancelling"],
    ["cancelled", "cancelled"],
    ["already-cancelled", "cancelled"],
    ["already-completed", "completed"],
    ["not-found", "running"],
  ] as const)("answers %s as the node says", async (outcome, status) => {
    await using t = await setup();
    t.node.onCancel = () => ({ outcome, status });
    const { jobId } = await t.submit();
    expect(await settle(t.clock, t.client.cancel(jobId, { reason: "enough" }))).toEqual({ outcome, status });
    expect(t.node.cancellations).toMatchObject([{ jobId, reason: "enough", dependents: true }]);
  });

  it("is tried again after a transient refusal, and after the wait that a rate limit asks for", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const refusals: Error[] = [
      new NodeNotReadyError("gate", "the job is moving to another gate"),
      new RateLimitedError("cancel", 4_000),
    ];
    t.node.onCancel = () => refusals.shift() ?? {};
    const startedAt = t.clock.monotonicNow();
    expect(await settle(t.clock, t.client.cancel(jobId))).toMatchObject({ outcome: "cancelling" });
    expect(t.node.cancellations.length).toBe(3);
    expect(t.clock.monotonicNow() - startedAt).toBeGreaterThanOrEqual(4_250);
  });

  it("goes to the leader that a refusal names, and to another gate when its own is gone", async () => {
    await using t = await setup({ nodes: 2 });
    const { jobId } = await t.submit();
    const [first, other] = t.nodes[0]?.submissions.length === 1 ? t.nodes : t.nodes.toReversed();
    if (first === undefined || other === undefined) return;
    const leader = { nodeId: other.nodeId, address: other.address };
    first.onCancel = () => new NotLeaderError("it", leader);
    await settle(t.clock, t.client.cancel(jobId));
    expect([first.cancellations.length, other.cancellations.length]).toEqual([1, 1]);
    await settle(t.clock, other.kill());
    first.onCancel = () => ({});
    await settle(t.clock, t.client.cancel(jobId));
    expect(first.cancellations.length).toBe(2);
  });

  it("ends at once with a final refusal, with the last transient one when the time is up, and without any node", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    t.node.onCancel = () => new InvalidInputError("fence", 9, "the current one");
    await expect(settle(t.clock, t.client.cancel(jobId))).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
    });
    expect(t.node.cancellations.length).toBe(1);
    t.node.onCancel = () => new NodeNotReadyError("gate", "syncing");
    const startedAt = t.clock.monotonicNow();
    await expect(settle(t.clock, t.client.cancel(jobId))).rejects.toMatchObject({ code: "JOBS_NOT_READY" });
    expect(t.clock.monotonicNow() - startedAt).toBeLessThanOrEqual(60_000);
    await expect(t.newClient({ gates: [] }).cancel(jobId)).rejects.toMatchObject({ code: "JOBS_NO_TARGET" });
    await expect(settle(t.clock, t.client.cancel("job-unknown"))).rejects.toMatchObject({
      code: "JOBS_NOT_FOUND",
    });
  });
});

describe("waiting for a cancel", () => {
  it("ends with the job's result: cancelled, for all that wait, also those that began before the cancel", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const before = t.client.result(jobId);
    await t.clock.advance(100);
    await settle(t.clock, t.client.cancel(jobId));
    const after = t.client.result(jobId);
    await t.clock.advance(100);
    const result = await t.cluster.finish(jobId, { status: "cancelled" });
    expect(await settle(t.clock, Promise.all([before, after]))).toEqual([result, result]);
    // The end came before anybody waited: it is kept.
    expect(await settle(t.clock, t.newClient({ clientId: "late" }).result(jobId))).toEqual(result);
  });

  it("gives every error of a cancel that did not go well", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    await settle(t.clock, t.client.cancel(jobId));
    const errors = Array.from({ length: 500 }, (_, index) => `worker ${index} did not stop`);
    const waiting = t.client.result(jobId);
    await t.clock.advance(100);
    await t.cluster.finish(jobId, { status: "failed", errors });
    expect(await settle(t.clock, waiting)).toMatchObject({ status: "failed", errors });
  });

  it("ends with a timeout while the cancel goes on, and may be begun again; nothing is left of it then", async () => {
    const t = await setup();
    const { jobId } = await t.submit();
    await settle(t.clock, t.client.cancel(jobId));
    await expect(settle(t.clock, t.client.result(jobId, { timeoutMs: 3_000 }))).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
    });
    const again = t.client.result(jobId, { timeoutMs: 30_000 });
    await t.clock.advance(5_000);
    await t.cluster.finish(jobId, { status: "cancelled" });
    expect(await settle(t.clock, again)).toMatchObject({ status: "cancelled" });
    await t.clock.advance(10);
    expect(t.node.feed.stats().subscriptions).toBe(0);
    await t[Symbol.asyncDispose]();
    expect(t.clock.pendingCount).toBe(0);
  });
});
