import { JOB_MAX_BYTES } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import type { WatchItem } from "../../src/client/index.ts";
import {
  IdempotencyConflictError,
  JobTooLargeError,
  NodeNotReadyError,
  NotLeaderError,
  RateLimitedError,
  UnknownWorkflowError,
} from "../../src/errors.ts";
import { settle } from "../settle.ts";
import { setup } from "./client-setup.ts";
import { logLine, ScriptedNode } from "./scripted-node.ts";

const leaderAt = (address: string) => ({ nodeId: `node-${address}`, address });

describe("submitting", () => {
  it("makes ids and one key, and gives the position before the first event", async () => {
    await using t = await setup();
    const job = await t.submit();
    expect(job.jobId).toMatch(/^job-[0-9a-f]{16}$/);
    expect(job).toMatchObject({ status: "submitted", duplicate: false, position: { offset: "0" } });
    const [sent] = t.submissions();
    expect(sent?.spec.workflows[0]?.id).toMatch(/^wf-[0-9a-f]{16}$/);
    expect(sent?.idempotencyKey).toMatch(/^tester:1:/);
  });

  it("follows a redirect to the leader, two sends in all, and stays there", async () => {
    await using t = await setup({ nodes: 1 });
    const leader = await ScriptedNode.start(t.cluster, t.transport, "leader:7401");
    t.node.onSubmit = () => new NotLeaderError("the datacenter", leaderAt(leader.address));
    const job = await t.submit();
    expect(t.node.submissions.length).toBe(1);
    expect(leader.submissions.length).toBe(1);
    expect(t.clock.monotonicNow()).toBeLessThan(100);
    await settle(t.clock, t.client.cancel(job.jobId));
    expect(leader.cancellations.length).toBe(1);
    await leader.kill();
  });

  it("gives up a redirect loop as a failure of that attempt, and tries again", async () => {
    await using t = await setup({ nodes: 2 });
    const [a, b] = t.nodes as [ScriptedNode, ScriptedNode];
    let refusals = 6;
    const pointAt = (address: string) => () =>
      refusals-- > 0 ? new NotLeaderError("it", leaderAt(address)) : undefined;
    a.onSubmit = pointAt(b.address);
    b.onSubmit = pointAt(a.address);
    await t.submit();
    expect(t.submissions().length).toBe(7);
    expect(t.clock.monotonicNow()).toBeGreaterThan(500);
    expect(t.cluster.jobs.size).toBe(1);
  });

  it("follows at most three redirects in one attempt", async () => {
    await using t = await setup({ nodes: 1, deadlineMs: 100 });
    const chain: ScriptedNode[] = [];
    for (let index = 0; index < 6; index += 1) {
      chain.push(await ScriptedNode.start(t.cluster, t.transport, `hop-${index}:1`));
    }
    [t.node, ...chain].forEach((node, index) => {
      node.onSubmit = () => new NotLeaderError("it", leaderAt(`hop-${index}:1`));
    });
    await expect(t.submit({ deadlineMs: 5 })).rejects.toMatchObject({ code: "JOBS_NOT_LEADER" });
    expect(chain.filter((node) => node.submissions.length > 0).length).toBe(3);
    for (const node of chain) await node.kill();
  });

  it("creates one job when the answer is lost and another gate is asked", async () => {
    await using t = await setup({ nodes: 2 });
    let lost: ScriptedNode | undefined;
    for (const node of t.nodes) {
      node.afterSubmit = async () => {
        if (lost !== undefined) return;
        lost = node;
        await new Promise(() => undefined);
      };
    }
    const job = await t.submit();
    expect(job.duplicate).toBe(true);
    expect(t.cluster.jobs.size).toBe(1);
    expect(new Set(t.submissions().map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
    expect(t.submissions().length).toBe(2);
  });

  it("turns at once to the next gate when one is down", async () => {
    await using t = await setup({ nodes: 3 });
    await t.nodes[0]?.kill();
    await t.nodes[1]?.kill();
    await t.submit();
    expect(t.nodes[2]?.submissions.length).toBe(1);
    expect(t.clock.monotonicNow()).toBeLessThan(100);
  });

  it("waits at least as long as a rate limit asks", async () => {
    await using t = await setup();
    let refusals = 1;
    t.node.onSubmit = () => (refusals-- > 0 ? new RateLimitedError("job_submit", 3_000) : undefined);
    await t.submit();
    expect(t.clock.monotonicNow()).toBeGreaterThanOrEqual(3_000);
    expect(t.clock.monotonicNow()).toBeLessThan(3_500);
    expect(t.submissions().length).toBe(2);
  });

  it("waits between half and one and a half of a doubling time when it chooses itself", async () => {
    await using t = await setup();
    const times: number[] = [];
    t.node.onSubmit = () => {
      times.push(t.clock.monotonicNow());
      return times.length < 6 ? new NodeNotReadyError("gate", "syncing") : undefined;
    };
    await t.submit();
    const waits = times.slice(1).map((time, index) => time - (times[index] as number));
    [500, 1_000, 2_000, 4_000, 5_000].forEach((nominal, index) => {
      expect(waits[index]).toBeGreaterThanOrEqual(nominal * 0.5);
      expect(waits[index]).toBeLessThan(nominal * 1.5);
    });
  });

  it("throws a final refusal at once and the last transient one when the deadline passes", async () => {
    await using t = await setup();
    t.node.onSubmit = () => new UnknownWorkflowError("w", []);
    await expect(t.submit()).rejects.toMatchObject({ code: "JOBS_UNKNOWN_WORKFLOW" });
    expect(t.submissions().length).toBe(1);
    t.node.onSubmit = () => new NodeNotReadyError("gate", "syncing");
    const startedAt = t.clock.monotonicNow();
    await expect(t.submit({ deadlineMs: 20_000 })).rejects.toMatchObject({ code: "JOBS_NOT_READY" });
    expect(t.clock.monotonicNow() - startedAt).toBeGreaterThan(15_000);
    expect(t.clock.monotonicNow() - startedAt).toBeLessThanOrEqual(20_000);
  });

  it("gives a conflict of keys back as it is", async () => {
    await using t = await setup();
    t.node.onSubmit = () => new IdempotencyConflictError("k", "job-1");
    await expect(t.submit({ idempotencyKey: "k" })).rejects.toMatchObject({
      code: "JOBS_IDEMPOTENCY_CONFLICT",
    });
  });

  it("refuses a job over 5 MiB before any network use, and takes one of just that size", async () => {
    await using t = await setup();
    const sizeOf = async (length: number) => {
      try {
        await t.submit({ workflows: [{ workflow: "w", input: "x".repeat(length) }] });
        return undefined;
      } catch (error) {
        expect(error).toBeInstanceOf(JobTooLargeError);
        return (error as JobTooLargeError).details["sizeBytes"] as number;
      }
    };
    const size = (await sizeOf(JOB_MAX_BYTES)) as number;
    expect(t.submissions().length).toBe(0);
    const fitting = JOB_MAX_BYTES - (size - JOB_MAX_BYTES);
    expect(await sizeOf(fitting)).toBe(undefined);
    expect(await sizeOf(fitting + 1)).toBe(JOB_MAX_BYTES + 1);
    expect(t.submissions().length).toBe(1);
  });

  it("says which field is wrong, and that there is nobody to ask", async () => {
    await using t = await setup();
    await expect(t.submit({ workflows: [{ workflow: "w", input: 1, shards: 0 }] })).rejects.toThrow(
      /workflows\.0\.shards/,
    );
    const lonely = t.newClient({ gates: [] });
    await expect(lonely.submit({ workflows: [{ workflow: "w", input: {} }] })).rejects.toMatchObject({
      code: "JOBS_NO_TARGET",
    });
    expect(() => t.newClient({ gates: ["host:0"] })).toThrow(/gates\[0\]/);
    expect(() => t.newClient({ managers: ["ok:1", "host:65536"] })).toThrow(/managers\[1\]/);
  });

  it("gives ten submissions at once ten ids, and stops waiting when aborted", async () => {
    await using t = await setup();
    const jobs = await settle(t.clock, Promise.all(Array.from({ length: 10 }, () => t.submit())));
    expect(new Set(jobs.map(({ jobId }) => jobId)).size).toBe(10);
    t.node.onSubmit = () => new NodeNotReadyError("gate", "syncing");
    const abort = new AbortController();
    const pending = t.client.submit({ workflows: [{ workflow: "w", input: {} }], signal: abort.signal });
    await t.clock.advance(1_000);
    abort.abort(new Error("enough"));
    await expect(pending).rejects.toThrow("enough");
  });
});

/** Collects a watch in the background. */
const collect = (items: AsyncIterable<WatchItem>) => {
  const seen: string[] = [];
  const done = (async () => {
    for await (const item of items) {
      seen.push(
        item.kind === "event"
          ? item.event.type === "log"
            ? item.event.message
            : item.event.type
          : item.kind === "connection"
            ? item.state
            : `reset ${item.reason}`,
      );
    }
  })();
  done.catch(() => undefined);
  return { seen, done };
};

describe("watching", () => {
  it("yields all events from the beginning and ends after the result", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const watch = collect(t.client.watch(jobId));
    await t.clock.advance(10);
    await t.cluster.append(jobId, logLine("a"), logLine("b"));
    await t.cluster.finish(jobId);
    await settle(t.clock, watch.done);
    expect(watch.seen).toEqual(["job.status", "a", "b", "job.result"]);
  });

  it("goes on through the death of its gate at another one, without gap or repeat", async () => {
    await using t = await setup({ nodes: 2 });
    const { jobId } = await t.submit();
    const watch = collect(t.client.watch(jobId));
    await t.clock.advance(10);
    await t.cluster.append(jobId, logLine("a"));
    await t.clock.advance(10);
    const serving = t.nodes.find((node) => node.feed.stats().subscriptions === 1);
    await serving?.kill();
    await t.cluster.append(jobId, logLine("while away"));
    await t.clock.advance(10_000);
    await t.cluster.append(jobId, logLine("b"));
    await t.cluster.finish(jobId);
    await settle(t.clock, watch.done);
    expect(watch.seen).toContain("lost");
    expect(watch.seen).toContain("restored");
    expect(watch.seen.filter((text) => text !== "lost" && text !== "restored")).toEqual([
      "job.status",
      "a",
      "while away",
      "b",
      "job.result",
    ]);
  });

  it("waits for its only gate to come back, however long that takes", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const watch = collect(t.client.watch(jobId));
    await t.clock.advance(10);
    await t.node.kill();
    await t.clock.advance(600_000);
    expect(watch.seen).toEqual(["job.status", "lost"]);
    await t.node.restart();
    await t.cluster.append(jobId, logLine("a"));
    await t.cluster.finish(jobId);
    await settle(t.clock, watch.done);
    expect(watch.seen.filter((text) => text !== "restored")).toEqual([
      "job.status",
      "lost",
      "a",
      "job.result",
    ]);
    expect(watch.seen.filter((text) => text === "restored").length).toBe(1);
  });

  it("holds no more than its bound for a slow consumer, and misses nothing", async () => {
    await using t = await setup({ watchBufferMaxCount: 10 });
    const { jobId } = await t.submit();
    const texts = Array.from({ length: 300 }, (_, index) => `m${index}`);
    const iterator = t.client.watch(jobId)[Symbol.asyncIterator]();
    expect((await settle(t.clock, iterator.next())).value).toMatchObject({ kind: "event" });
    await t.cluster.append(jobId, ...texts.map(logLine));
    await t.clock.advance(5_000);
    // The node stopped sending: it has no subscription of ours any more.
    expect(t.node.feed.stats().subscriptions).toBe(0);
    const seen: string[] = [];
    while (seen.length < texts.length) {
      const { value } = await settle(t.clock, iterator.next());
      if (value?.kind === "event" && value.event.type === "log") seen.push(value.event.message);
    }
    expect(seen).toEqual(texts);
    await iterator.return?.();
  });

  it("asks again after silence, so that even a lost push is made up for", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const watch = collect(t.client.watch(jobId));
    await t.clock.advance(10);
    // The node forgets the subscription, as if its pushes were lost on the way.
    for (const node of t.nodes) node.feed.forget(jobId);
    await t.cluster.append(jobId, logLine("missed"));
    await t.clock.advance(9_000);
    expect(watch.seen).toEqual(["job.status"]);
    await t.clock.advance(2_000);
    expect(watch.seen).toEqual(["job.status", "missed"]);
  });

  it("goes on from a position given, and stops when aborted, closed or left", async () => {
    await using t = await setup();
    const { jobId, position } = await t.submit();
    const after = { epoch: position.epoch, offset: "1" };
    await t.cluster.append(jobId, logLine("a"));
    const abort = new AbortController();
    const watch = collect(t.client.watch(jobId, { after, signal: abort.signal }));
    const other = collect(t.client.watch(jobId));
    await t.clock.advance(10);
    expect(watch.seen).toEqual(["a"]);
    abort.abort(new Error("enough"));
    await expect(watch.done).rejects.toThrow("enough");
    for await (const item of t.client.watch(jobId)) {
      expect(item.kind).toBe("event");
      break;
    }
    await t.clock.advance(10);
    expect(t.node.feed.stats().subscriptions).toBe(1);
    await t.client.close();
    await expect(other.done).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
  });

  it("refuses a job that no node knows", async () => {
    await using t = await setup({ nodes: 2 });
    const watch = collect(t.client.watch("job-unknown"));
    await expect(settle(t.clock, watch.done)).rejects.toMatchObject({ code: "JOBS_NOT_FOUND" });
  });
});

