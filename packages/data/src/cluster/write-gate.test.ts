import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { WriteGate } from "./write-gate.ts";

const setUp = (waitingMaxCount = 10) => {
  const clock = new VirtualClock();
  return { clock, gate: new WriteGate<string>({ clock, waitingMaxCount }) };
};

describe("the gate before the primary", () => {
  it("refuses at once, or after the wait, while there is no primary", async () => {
    const { clock, gate } = setUp();
    await expect(gate.enter({ waitMs: 0 })).rejects.toMatchObject({
      code: "DATA_NO_PRIMARY",
      retryable: true,
    });
    const late = expect(gate.enter({ waitMs: 1_000 })).rejects.toMatchObject({ code: "DATA_NO_PRIMARY" });
    await clock.advance(1_000);
    await late;
    expect(gate.waitingCount).toBe(0);
  });

  it("lets in who waits as soon as there is one", async () => {
    const { clock, gate } = setUp();
    const pass = gate.enter({ waitMs: 1_000 });
    await clock.advance(500);
    gate.open("a");
    expect((await pass).target).toBe("a");
  });

  it("holds everybody for the length of a pause, whatever wait they ask for", async () => {
    const { clock, gate } = setUp();
    gate.open("a");
    gate.pause();
    const pass = gate.enter({ waitMs: 0 });
    await clock.advance(10_000);
    gate.open("b");
    gate.resume();
    expect((await pass).target).toBe("b");
  });

  it("tells who waits at once when there are two primaries", async () => {
    const { gate } = setUp();
    const pass = expect(gate.enter({ waitMs: 60_000 })).rejects.toMatchObject({ code: "DATA_SPLIT_BRAIN" });
    gate.shut({ kind: "split-brain", nodes: ["a", "b"] });
    await pass;
  });

  it("bounds those who wait, and lets an aborted one go with its own reason", async () => {
    const { gate } = setUp(1);
    const stop = new AbortController();
    const first = expect(gate.enter({ waitMs: 1_000, signal: stop.signal })).rejects.toThrow("enough");
    await expect(gate.enter({ waitMs: 1_000 })).rejects.toMatchObject({ code: "KERNEL_OVERLOADED" });
    stop.abort(new Error("enough"));
    await first;
    expect(gate.waitingCount).toBe(0);
  });

  it("drains when the last one leaves, and no later than it was told", async () => {
    const { clock, gate } = setUp();
    gate.open("a");
    const pass = gate.enterNow();
    let isDrained = false;
    const drained = gate.drain(1_000).then(() => {
      isDrained = true;
    });
    await clock.advance(300);
    expect(isDrained).toBe(false);
    pass?.leave();
    pass?.leave();
    await drained;
    expect(gate.insideCount).toBe(0);
    expect(gate.longestUseMs).toBe(300);
    gate.enterNow();
    const late = gate.drain(1_000);
    await clock.advance(1_000);
    await late;
    expect(gate.insideCount).toBe(1);
  });

  it("drains anew after a time that was not enough", async () => {
    const { clock, gate } = setUp();
    gate.open("a");
    const long = gate.enterNow();
    const first = gate.drain(100);
    await clock.advance(100);
    await first;
    let isDrained = false;
    const second = gate.drain(1_000).then(() => {
      isDrained = true;
    });
    await clock.advance(500);
    expect(isDrained).toBe(false);
    long?.leave();
    await second;
  });

  it("turns away who waits when it is closed, in a pause as well, and whoever comes later", async () => {
    const { clock, gate } = setUp();
    const waiting = expect(gate.enter({ waitMs: 3_600_000 })).rejects.toMatchObject({
      code: "KERNEL_CLOSED",
    });
    gate.pause();
    const held = expect(gate.enter({ waitMs: 0 })).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    gate.close();
    await Promise.all([waiting, held]);
    gate.open("a");
    gate.resume();
    expect(gate.enterNow()).toBeUndefined();
    await expect(gate.enter({ waitMs: 1_000 })).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    expect([gate.waitingCount, clock.pendingCount]).toEqual([0, 0]);
  });

  it("lets a caller with a limit of his own go at it, in a pause as well", async () => {
    const { clock, gate } = setUp();
    gate.open("a");
    gate.pause();
    const late = expect(gate.enter({ waitMs: 2_000, limitMs: 100 })).rejects.toMatchObject({
      code: "DATA_NO_PRIMARY",
      retryable: true,
    });
    await clock.advance(100);
    await late;
    expect([gate.waitingCount, clock.pendingCount]).toEqual([0, 0]);
  });
});
