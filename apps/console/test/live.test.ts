import type { JobsClient, WatchItem } from "@holdfast/jobs/client";
import { RemoteError } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import { emptyCluster, jobView, setUp, status } from "./fixture.ts";

const untilAborted = (signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) resolve();
    else signal?.addEventListener("abort", () => resolve(), { once: true });
  });

const BEGINNING = { epoch: "0", offset: "0" };

/** A client of one job that has these events, and gets more by `add`. */
const jobWith = (items: WatchItem[]) => {
  const wakers = new Set<() => void>();
  const headOf = () => items.filter((item) => item.kind === "event").at(-1)?.position ?? BEGINNING;
  const isAfter = (item: WatchItem, offset: bigint): boolean =>
    item.kind === "event" && BigInt(item.position.offset) > offset;
  const answers: Partial<JobsClient> = {
    get: async () => ({ ...jobView, head: headOf() }),
    watch: async function* (_jobId, options) {
      const from = BigInt(options?.after?.offset ?? 0);
      let next = from === 0n ? 0 : items.findIndex((item) => isAfter(item, from));
      if (next < 0) next = items.length;
      while (!options?.signal?.aborted) {
        const item = items[next];
        next += 1;
        if (item !== undefined) yield item;
        else {
          next -= 1;
          await new Promise<void>((resolve) => {
            wakers.add(resolve);
            options?.signal?.addEventListener("abort", () => resolve(), { once: true });
          });
        }
      }
    },
  };
  return {
    answers,
    add: (item: WatchItem) => {
      items.push(item);
      for (const wake of wakers) wake();
      wakers.clear();
    },
  };
};

