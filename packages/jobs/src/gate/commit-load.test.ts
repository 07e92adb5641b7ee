import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { CommitLoad } from "./commit-load.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const load = new CommitLoad();
  const state = { isIdle: true };
  const stop = new AbortController();
  load.watchRest({ clock, isIdle: () => state.isIdle, signal: stop.signal }).catch(() => undefined);
  const commit = (count: number, durationMs: number): void => {
    for (let index = 0; index < count; index += 1) load.record(durationMs);
  };
  return { clock, load, state, commit, stop: () => stop.abort(new Error("done")) };
};

describe("the load of a gate", () => {
  it("is none while commits are quick, however much their times differ, and grows with slow ones", () => {
    const { load, commit, stop } = setUp();
    commit(50, 1);
    commit(5, 90);
    expect(load.level).toBe("healthy");
    commit(10, 300);
    expect(load.level).toBe("busy");
    commit(10, 3_000);
    expect(load.level).toBe("overloaded");
    stop();
  });

  it("is not made of one commit that met a frozen machine: submissions and cancels go on", () => {
    const { load, commit, stop } = setUp();
    commit(50, 2);
    commit(1, 8_000);
    expect(["busy", "stressed"]).toContain(load.level);
    commit(12, 2);
    expect(load.level).toBe("healthy");
    stop();
  });

  it("ends when nobody waits for a commit, though shedding leaves none to be measured", async () => {
    const { clock, load, state, commit, stop } = setUp();
    commit(50, 2);
    commit(10, 5_000);
    expect(load.level).toBe("overloaded");
    // A commit that hangs is no rest.
    state.isIdle = false;
    await clock.advance(10_000);
    expect(load.level).toBe("overloaded");
    state.isIdle = true;
    await clock.advance(3_000);
    expect(load.level).toBe("healthy");
    stop();
  });
});
