import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { MemoryChannelLog } from "../src/server/memory-channel-log.ts";
import { channelLogSuite } from "../src/testing/channel-log.suite.ts";

const draft = (channel: string, id: string) => ({ channel, event: "e", payloadText: "{}", id });

channelLogSuite(async () => {
  const log = new MemoryChannelLog({ clock: new VirtualClock(), historyMaxCount: 20 });
  return {
    log,
    historyMaxCount: 20,
    until: async (condition) => expect(condition()).toBe(true),
    [Symbol.asyncDispose]: () => log.close(),
  };
});

describe("MemoryChannelLog", () => {
  it("forgets events after their time, and says so to who asks for them", async () => {
    const clock = new VirtualClock();
    await using log = new MemoryChannelLog({ clock, historyMaxAgeMs: 1_000 });
    const [published] = await log.publish([draft("a", "1")]);
    const after = { epoch: published?.position.epoch ?? 0n, offset: 0n };
    await clock.advance(1_001);
    expect(await log.read("a", { after })).toMatchObject({ kind: "reset", reason: "trimmed" });
  });

  it("forgets an idle channel nobody follows, and begins it again under another epoch", async () => {
    const clock = new VirtualClock();
    await using log = new MemoryChannelLog({ clock, historyMaxAgeMs: 1_000, positionTtlMs: 5_000 });
    const before = await log.bounds("idle");
    await log.follow("kept", { onEvents: () => undefined, onReset: () => undefined });
    await clock.advance(10_000);
    expect(log.channelCount).toBe(1);
    const after = await log.bounds("idle");
    expect(after.head.epoch).toBeGreaterThan(before.head.epoch);
    expect(await log.read("idle", { after: before.head })).toMatchObject({ reason: "epoch-changed" });
  });

  it("makes room by forgetting the longest idle channel, and refuses when all are followed", async () => {
    await using log = new MemoryChannelLog({ clock: new VirtualClock(), channelMaxCount: 2 });
    await log.publish([draft("a", "1")]);
    await log.publish([draft("b", "1")]);
    await log.publish([draft("c", "1")]);
    expect(log.channelCount).toBe(2);
    for (const channel of ["b", "c"]) {
      await log.follow(channel, { onEvents: () => undefined, onReset: () => undefined });
    }
    await expect(log.publish([draft("d", "1")])).rejects.toMatchObject({ code: "KERNEL_OVERLOADED" });
  });

  it("forgets an idempotency key after its time", async () => {
    const clock = new VirtualClock();
    await using log = new MemoryChannelLog({ clock, idempotencyTtlMs: 1_000 });
    const keyed = { ...draft("a", "1"), idempotencyKey: "k" };
    await log.publish([keyed]);
    await clock.advance(1_000);
    expect((await log.publish([keyed]))[0]?.isRepeat).toBe(false);
  });
});
