import { type LogEntry, toWirePosition } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { logEvent, ScriptedPeer, setUpFeed, texts } from "../../test/node/event-feed-scene.ts";
import { JobNotFoundError } from "../errors.ts";
import { jobStream } from "../model/job-stream.ts";
import { EventFeed } from "./event-feed.ts";

describe("EventFeed", () => {
  for (const isLed of [true, false]) {
    const where = isLed ? "led here" : "led elsewhere";

    it(`sends history, then what comes, then the end: a job ${where}`, async () => {
      await using t = setUpFeed();
      if (isLed) t.led.add("j");
      await t.append("j", "a", "b");
      const peer = new ScriptedPeer("p");
      await t.follow(peer, "j", "s");
      await t.append("j", "c");
      await t.append("j", "d", "RESULT");
      expect(peer.texts("s")).toEqual(["a", "b", "c", "d", "job.result"]);
      expect(peer.ended("s")).toBe(true);
      expect(t.feed.stats().subscriptions).toBe(0);
    });

    it(`goes on right after the position asked for: a job ${where}`, async () => {
      await using t = setUpFeed();
      if (isLed) t.led.add("j");
      const entries = await t.append("j", "a", "b", "c");
      const peer = new ScriptedPeer("p");
      await t.follow(peer, "j", "s", toWirePosition((entries[1] as LogEntry).position));
      await t.append("j", "d");
      expect(peer.texts("s")).toEqual(["c", "d"]);
    });

    it(`serves many watchers of one job, each from its own position: a job ${where}`, async () => {
      await using t = setUpFeed();
      if (isLed) t.led.add("j");
      await t.append("j", "a");
      const peers = [new ScriptedPeer("p"), new ScriptedPeer("q"), new ScriptedPeer("r")];
      for (const peer of peers) {
        await t.follow(peer, "j", "s");
        await t.append("j", `before-next-${peer.id}`);
      }
      await t.append("j", "RESULT");
      const all = ["a", "before-next-p", "before-next-q", "before-next-r", "job.result"];
      for (const peer of peers) expect(peer.texts("s")).toEqual(all);
    });
  }

  it("reads nothing from the store for a job that it led from the first event on", async () => {
    await using t = setUpFeed();
    t.led.add("j");
    await t.append("j", "a", "b");
    const peer = new ScriptedPeer("p");
    await t.follow(peer, "j", "s");
    await t.append("j", "RESULT");
    expect(peer.texts("s")).toEqual(["a", "b", "job.result"]);
    expect(t.readCount()).toBe(0);
  });

  it("answers a finished job with what follows the position and the end, also when that is nothing", async () => {
    await using t = setUpFeed();
    const entries = await t.append("j", "a", "RESULT");
    const peer = new ScriptedPeer("p");
    await t.follow(peer, "j", "s", toWirePosition((entries[1] as LogEntry).position));
    expect(peer.texts("s")).toEqual([]);
    expect(peer.ended("s")).toBe(true);
    await t.follow(peer, "j", "all");
    expect(peer.texts("all")).toEqual(["a", "job.result"]);
    expect(peer.ended("all")).toBe(true);
  });

  it("pauses while the connection is full and goes on from its position, losing and repeating nothing", async () => {
    await using t = setUpFeed({ pushMaxBytes: 2_000, bufferedMaxBytes: 10_000 });
    const messages = texts(2_000);
    await t.append("j", ...messages);
    const peer = new ScriptedPeer("p");
    peer.pushCostBytes = 2_000;
    await t.follow(peer, "j", "s");
    const before = peer.texts("s").length;
    expect(before).toBeLessThan(200);
    await t.append("j", ...texts(100, 2_000));
    expect(peer.texts("s").length).toBe(before);
    expect(peer.bufferedBytes).toBeLessThanOrEqual(12_000);
    for (let round = 0; round < 500 && peer.texts("s").length < 2_100; round += 1) {
      peer.drain();
      await t.clock.advance(0);
    }
    expect(peer.texts("s")).toEqual(texts(2_100));
  });

  it("lets a slow connection delay nobody else", async () => {
    await using t = setUpFeed();
    t.led.add("j");
    await t.append("j", "a");
    const slow = new ScriptedPeer("slow");
    slow.bufferedBytes = 10_000_000;
    const fast = new ScriptedPeer("fast");
    await t.follow(slow, "j", "s");
    await t.follow(fast, "j", "s");
    await t.append("j", "b", "RESULT");
    expect(fast.texts("s")).toEqual(["a", "b", "job.result"]);
    expect(slow.texts("s")).toEqual([]);
    slow.drain();
    await t.clock.advance(0);
    expect(slow.texts("s")).toEqual(["a", "b", "job.result"]);
  });

  it("never puts more than 1000 events into one push", async () => {
    await using t = setUpFeed({ pushMaxBytes: 100_000_000, tailEntryMaxCount: 5_000 });
    t.led.add("j");
    const peer = new ScriptedPeer("p");
    peer.bufferedBytes = 10_000_000;
    await t.append("j", ...texts(1));
    await t.follow(peer, "j", "s");
    await t.append("j", ...texts(2_500, 1));
    peer.drain();
    await t.clock.advance(0);
    expect(peer.texts("s")).toEqual(texts(2_501));
    expect(Math.max(...peer.pushes.map(({ events }) => events.length))).toBeLessThanOrEqual(1_000);
  });

  it("tells a reader whose history was trimmed to start again at the oldest entry", async () => {
    await using t = setUpFeed();
    const entries = await t.append("j", ...texts(10));
    await t.store.log.trim(jobStream("j"), { upTo: 4n });
    const peer = new ScriptedPeer("p");
    await t.follow(peer, "j", "s", toWirePosition((entries[1] as LogEntry).position));
    expect(peer.pushes[0]?.reset).toEqual({ reason: "trimmed" });
    expect(peer.texts("s")).toEqual(texts(6, 4));
    await t.follow(peer, "j", "ahead", {
      epoch: (entries[0] as LogEntry).position.epoch.toString(),
      offset: "99",
    });
    const ahead = peer.pushes.filter(({ subscriptionId }) => subscriptionId === "ahead");
    expect(ahead[0]?.reset).toEqual({ reason: "ahead-of-head" });
  });

  it("keeps following when the leader moves here and away again", async () => {
    await using t = setUpFeed();
    await t.append("j", "a");
    const peer = new ScriptedPeer("p");
    await t.follow(peer, "j", "s");
    t.led.add("j");
    t.feed.leadershipChanged("j");
    await t.append("j", "b");
    t.led.delete("j");
    // Nobody says so: the feed finds out by itself.
    await t.append("j", "c");
    await t.clock.advance(3_000);
    await t.append("j", "d", "RESULT");
    expect(peer.texts("s")).toEqual(["a", "b", "c", "d", "job.result"]);
  });

  it("replaces a subscription that is asked for again and stops one that is given up", async () => {
    await using t = setUpFeed();
    const entries = await t.append("j", "a", "b");
    const peer = new ScriptedPeer("p");
    await t.follow(peer, "j", "s");
    await t.follow(peer, "j", "s", toWirePosition((entries[0] as LogEntry).position));
    expect(peer.texts("s")).toEqual(["a", "b", "b"]);
    expect(t.feed.stats().subscriptions).toBe(1);
    await t.feed.unfollow(
      { subscriptionId: "s" },
      { peer: peer.asPeer, signal: new AbortController().signal, timeoutMs: 10_000 },
    );
    await t.append("j", "c");
    expect(peer.texts("s")).toEqual(["a", "b", "b"]);
    expect(t.feed.stats()).toMatchObject({ subscriptions: 0, followedJobs: 0 });
  });

  it("forgets a connection that closed", async () => {
    await using t = setUpFeed();
    await t.append("j", "a");
    const peer = new ScriptedPeer("p");
    for (let index = 0; index < 50; index += 1) await t.follow(peer, "j", `s${index}`);
    expect(t.feed.stats().subscriptions).toBe(50);
    peer.drop();
    await t.clock.advance(0);
    expect(t.feed.stats()).toMatchObject({ subscriptions: 0, followedJobs: 0, memoryBytes: 0 });
  });

  it("refuses more subscriptions than the limit, and unknown jobs", async () => {
    await using t = setUpFeed({ subscriptionMaxCount: 2, nodeSubscriptionMaxCount: 3 });
    await t.append("j", "a");
    const peer = new ScriptedPeer("p");
    await t.follow(peer, "j", "1");
    await t.follow(peer, "j", "2");
    await expect(t.follow(peer, "j", "3")).rejects.toMatchObject({
      code: "KERNEL_OVERLOADED",
      retryable: true,
    });
    await t.follow(peer, "j", "2");
    await expect(t.follow(new ScriptedPeer("q"), "other", "1")).rejects.toBeInstanceOf(JobNotFoundError);
    const gate = new ScriptedPeer("g", "gate");
    for (const id of ["1", "2", "3"]) await t.follow(gate, "j", id);
  });

  it("keeps its memory within the bound and still sends everything", async () => {
    await using t = setUpFeed({ memoryMaxBytes: 20_000, idleTailMaxCount: 5 });
    const peer = new ScriptedPeer("p");
    const jobs = Array.from({ length: 20 }, (_, index) => `j${index}`);
    for (const jobId of jobs) {
      t.led.add(jobId);
      await t.append(jobId, ...texts(20));
      expect(t.feed.stats().memoryBytes).toBeLessThanOrEqual(20_000);
    }
    peer.bufferedBytes = 10_000_000;
    for (const jobId of jobs) await t.follow(peer, jobId, jobId);
    for (const jobId of jobs) await t.append(jobId, ...texts(30, 20), "RESULT");
    expect(t.feed.stats().memoryBytes).toBeLessThanOrEqual(20_000);
    peer.drain();
    await t.clock.advance(0);
    for (const jobId of jobs) expect(peer.texts(jobId)).toEqual([...texts(50), "job.result"]);
    expect(t.feed.stats()).toMatchObject({ subscriptions: 0 });
  });

  it("waits out a store that is away", async () => {
    let isAway = true;
    const clock = new VirtualClock();
    const store = createMemoryStore({ clock });
    await store.log.append([{ stream: jobStream("j"), payload: logEvent("a") }]);
    await using feed = new EventFeed({
      log: {
        bounds: store.log.bounds.bind(store.log),
        tail: store.log.tail.bind(store.log),
        read: (...args) => (isAway ? Promise.reject(new Error("away")) : store.log.read(...args)),
      },
      clock,
      logger: silentLogger,
      leads: () => false,
      lookup: async () => ({ status: "running", leader: { nodeId: "n", address: "", fence: "1" } }),
    });
    const peer = new ScriptedPeer("p");
    await feed.follow(
      { jobId: "j", subscriptionId: "s" },
      { peer: peer.asPeer, signal: new AbortController().signal, timeoutMs: 10_000 },
    );
    await clock.advance(10_000);
    expect(peer.texts("s")).toEqual([]);
    isAway = false;
    await clock.advance(10_000);
    expect(peer.texts("s")).toEqual(["a"]);
  });
});
