import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { ShardCancelledError } from "../errors.ts";
import { AttemptWatch } from "./attempt-watch.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const told: string[] = [];
  const watch = new AttemptWatch({
    clock,
    what: "attempt 1",
    timeoutMs: 10_000,
    onStop: ({ message }) => told.push(`${clock.monotonicNow()} stop: ${message}`),
    onForce: ({ message }) => told.push(`${clock.monotonicNow()} force: ${message}`),
  });
  return { clock, told, watch };
};

describe("the limit of an attempt", () => {
  it("is extended by 30 s, then by half of it each time, five times, while the work gets on", async () => {
    const { clock, told, watch } = setUp();
    watch.begin();
    const granted: number[] = [];
    for (let done = 1; done <= 7; done += 1) granted.push(watch.extend(done));
    expect(granted).toEqual([30_000, 15_000, 7_500, 3_750, 1_875, 0, 0]);
    await clock.advance(68_124);
    expect(told).toEqual([]);
    await clock.advance(1);
    expect(told).toEqual([expect.stringMatching(/^68125 stop: .*68125 ms/)]);
    watch.end();
  });

  it("is not extended without progress since the time before", async () => {
    const { clock, told, watch } = setUp();
    watch.begin();
    expect([watch.extend(0), watch.extend(5), watch.extend(5), watch.extend(4), watch.extend(6)]).toEqual([
      0, 30_000, 0, 0, 15_000,
    ]);
    await clock.advance(55_000);
    expect(told.length).toBe(1);
    watch.end();
  });

  it("is not extended before the attempt begins, once it was stopped, nor after its end", async () => {
    const { clock, told, watch } = setUp();
    expect(watch.extend(1)).toBe(0);
    watch.begin();
    watch.stop(new ShardCancelledError("attempt 1", "enough"));
    expect(watch.extend(2)).toBe(0);
    await clock.advance(5_000);
    expect(told.map((text) => text.split(":")[0])).toEqual(["0 stop", "5000 force"]);
    watch.end();
    expect(watch.extend(3)).toBe(0);
  });
});