describe("a page", () => {
  it("gets a snapshot, each change of it under a later position, and nothing while nothing changes", async () => {
    let activeJobs = 0;
    let looks = 0;
    await using server = await setUp({
      cluster: async () => {
        looks += 1;
        return { ...emptyCluster, activeJobs };
      },
    });
    const page = await server.open();
    page.subscribe("cluster");
    await page.expect("cluster", [{ payload: { activeJobs: 0 }, offset: "1" }]);
    await server.clock.advance(3_000);
    expect(looks).toBeGreaterThanOrEqual(3);
    activeJobs = 7;
    await server.clock.advance(1_000);
    await page.expect("cluster", [{ offset: "1" }, { payload: { activeJobs: 7 }, offset: "2" }]);

    const later = await server.open();
    later.subscribe("cluster");
    await later.expect("cluster", [{ payload: { activeJobs: 7 }, offset: "2" }]);
    const [{ epoch = "", offset = "" } = {}] = later.events("cluster");
    const returning = await server.open();
    await returning.answer(returning.subscribe("cluster", { position: { epoch, offset } }));
    activeJobs = 8;
    await server.clock.advance(1_000);
    // What it had already was not sent again.
    await returning.expect("cluster", [{ payload: { activeJobs: 8 }, offset: "3" }]);
    expect(returning.events("cluster")).toHaveLength(1);
  });

  it("gets the newest snapshot when it comes back from before, or from another process, without being told of a gap", async () => {
    let activeJobs = 0;
    await using server = await setUp({ cluster: async () => ({ ...emptyCluster, activeJobs }) });
    const watching = await server.open();
    watching.subscribe("cluster");
    await watching.expect("cluster", [{}]);
    const [{ epoch = "" } = {}] = watching.events("cluster");
    for (activeJobs = 1; activeJobs < 5; activeJobs += 1) await server.clock.advance(1_000);
    await watching.expect("cluster", [{}, {}, {}, {}, {}]);
    for (const position of [
      { epoch, offset: "2" },
      { epoch: "77", offset: "9" },
    ]) {
      const returning = await server.open();
      expect(await returning.answer(returning.subscribe("cluster", { position }))).toMatchObject([
        { state: "new", position: { epoch, offset: "4" } },
      ]);
      await returning.expect("cluster", [{ offset: "5", payload: { activeJobs: 4 } }]);
    }
  });

  it("is all that keeps the console looking: without one it asks the cluster nothing", async () => {
    const cluster = vi.fn(async () => emptyCluster);
    await using server = await setUp({ cluster });
    await server.clock.advance(10_000);
    expect(cluster).not.toHaveBeenCalled();
    const page = await server.open();
    page.subscribe("cluster");
    await page.expect("cluster", [{}]);
    await page.answer(page.send({ unsubscribe: ["cluster"] }));
    await server.clock.advance(1_000);
    const before = cluster.mock.calls.length;
    await server.clock.advance(10_000);
    expect(cluster).toHaveBeenCalledTimes(before);
    page.subscribe("cluster");
    // A fresh look, not what was seen a while ago.
    await page.expect("cluster", [{}, {}]);
    expect(cluster.mock.calls.length).toBeGreaterThan(before);
  });

  it("gets a job's events under the positions of its log, from the first on, and those to come", async () => {
    const job = jobWith([status(1), status(2), { kind: "connection", state: "lost" }, status(3)]);
    await using server = await setUp(job.answers);
    const page = await server.open();
    page.subscribe("job:job-1", { position: BEGINNING });
    await page.expect("job:job-1", [
      { offset: "1", epoch: "1", event: "job.status" },
      { offset: "2" },
      { offset: "3" },
    ]);
    job.add(status(4));
    await page.expect("job:job-1", [{}, {}, {}, { offset: "4", payload: { type: "job.status", at: 4 } }]);
  });

  it("goes on without gap or repeat where it stopped, on another connection", async () => {
    const job = jobWith(Array.from({ length: 250 }, (_, index) => status(index + 1)));
    await using server = await setUp(job.answers);
    const first = await server.open();
    first.subscribe("job:job-1", { position: BEGINNING });
    await first.until(() => expect(first.events("job:job-1")).toHaveLength(250));
    first.socket.terminate();
    for (let offset = 251; offset <= 260; offset += 1) job.add(status(offset));
    const second = await server.open();
    second.subscribe("job:job-1", { position: { epoch: "1", offset: "250" } });
    await second.until(() => expect(second.events("job:job-1").at(-1)).toMatchObject({ offset: "260" }));
    expect(second.events("job:job-1").map(({ offset }) => Number(offset))).toEqual(
      Array.from({ length: 10 }, (_, index) => 251 + index),
    );
  });

  it("is told when the beginning of a job's log is gone, and gets what is left", async () => {
    const job = jobWith([{ kind: "reset", reason: "trimmed" }, status(10), status(11)]);
    await using server = await setUp(job.answers);
    const page = await server.open();
    page.subscribe("job:job-1", { position: BEGINNING });
    await page.expect("job:job-1", [{ offset: "10" }, { offset: "11" }]);
    const kinds = page.received.flatMap((frame) =>
      "reset" in frame ? ["reset"] : "event" in frame ? ["event"] : [],
    );
    expect(kinds).toEqual(["reset", "event", "event"]);
  });

  it("is told why a job cannot be followed, and goes on with its other channels", async () => {
    const error = new RemoteError({ code: "JOBS_NOT_FOUND", message: "no such job", retryable: false });
    await using server = await setUp({ get: () => Promise.reject(error) });
    const page = await server.open();
    const answer = await page.answer(page.subscribe("job:none"));
    expect(answer).toMatchObject([
      { channel: "job:none", state: "refused", error: { code: "JOBS_NOT_FOUND" } },
    ]);
    page.subscribe("jobs");
    await page.expect("jobs", [{ payload: { jobs: [] } }]);
  });

  it("ends what it followed when it unsubscribes or leaves", async () => {
    const ended: string[] = [];
    await using server = await setUp({
      get: async () => ({ ...jobView, head: { epoch: "1", offset: "1" } }),
      watch: async function* (jobId, options) {
        await untilAborted(options?.signal);
        ended.push(jobId);
        yield* [];
      },
    });
    const page = await server.open();
    for (const channel of ["job:a", "job:b"]) await page.answer(page.subscribe(channel));
    page.send({ unsubscribe: ["job:a"] });
    await vi.waitFor(() => expect(ended).toEqual(["a"]));
    page.socket.close();
    await vi.waitFor(() => expect(ended).toEqual(["a", "b"]));
  });

  it("may follow 32 channels, and is told when it asks for more", async () => {
    await using server = await setUp(jobWith([status(1)]).answers);
    const page = await server.open();
    const subscribe = Array.from({ length: 33 }, (_, index) => ({ channel: `job:${index}` }));
    const answers = await page.answer(page.send({ subscribe }));
    expect(answers.slice(0, 32).every((answer) => "state" in answer && answer.state === "new")).toBe(true);
    expect(answers[32]).toMatchObject({ state: "refused", error: { code: "LIVE_TOO_MANY_CHANNELS" } });
  });
});