describe("waiting for a result", () => {
  it("gives the result when it comes, to all who wait, and at once when it is there", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const waiting = [t.client.result(jobId), t.client.result(jobId)];
    await t.clock.advance(60_000);
    const result = await t.cluster.finish(jobId);
    expect(await settle(t.clock, Promise.all(waiting))).toEqual([result, result]);
    expect(await settle(t.clock, t.client.result(jobId))).toEqual(result);
    const stranger = t.newClient({ clientId: "other" });
    expect(await settle(t.clock, stranger.result(jobId))).toEqual(result);
    await stranger.close();
  });

  it("ends with a timeout while the job goes on", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    await expect(settle(t.clock, t.client.result(jobId, { timeoutMs: 2_000 }))).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
    });
    expect(t.clock.monotonicNow()).toBeLessThan(3_000);
  });

  it("learns the result by asking when the events fail it", async () => {
    await using t = await setup({ watchSilenceMs: 1_000_000 });
    const { jobId } = await t.submit();
    const waiting = t.client.result(jobId);
    await t.clock.advance(100);
    t.node.feed.forget(jobId);
    const result = await t.cluster.finish(jobId);
    expect(await settle(t.clock, waiting)).toEqual(result);
    expect(t.clock.monotonicNow()).toBeLessThan(20_000);
  });

  it("refuses an unknown job", async () => {
    await using t = await setup();
    await expect(settle(t.clock, t.client.result("job-unknown"))).rejects.toMatchObject({
      code: "JOBS_NOT_FOUND",
    });
  });
});

