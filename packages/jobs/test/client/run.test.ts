import { describe, expect, it } from "vitest";
import type { SubmitOptions } from "../../src/client/index.ts";
import { settle } from "../settle.ts";
import { setup } from "./client-setup.ts";
import { jobResult, logLine } from "./scripted-node.ts";

const SPEC: SubmitOptions = { workflows: [{ workflow: "w", input: {} }] };

/** A run whose job has been taken, by a node that opens a subscription for its result. */
const begin = async (options: Parameters<typeof setup>[0] & { readonly opensFeeds?: boolean } = {}) => {
  const { opensFeeds = true, ...rest } = options;
  const t = await setup(rest);
  for (const node of t.nodes) node.opensFeeds = opensFeeds;
  const abort = new AbortController();
  const start = async (more: { readonly timeoutMs?: number } = {}) => {
    const running = t.client.run({ ...SPEC, ...more, signal: abort.signal });
    running.catch(() => undefined);
    await t.clock.advanceUntil(() => t.cluster.jobs.size === 1, 1_000);
    await t.clock.advance(10);
    const [jobId] = [...t.cluster.jobs.keys()] as [string];
    const taker = t.nodes.find(({ submissions }) => submissions.length > 0) ?? t.node;
    return { running, jobId, taker };
  };
  return { ...t, abort, start, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
};

describe("a run", () => {
  it("takes the job's result from the push of the node that took it, and asks nothing more", async () => {
    await using t = await begin();
    const { running, jobId, taker } = await t.start();
    const [feed] = taker.feeds;
    expect(feed).toMatchObject({ jobId, want: "result" });
    const part = { ...jobResult(jobId), status: "failed" as const };
    feed?.push([logLine("hello"), { type: "job.result", at: 0, datacenter: "east", result: part }]);
    await t.clock.advance(20_000);
    const result = await t.cluster.finish(jobId);
    feed?.push([{ type: "job.result", at: 0, result }], { end: true });
    expect(await settle(t.clock, running)).toEqual(result);
    expect(taker.followCount).toBe(0);
    expect(t.client.stats()).toMatchObject({ requests: 1, watches: 0 });
  });

  it.each([
    ["when the node opens no subscription", { opensFeeds: false }, () => undefined],
    ["when the subscription ends without it", {}, (feed) => feed?.push([], { end: true })],
    ["when no push has come for half a minute", {}, () => undefined],
    ["when the connection is lost", { nodes: 2 }, (_feed, kill) => kill()],
  ] satisfies readonly (readonly [
    string,
    Parameters<typeof begin>[0],
    (
      feed: { push: (events: readonly [], more: { end: boolean }) => void } | undefined,
      kill: () => void,
    ) => void,
  ])[])("watches the job for its result %s", async (_when, options, harm) => {
    await using t = await begin(options);
    const { running, jobId, taker } = await t.start();
    harm(taker.feeds[0], () => void settle(t.clock, taker.kill()));
    await t.clock.advance(60_000);
    const result = await t.cluster.finish(jobId);
    expect(await settle(t.clock, running)).toEqual(result);
    expect(t.nodes.reduce((sum, { followCount }) => sum + followCount, 0)).toBeGreaterThan(0);
  });

  it("ends with a timeout, or as it is aborted, while the job goes on; nothing is left of it", async () => {
    const t = await begin();
    const first = await t.start({ timeoutMs: 2_000 });
    await expect(settle(t.clock, first.running)).rejects.toMatchObject({ code: "KERNEL_TIMEOUT" });
    const second = t.client.run({ ...SPEC, signal: t.abort.signal });
    second.catch(() => undefined);
    await t.clock.advance(100);
    t.abort.abort(new Error("no longer wanted"));
    await expect(settle(t.clock, second)).rejects.toThrow("no longer wanted");
    expect([...t.cluster.jobs.values()].map(({ status }) => status)).toEqual(["submitted", "submitted"]);
    expect(t.client.stats()).toMatchObject({ watches: 0 });
    await t[Symbol.asyncDispose]();
    await t.clock.advance(0);
    expect(t.clock.pendingCount).toBe(0);
  });

  it("is refused as its submission is, and leaves no subscription behind", async () => {
    await using t = await setup();
    await expect(t.client.run({ workflows: [{ workflow: "w", input: 1, shards: 0 }] })).rejects.toThrow(
      /^workflows\.0\.shards must be/,
    );
    expect(t.client.stats()).toMatchObject({ requests: 0, watches: 0 });
  });

  it("shares a message with others of its turn, and each has its own answer", async () => {
    await using t = await setup({ takesBundles: true });
    t.node.opensFeeds = true;
    t.node.onSubmit = ({ spec }) => (spec.name === "bad" ? new Error("server busy") : undefined);
    const names = ["one", "bad", "two"];
    const runs = names.map((name) => t.client.run({ ...SPEC, name, deadlineMs: 50, timeoutMs: 5_000 }));
    for (const running of runs) running.catch(() => undefined);
    await t.clock.advanceUntil(() => t.node.feeds.length === 2, 1_000);
    for (const feed of t.node.feeds) {
      feed.push([{ type: "job.result", at: 0, result: await t.cluster.finish(feed.jobId) }], { end: true });
    }
    const ends = await settle(t.clock, Promise.allSettled(runs));
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });
});
