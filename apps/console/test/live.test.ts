import type { WatchItem } from "@holdfast/jobs/client";
import { RemoteError } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import type { ChannelPosition } from "../src/messages.ts";
import { emptyCluster, setUp, status } from "./fixture.ts";

const untilAborted = (signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) resolve();
    else signal?.addEventListener("abort", () => resolve(), { once: true });
  });

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
    page.send({ type: "subscribe", channel: "cluster" });
    await page.expect([{ type: "ready" }, { type: "snapshot", channel: "cluster", data: { activeJobs: 0 } }]);
    await server.clock.advance(3_000);
    expect(looks).toBeGreaterThanOrEqual(3);
    activeJobs = 7;
    await server.clock.advance(1_000);
    await page.expect([{ type: "ready" }, { position: { offset: "1" } }, { data: { activeJobs: 7 } }]);
    expect(page.received[2]).toMatchObject({ type: "snapshot", position: { offset: "2" } });

    const later = await server.open();
    later.send({ type: "subscribe", channel: "cluster" });
    await later.expect([{ type: "ready" }, { type: "snapshot", data: { activeJobs: 7 } }]);
    const returning = await server.open();
    const after = (later.received[1] as { position: ChannelPosition }).position;
    returning.send({ type: "subscribe", channel: "cluster", after });
    activeJobs = 8;
    await vi.waitFor(async () => {
      await server.clock.advance(1_000);
      expect(returning.received.length).toBeGreaterThanOrEqual(2);
    });
    // What it had already was not sent again.
    expect(returning.received[1]).toMatchObject({ type: "snapshot", data: { activeJobs: 8 } });
  });

  it("is all that keeps the console looking: without one it asks the cluster nothing", async () => {
    const cluster = vi.fn(async () => emptyCluster);
    await using server = await setUp({ cluster });
    await server.clock.advance(10_000);
    expect(cluster).not.toHaveBeenCalled();
    const page = await server.open();
    page.send({ type: "subscribe", channel: "cluster" });
    await page.expect([{ type: "ready" }, { type: "snapshot" }]);
    page.send({ type: "unsubscribe", channel: "cluster" });
    page.send({ type: "subscribe", channel: "nothing" });
    await page.expect([{}, {}, { error: { code: "CONSOLE_UNKNOWN_CHANNEL" } }]);
    await server.clock.advance(1_000);
    const before = cluster.mock.calls.length;
    await server.clock.advance(10_000);
    expect(cluster).toHaveBeenCalledTimes(before);
  });

  it("keeps what it has while the cluster cannot be asked, and gets what is new afterwards", async () => {
    let answer: () => Promise<typeof emptyCluster> = async () => emptyCluster;
    await using server = await setUp({ cluster: () => answer() });
    const page = await server.open();
    page.send({ type: "subscribe", channel: "cluster" });
    await page.expect([{ type: "ready" }, { type: "snapshot" }]);
    answer = () => Promise.reject(new Error("away"));
    await server.clock.advance(5_000);
    answer = async () => ({ ...emptyCluster, activeJobs: 1 });
    await server.clock.advance(1_000);
    await page.expect([{ type: "ready" }, { type: "snapshot" }, { data: { activeJobs: 1 } }]);
    expect(page.received).toHaveLength(3);
  });

  it("gets a job's events in order with their positions, resets, and the end", async () => {
    const items: WatchItem[] = [
      status(1),
      status(2),
      { kind: "connection", state: "lost" },
      { kind: "connection", state: "restored" },
      status(3),
      { kind: "reset", reason: "trimmed" },
      status(10),
    ];
    const asked: unknown[] = [];
    await using server = await setUp({
      watch: async function* (jobId, options) {
        asked.push([jobId, options?.after]);
        yield* items;
      },
    });
    const page = await server.open();
    page.send({ type: "subscribe", channel: "job:job-1", after: { epoch: "1", offset: "0" } });
    await vi.waitFor(() => expect(page.received.at(-1)).toEqual({ type: "end", channel: "job:job-1" }));
    expect(asked).toEqual([["job-1", { epoch: "1", offset: "0" }]]);
    const told = page.received.flatMap((message) => {
      if (message.type === "events") return message.events.map(({ position }) => position.offset);
      return message.type === "reset" ? [`reset ${message.reason}`] : [];
    });
    expect(told).toEqual(["1", "2", "3", "reset trimmed", "10"]);
  });

  it("is told why a job cannot be followed, and goes on with its other channels", async () => {
    await using server = await setUp({
      watch: () => ({
        [Symbol.asyncIterator]: () => ({
          next: () =>
            Promise.reject(
              new RemoteError({ code: "JOBS_NOT_FOUND", message: "no such job", retryable: false }),
            ),
        }),
      }),
    });
    const page = await server.open();
    page.send({ type: "subscribe", channel: "job:none" });
    await page.expect([
      { type: "ready" },
      { type: "error", channel: "job:none", error: { code: "JOBS_NOT_FOUND" } },
    ]);
    page.send({ type: "subscribe", channel: "jobs" });
    await page.expect([{}, {}, { type: "snapshot", channel: "jobs", data: { jobs: [] } }]);
  });

  it("ends what it followed when it unsubscribes, subscribes anew, or leaves", async () => {
    const ended: string[] = [];
    let follows = 0;
    await using server = await setUp({
      watch: async function* (jobId, options) {
        follows += 1;
        const name = `${jobId} ${follows}`;
        yield status(1);
        await untilAborted(options?.signal);
        ended.push(name);
      },
    });
    const page = await server.open();
    page.send({ type: "subscribe", channel: "job:a" });
    page.send({ type: "subscribe", channel: "job:a" });
    await vi.waitFor(() => expect(ended).toEqual(["a 1"]));
    page.send({ type: "unsubscribe", channel: "job:a" });
    await vi.waitFor(() => expect(ended).toEqual(["a 1", "a 2"]));
    page.send({ type: "subscribe", channel: "job:b" });
    await vi.waitFor(() => expect(follows).toBe(3));
    page.socket.close();
    await vi.waitFor(() => expect(ended).toEqual(["a 1", "a 2", "b 3"]));
  });

  it("may follow 32 channels, and is told when it asks for more", async () => {
    await using server = await setUp({
      watch: async function* (_jobId, options) {
        await untilAborted(options?.signal);
        yield* [];
      },
    });
    const page = await server.open();
    for (let index = 0; index <= 32; index += 1) page.send({ type: "subscribe", channel: `job:${index}` });
    await page.expect([
      { type: "ready" },
      { type: "error", channel: "job:32", error: { code: "CONSOLE_TOO_MANY_CHANNELS" } },
    ]);
  });
});