describe("asking", () => {
  it("pings every node and reports those that do not answer", async () => {
    await using t = await setup({ nodes: 2 });
    await t.nodes[1]?.kill();
    const answers = await settle(t.clock, t.client.ping());
    expect(answers).toMatchObject([
      { address: "gate-0:7401", nodeId: "node-gate-0:7401", role: "gate", isLeader: true },
      { address: "gate-1:7401", error: { code: "CONNECTION_REFUSED" } },
    ]);
  });

  it("passes on what a list is to hold, and shows the cluster as the node sees it", async () => {
    await using t = await setup();
    const filter = { statuses: ["failed"] as const, search: "import", limit: 7, cursor: "c" };
    expect(await settle(t.clock, t.client.list(filter))).toEqual({ jobs: [], nextCursor: "more" });
    await settle(t.clock, t.client.list());
    expect(t.node.lists).toEqual([filter, { limit: 50 }]);
    await t.submit();
    expect(await settle(t.clock, t.client.cluster())).toMatchObject({
      node: { role: "gate" },
      activeJobs: 1,
    });
  });

  it("leaves no timer behind", async () => {
    const t = await setup();
    const { jobId } = await t.submit();
    const waiting = t.client.result(jobId);
    await t.clock.advance(10);
    await t.cluster.finish(jobId);
    await settle(t.clock, waiting);
    await t[Symbol.asyncDispose]();
    await t.clock.advance(0);
    expect(t.clock.pendingCount).toBe(0);
  });
});
