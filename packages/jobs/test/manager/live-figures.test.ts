import type { JobEvent } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Histogram } from "../../src/model/histogram.ts";
import { Cluster } from "./cluster.ts";
import { completed } from "./scripted-worker.ts";

describe("live figures", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  const setUp = async (shards = 2) => {
    const manager = await cluster.manager("m1");
    const worker = await cluster.worker(manager, "w1");
    const client = await cluster.client(manager);
    const { jobId } = await client.submit([{ name: "a", shards }]);
    await client.follow(jobId);
    const held = await worker.claimAll(shards);
    const windows = () =>
      client.events.filter(
        (event): event is Extract<JobEvent, { type: "window" }> => event.type === "window",
      );
    const logs = () =>
      client.events.filter((event): event is Extract<JobEvent, { type: "log" }> => event.type === "log");
    return { manager, worker, client, jobId, held, windows, logs };
  };

  it("say that a job runs soon after its first shard was handed out", async () => {
    const { client } = await setUp();
    await cluster.advance(100);
    expect(client.types()).toEqual([
      "job.leader",
      "job.status:queued",
      "workflow.status:assigned",
      "job.status:running",
      "workflow.status:running",
    ]);
  });

  it("that are too large to add up stop at the largest number, and their job ends like any other", async () => {
    const { worker, client, jobId, held, windows } = await setUp();
    const progress = { done: 1e308, total: 1e308 };
    await worker.progress(held.map((assignment) => ({ assignment, progress, counters: { rows: 1e308 } })));
    await cluster.advance(2_000);
    const most = Number.MAX_VALUE;
    expect(windows().at(-1)).toMatchObject({
      progress: { done: most, total: most },
      counters: { rows: most },
    });
    const totals = { counters: { units: 1e308 }, histograms: {} };
    await worker.report(held.map((claim) => completed(claim, { progress, totals })));
    expect(await client.finished(jobId)).toMatchObject({
      status: "completed",
      workflows: [{ totals: { counters: { units: most } } }],
    });
  });

  it("sum counters and merge histograms of a window over shards and workers", async () => {
    const { worker, held, windows } = await setUp();
    const histogram = (values: readonly number[]) => {
      const own = new Histogram();
      for (const value of values) own.record(value);
      return own.encode();
    };
    const [first, second] = held as [(typeof held)[number], (typeof held)[number]];
    await worker.progress([
      {
        assignment: first,
        progress: { done: 3, total: 10 },
        counters: { rows: 3 },
        histograms: { ms: histogram([1, 2, 3]) },
      },
      {
        assignment: second,
        progress: { done: 5, total: 20 },
        counters: { rows: 5, errors: 1 },
        histograms: { ms: histogram([4, 5]) },
      },
    ]);
    await cluster.until(() => windows().length > 0);
    expect(windows()).toMatchObject([
      {
        workflowId: "wf-a",
        windowMs: 500,
        progress: { done: 8, total: 30 },
        shards: { total: 2, completed: 0, failed: 0, running: 2 },
        workerCount: 1,
        counters: { rows: 8, errors: 1 },
        histograms: { ms: { count: 5, min: 1, max: 5, mean: 3 } },
      },
    ]);
  });

  it("take the newest state of a shard, and drop a report that comes twice or late", async () => {
    const { worker, held, windows, client, jobId } = await setUp(1);
    const [assignment] = held as [(typeof held)[number]];
    const report = (done: number, sequence: number) =>
      worker.progress([{ assignment, progress: { done, total: 9 }, counters: { rows: 1 } }], { sequence });
    await report(1, 10);
    await report(4, 12);
    await report(4, 12);
    await report(2, 11);
    expect((await client.get(jobId)).progress).toEqual({ done: 4, total: 9 });
    await cluster.advance(2_000);
    expect(windows().reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(2);
  });

  it("come in order and without loss however late the reports are", async () => {
    const { worker, held, windows } = await setUp(1);
    const [assignment] = held as [(typeof held)[number]];
    const now = cluster.clock.wallNow();
    const starts = [now - 3_000, now, now - 700, now - 60_000, now + 60_000, now - 100];
    for (const windowStart of starts) {
      await worker.progress([{ assignment, windowStart, counters: { rows: 1 } }]);
      await cluster.advance(400);
    }
    await cluster.advance(3_000);
    expect(windows().reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(starts.length);
    const order = windows().map(({ windowStart }) => windowStart);
    expect(order).toEqual([...new Set(order)].sort((a, b) => a - b));
  });

  it("are all told before the result", async () => {
    const { worker, held, windows, client, jobId } = await setUp(1);
    const [assignment] = held as [(typeof held)[number]];
    await worker.progress([{ assignment, counters: { rows: 5 }, progress: { done: 5, total: 5 } }]);
    await worker.complete(assignment, { totals: { counters: { rows: 5 }, histograms: {} } });
    await cluster.until(() => client.ended.has(jobId));
    expect(windows()).toMatchObject([{ counters: { rows: 5 } }]);
    expect(client.types().indexOf("window")).toBeLessThan(client.types().indexOf("workflow.result"));
    // The result comes from the outcomes, not from the windows.
    expect((await client.finished(jobId)).workflows[0]?.totals.counters).toEqual({ rows: 5 });
  });

  it("do not count a lost claim's progress, nor reports of an older claim", async () => {
    const { manager, worker, held, client, jobId } = await setUp(1);
    const [lost] = held as [(typeof held)[number]];
    await worker.progress([{ assignment: lost, progress: { done: 7, total: 10 } }]);
    const other = await cluster.worker(manager, "w2");
    const [again] = await other.claim(1, 20_000);
    if (again === undefined) throw new Error("the shard did not come back");
    await other.progress([{ assignment: again, progress: { done: 1, total: 10 } }]);
    await worker.progress([{ assignment: lost, progress: { done: 9, total: 10 } }]);
    expect((await client.get(jobId)).progress).toEqual({ done: 1, total: 10 });
  });

  it("let two hundred log lines a second pass and say how many were dropped", async () => {
    const { worker, held, logs } = await setUp(1);
    const [assignment] = held as [(typeof held)[number]];
    const lines = (count: number, from: number) =>
      Array.from({ length: count }, (_, index) => ({
        at: cluster.clock.wallNow(),
        level: "info" as const,
        message: `line ${from + index}`,
      }));
    await worker.progress([{ assignment, logs: lines(150, 0) }]);
    await worker.progress([{ assignment, logs: lines(150, 150) }]);
    await cluster.advance(3_000);
    expect(logs()).toHaveLength(201);
    expect(logs().at(-1)).toMatchObject({
      level: "warn",
      message: expect.stringContaining("dropped 100 lines"),
    });
    await worker.progress([{ assignment, logs: lines(1, 1000) }]);
    await cluster.advance(1_000);
    expect(logs().at(-1)).toMatchObject({ message: "line 1000", worker: "w1", shard: 0 });
  });

  it("cost nothing while nothing is reported", async () => {
    const { manager } = await setUp();
    await cluster.advance(1_000);
    const before = manager.stats().commits.batches;
    await cluster.advance(3_000);
    expect(manager.stats().commits.batches).toBe(before);
  });
});