describe("a page that misbehaves", () => {
  it.each([
    ["text that is no JSON", "nonsense"],
    ["an unknown type", '{"type":"drop-tables"}'],
    ["a missing channel", '{"type":"subscribe"}'],
    ["a channel of the wrong type", '{"type":"subscribe","channel":7}'],
    ["a position of the wrong type", '{"type":"subscribe","channel":"jobs","after":"1"}'],
    ["null", "null"],
    ["bytes", Buffer.from([0, 1, 2])],
  ])("loses only that message by %s", async (_what, data) => {
    await using server = await setUp();
    const page = await server.open();
    page.socket.send(data);
    page.send({ type: "subscribe", channel: "jobs" });
    await page.expect([
      { type: "ready" },
      { type: "error", error: { code: "CONSOLE_INVALID_MESSAGE" } },
      { type: "snapshot", channel: "jobs" },
    ]);
  });

  it("loses only its own connection by a message over 64 KiB", async () => {
    await using server = await setUp();
    const good = await server.open();
    const bad = await server.open();
    bad.socket.send("x".repeat(64 * 1024 + 1));
    await vi.waitFor(() => expect(bad.closeCode).toBe(1009));
    good.send({ type: "subscribe", channel: "jobs" });
    await good.expect([{ type: "ready" }, { type: "snapshot", channel: "jobs" }]);
  });

  it("is cut off when it goes on asking without reading the answers", async () => {
    const name = "x".repeat(400_000);
    await using server = await setUp({
      cluster: async () => ({ ...emptyCluster, node: { ...emptyCluster.node, nodeId: name } }),
    });
    const page = await server.open();
    page.socket.pause();
    await vi.waitFor(
      () => {
        for (let count = 0; count < 20; count += 1) page.send({ type: "subscribe", channel: "cluster" });
        page.socket.resume();
        page.socket.pause();
        expect(page.socket.readyState).not.toBe(page.socket.OPEN);
      },
      { timeout: 15_000, interval: 10 },
    );
    expect((await server.ask("/health/live")).status).toBe(200);
  });
});

describe("a page that reads slowly", () => {
  it("holds the job's log back instead of filling the console's memory, and misses nothing", async () => {
    const total = 6_000;
    const message = "x".repeat(8_000);
    let taken = 0;
    await using server = await setUp({
      watch: async function* () {
        for (let offset = 1; offset <= total; offset += 1) {
          taken = offset;
          const position = { epoch: "1", offset: String(offset) };
          const place = { workflowId: "wf-1", shard: 0, worker: "w", level: "info" } as const;
          yield { kind: "event", position, event: { type: "log", at: offset, ...place, message } };
        }
      },
    });
    const page = await server.open();
    await page.expect([{ type: "ready" }]);
    page.socket.pause();
    page.send({ type: "subscribe", channel: "job:1" });
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
    await vi.waitFor(() => expect(page.received.at(-1)?.type).toBe("end"), { timeout: 15_000 });
    const offsets = page.received.flatMap((item) =>
      item.type === "events" ? item.events.map(({ position }) => Number(position.offset)) : [],
    );
    expect(offsets).toEqual(Array.from({ length: total }, (_, index) => index + 1));
  });

  it("gets the newest snapshot, not all that came meanwhile", async () => {
    const filler = "x".repeat(1_000_000);
    let activeJobs = 0;
    await using server = await setUp({
      cluster: async () => {
        activeJobs += 1;
        return { ...emptyCluster, activeJobs, node: { ...emptyCluster.node, nodeId: filler } };
      },
    });
    const page = await server.open();
    await page.expect([{ type: "ready" }]);
    page.socket.pause();
    page.send({ type: "subscribe", channel: "cluster" });
    await vi.waitFor(() => expect(activeJobs).toBeGreaterThan(0));
    for (let second = 0; second < 60; second += 1) await server.clock.advance(1_000);
    expect(activeJobs).toBeGreaterThan(50);
    page.socket.resume();
    const newest = activeJobs;
    await vi.waitFor(
      () => expect(page.received.at(-1)).toMatchObject({ type: "snapshot", data: { activeJobs: newest } }),
      { timeout: 10_000 },
    );
    expect(page.received.length).toBeLessThan(30);
  });
});
