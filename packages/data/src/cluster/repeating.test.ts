import { silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { Repeating } from "./repeating.ts";

const setUp = (bodyMs = 0) => {
  const clock = new VirtualClock();
  const rounds: number[] = [];
  const tasks = new TaskGroup({ logger: silentLogger });
  const loop = new Repeating({
    clock,
    pauseMs: () => 1_000,
    restMs: 100,
    body: async () => {
      rounds.push(clock.monotonicNow() - startedAt);
      if (bodyMs > 0) await clock.sleep(bodyMs);
    },
  });
  const startedAt = clock.monotonicNow();
  loop.start("test", tasks);
  return { clock, rounds, tasks, loop };
};

describe("work that repeats", () => {
  it("begins at once, and again after each pause", async () => {
    const { clock, rounds, tasks } = setUp();
    await clock.advance(2_500);
    expect(rounds).toEqual([0, 1_000, 2_000]);
    await tasks.stop();
  });

  it("begins early when poked, but never before it has rested, however often", async () => {
    const { clock, rounds, loop, tasks } = setUp();
    await clock.advance(10);
    for (let count = 0; count < 20; count += 1) loop.poke();
    await clock.advance(300);
    expect(rounds).toEqual([0, 100]);
    await clock.advance(200);
    loop.poke();
    await clock.advance(1);
    expect(rounds).toEqual([0, 100, 510]);
    await tasks.stop();
  });

  it("tells the end of a round that began after the question, not of one under way", async () => {
    const { clock, rounds, loop, tasks } = setUp(200);
    await clock.advance(50);
    let isAnswered = false;
    const answered = loop.afterNext().then(() => {
      isAnswered = true;
    });
    await clock.advance(200);
    expect(isAnswered).toBe(false);
    await clock.advance(200);
    await answered;
    expect(rounds).toEqual([0, 200]);
    await tasks.stop();
  });

  it("ends with its owner, and answers nobody in vain", async () => {
    const { clock, rounds, loop, tasks } = setUp();
    await clock.advance(10);
    await tasks.stop();
    await loop.afterNext();
    await clock.advance(5_000);
    expect(rounds).toEqual([0]);
  });
});