describe("a page that misbehaves", () => {
  it.each([
    ["text that is no JSON", "nonsense"],
    ["a missing channel", '{"subscribe":[{}]}'],
    ["a channel of the wrong type", '{"subscribe":[7]}'],
    ["a position of the wrong type", '{"subscribe":[{"channel":"jobs","position":"1"}]}'],
    ["null", "null"],
  ])("loses only that message by %s", async (_what, data) => {
    await using server = await setUp();
    const page = await server.open();
    page.socket.send(data);
    page.subscribe("jobs");
    await page.expect("jobs", [{}]);
    expect(page.received[1]).toMatchObject({ error: { code: "LIVE_INVALID_MESSAGE" } });
  });

  it("loses only its own connection by a message over 64 KiB", async () => {
    await using server = await setUp();
    const good = await server.open();
    const bad = await server.open();
    bad.socket.send("x".repeat(64 * 1024 + 1));
    await vi.waitFor(() => expect(bad.closeCode).toBe(4413));
    good.subscribe("jobs");
    await good.expect("jobs", [{}]);
  });

  it("costs the console no memory by asking on and on without reading the answers", async () => {
    const name = "x".repeat(400_000);
    await using server = await setUp({
      cluster: async () => ({ ...emptyCluster, node: { ...emptyCluster.node, nodeId: name } }),
    });
    const page = await server.open();
    page.subscribe("cluster");
    await page.expect("cluster", [{}]);
    page.socket.pause();
    const before = process.memoryUsage().arrayBuffers;
    // Answered one by one, these would be 200 MB.
    for (let count = 0; count < 500; count += 1) page.subscribe("cluster");
    const other = await server.open();
    other.subscribe("jobs");
    await other.expect("jobs", [{}]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40_000_000);
    expect((await server.ask("/health/live")).status).toBe(200);
  });
});

describe("a page that reads slowly", () => {
  it("holds the job's log back instead of filling the console's memory, and misses nothing", async () => {
    const total = 6_000;
    const message = "x".repeat(8_000);
    let taken = 0;
    await using server = await setUp({
      get: async () => ({ ...jobView, head: { epoch: "1", offset: String(total) } }),
      watch: async function* (_jobId, options) {
        for (let offset = Number(options?.after?.offset ?? 0) + 1; offset <= total; offset += 1) {
          taken = Math.max(taken, offset);
          const position = { epoch: "1", offset: String(offset) };
          const place = { workflowId: "wf-1", shard: 0, worker: "w", level: "info" } as const;
          yield { kind: "event", position, event: { type: "log", at: offset, ...place, message } };
        }
      },
    });
    const page = await server.open();
    await page.until(() => expect(page.received).toHaveLength(1));
    page.socket.pause();
    page.subscribe("job:1", { position: BEGINNING });
    let before = -1;
    await vi.waitFor(
      () => {
        const isStanding = taken > 0 && taken === before;
        before = taken;
        expect(isStanding).toBe(true);
      },
      { timeout: 10_000, interval: 200 },
    );
    // The sockets' own buffers take some megabytes of the 48.
    expect(taken).toBeLessThan(total / 2);
    page.socket.resume();
    await page.until(() => expect(page.events("job:1")).toHaveLength(total), 15_000);
    const offsets = page.events("job:1").map(({ offset }) => Number(offset));
    expect(offsets).toEqual(Array.from({ length: total }, (_, index) => index + 1));
  });

  it("is cut off at its bound, and gets the newest snapshot when it returns, not all that came meanwhile", async () => {
    const filler = "x".repeat(1_000_000);
    let activeJobs = 0;
    await using server = await setUp({
      cluster: async () => {
        activeJobs += 1;
        return { ...emptyCluster, activeJobs, node: { ...emptyCluster.node, nodeId: filler } };
      },
    });
    const page = await server.open();
    await page.until(() => expect(page.received).toHaveLength(1));
    page.socket.pause();
    page.subscribe("cluster");
    await vi.waitFor(() => expect(activeJobs).toBeGreaterThan(0));
    for (let second = 0; second < 60; second += 1) await server.clock.advance(1_000);
    // Since it was cut off nobody looks.
    const seen = activeJobs;
    expect(seen).toBeLessThan(50);
    page.socket.resume();
    await page.until(() => expect(page.closeCode).toBeDefined(), 10_000);
    expect(page.events("cluster").length).toBeLessThan(seen + 1);
    const last = page.events("cluster").at(-1);
    const back = await server.open();
    back.subscribe("cluster", {
      position: { epoch: last?.epoch ?? "0", offset: last?.offset ?? "0" },
    });
    await vi.waitFor(async () => {
      await server.clock.advance(1_000);
      expect(back.events("cluster").length).toBeGreaterThan(0);
    });
    expect(back.events("cluster")[0]).toMatchObject({ payload: { activeJobs: expect.any(Number) } });
    const first = back.events("cluster")[0]?.payload as { activeJobs: number };
    expect(first.activeJobs).toBeGreaterThan(seen);
  });
});
