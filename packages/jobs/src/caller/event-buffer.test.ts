import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEventsPush } from "@holdfast/protocol/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventBuffer } from "./event-buffer.ts";

const push = (from: number, count: number, more: Partial<JobEventsPush> = {}): JobEventsPush => ({
  subscriptionId: "s",
  jobId: "j",
  events: Array.from({ length: count }, (_, index) => ({
    position: { epoch: "1", offset: String(from + index) },
    event: { type: "job.status", at: from + index, status: "running" },
  })),
  end: false,
  ...more,
});

const newBuffer = (countMax = 1_000) => {
  let fullCount = 0;
  const buffer = new EventBuffer({
    clock: new VirtualClock(),
    after: undefined,
    countMax,
    bytesMax: 1_000_000,
  });
  buffer.onFull = () => {
    fullCount += 1;
  };
  const take = () =>
    buffer.takeAll().map((item) => (item.kind === "event" ? Number(item.position.offset) : item.kind));
  return { buffer, take, fullCount: () => fullCount };
};

describe("EventBuffer", () => {
  it("lets through each event once and in order, whatever is lost, repeated or reordered, once followed again", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 8 })), {
          maxLength: 30,
        }),
        (pushes) => {
          const { buffer, take } = newBuffer();
          const seen: (number | string)[] = [];
          for (const [from, count] of pushes) {
            buffer.take(push(from, count));
            seen.push(...take());
            if (buffer.needsFollow) {
              buffer.reopen();
              // The node sends what follows the position.
              buffer.take(push(Number(buffer.position?.offset ?? "0") + 1, 2));
              seen.push(...take());
            }
          }
          expect(seen).toEqual(seen.map((_, index) => index + 1));
        },
      ),
    );
  });

  it("passes over an event that only a later version can read, and misses nothing after it", () => {
    const { buffer, take } = newBuffer();
    const events = push(1, 3).events.map((entry, index) =>
      index === 1 ? { ...entry, event: { type: "later" as const } } : entry,
    );
    buffer.take(push(1, 3, { events }));
    buffer.take(push(4, 1));
    expect(take()).toEqual([1, 3, 4]);
    expect(buffer.needsFollow).toBe(false);
  });

  it("sees that the first events are missing, and asks from before them", () => {
    const { buffer, take } = newBuffer();
    buffer.take(push(5, 2));
    expect(take()).toEqual([]);
    expect(buffer.needsFollow).toBe(true);
    expect(buffer.position).toEqual({ epoch: "1", offset: "0" });
  });

  it("takes nothing more at its bound, says so once, and goes on from its position", () => {
    const { buffer, take, fullCount } = newBuffer(5);
    buffer.take(push(1, 9));
    buffer.take(push(10, 9));
    expect(fullCount()).toBe(1);
    expect(take()).toEqual([1, 2, 3, 4, 5]);
    expect(buffer.position?.offset).toBe("5");
    buffer.reopen();
    buffer.take(push(6, 3, { end: true }));
    expect(take()).toEqual([6, 7, 8]);
    expect(buffer.isEnded).toBe(true);
  });

  it("does not end on an end whose events did not fit", () => {
    const { buffer } = newBuffer(2);
    buffer.take(push(1, 3, { end: true }));
    expect(buffer.isEnded).toBe(false);
  });

  it("begins with the first event in whatever life of the log, when asked from before it", () => {
    const { buffer, take } = newBuffer();
    buffer.take(push(5, 1));
    buffer.reopen();
    const first = push(1, 1).events.map((item) => ({ ...item, position: { epoch: "7", offset: "1" } }));
    buffer.take({ ...push(1, 0), events: first });
    expect(take()).toEqual([1]);
  });

  it("hands a reset on and continues from wherever the log starts now", () => {
    const { buffer, take } = newBuffer();
    buffer.take(push(1, 2));
    buffer.take({ ...push(100, 2), reset: { reason: "trimmed" } });
    buffer.take(push(102, 1));
    expect(take()).toEqual([1, 2, "reset", 100, 101, 102]);
  });
});
