import { createMemoryStore } from "@holdfast/coordination/memory";
import { InvalidInputError } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { StoreUnavailableError } from "../errors.ts";
import { claimOrWait, type TimedClaims } from "./claim-or-wait.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const queue = createMemoryStore({ clock }).queue("q");
  const claim = vi.spyOn(queue, "claim");
  let answer: TimedClaims | undefined;
  const ask = (
    more: { signal?: AbortSignal; types?: readonly string[]; waitMs?: number; pollMs?: number } = {},
  ) => {
    const asking = claimOrWait(queue, {
      worker: "w",
      maxCount: 5,
      leaseMs: 1000,
      waitMs: 60_000,
      clock,
      ...more,
    });
    asking.then(
      (claims) => {
        answer = claims;
      },
      () => undefined,
    );
    return asking;
  };
  return { clock, queue, claim, ask, answer: () => answer?.tasks.map(({ id }) => id) };
};

const task = (id: string, more = {}) => ({ id, type: "a", payload: 1, ...more });

describe("claiming or waiting", () => {
  it("answers at once when tasks are due", async () => {
    const { clock, queue, ask, answer } = setUp();
    await queue.enqueue([task("x")]);
    ask();
    await clock.advance(0);
    expect(answer()).toEqual(["x"]);
    expect(clock.pendingCount).toBe(0);
  });

  it("is woken by an arriving task", async () => {
    const { clock, queue, ask, answer } = setUp();
    ask();
    await clock.advance(10_500);
    expect(answer()).toBeUndefined();
    await queue.enqueue([task("x")]);
    await clock.advance(0);
    expect(answer()).toEqual(["x"]);
  });

  it("takes a delayed task when it is due, without waiting for the poll", async () => {
    const { clock, queue, ask, answer } = setUp();
    await queue.enqueue([task("x", { delayMs: 300 })]);
    ask();
    await clock.advance(299);
    expect(answer()).toBeUndefined();
    await clock.advance(1);
    expect(answer()).toEqual(["x"]);
  });

  it("answers empty when the wait is over", async () => {
    const { clock, ask, answer } = setUp();
    ask({ waitMs: 2500 });
    await clock.advance(2499);
    expect(answer()).toBeUndefined();
    await clock.advance(1);
    expect(answer()).toEqual([]);
  });

  it("does not spin on due tasks of other types", async () => {
    const { clock, queue, claim, ask, answer } = setUp();
    await queue.enqueue([task("x")]);
    ask({ types: ["b"], waitMs: 1000 });
    await clock.advance(1000);
    expect(answer()).toEqual([]);
    expect(claim.mock.calls.length).toBeLessThanOrEqual(10);
  });

  it("asks seldom for what the limit of its key holds back, and takes it when it is let go", async () => {
    const { clock, queue, claim, ask, answer } = setUp();
    await queue.setLimits({ perKey: { concurrency: 1, rate: { count: 1, perMs: 20_000 } } });
    await queue.enqueue([task("x", { limitKey: "k" }), task("y", { limitKey: "k" })]);
    const [first] = await queue.claim({ worker: "other", maxCount: 1, leaseMs: 60_000 });
    ask();
    claim.mockClear();
    await clock.advance(10_000);
    expect(claim.mock.calls.length).toBeLessThanOrEqual(35);
    await queue.complete([first as never]);
    await clock.advance(9_999);
    expect(answer()).toBeUndefined();
    await clock.advance(400);
    expect(answer()).toEqual(["y"]);
  });

  it("says that the store is away, and obeys its signal", async () => {
    const { clock, claim, ask } = setUp();
    claim.mockRejectedValueOnce(new StoreUnavailableError("claim"));
    await expect(ask()).rejects.toThrow(StoreUnavailableError);
    const controller = new AbortController();
    const reason = new Error("enough");
    const waiting = expect(ask({ signal: controller.signal })).rejects.toBe(reason);
    await clock.advance(100);
    controller.abort(reason);
    await waiting;
    expect(clock.pendingCount).toBe(0);
  });

  it.each([
    { waitMs: Number.NaN },
    { waitMs: Number.POSITIVE_INFINITY },
    { pollMs: 0 },
  ])("refuses at once what it would ask the store for without end: %o", async (wrong) => {
    const { ask, claim } = setUp();
    await expect(ask(wrong)).rejects.toThrow(InvalidInputError);
    expect(claim).not.toHaveBeenCalled();
  });
});
