import { describe, expect, it } from "vitest";
import { checkLockHistory, type FencedWrite } from "./check-lock-history.ts";
import { checkQueueHistory } from "./check-queue-history.ts";
import { checkStateHistory } from "./check-state-history.ts";
import { OffsetWatch } from "./offset-watch.ts";
import type { Violation } from "./violation.ts";

const names = (violations: readonly Violation[]): readonly string[] =>
  violations.map(({ invariant }) => invariant);

describe("the history of a lock", () => {
  const write = (value: number, token: bigint, holder = `h${token}`): FencedWrite => ({
    resource: "r",
    value,
    token,
    holder,
  });

  it("is good when every write builds on the one before and tokens never fall", () => {
    const writes = [write(3, 9n), write(1, 4n), write(2, 4n), { ...write(1, 5n), resource: "other" }];
    expect(checkLockHistory(writes)).toEqual([]);
  });

  it("shows a lost update, a deposed holder's write and a token that two hold", () => {
    expect(names(checkLockHistory([write(1, 1n), write(1, 2n)]))).toEqual(["no lost update"]);
    expect(names(checkLockHistory([write(1, 1n), write(3, 2n)]))).toEqual(["no lost update"]);
    expect(names(checkLockHistory([write(1, 2n), write(2, 1n)]))).toEqual(["tokens never fall"]);
    expect(names(checkLockHistory([write(1, 2n, "a"), write(2, 2n, "b")]))).toEqual(["one holder per token"]);
  });
});

describe("the history of a queue", () => {
  it("is good when each acknowledged task had its effect once, and others at most once", () => {
    const history = { acknowledged: ["a", "b"], unknown: ["c", "d"], effects: ["b", "a", "c"] };
    expect(checkQueueHistory(history)).toEqual([]);
  });

  it("shows lost, doubled and invented tasks", () => {
    const history = { acknowledged: ["a", "b"], unknown: ["c"], effects: ["b", "b", "c", "c", "x"] };
    expect(names(checkQueueHistory(history))).toEqual([
      "no task lost",
      "no double completion",
      "no double completion",
      "no task from nowhere",
    ]);
  });
});

describe("the history of a state", () => {
  const stored = new Map([
    ["n", "5"],
    ["k", '"v"'],
  ]);

  it("is good when every replica shows what is stored and the counters lie between answered and sent", () => {
    const counters = new Map([["n", { answered: 4, sent: 6 }]]);
    expect(
      checkStateHistory({ namespace: "s", stored, replicas: new Map([["a", stored]]), counters }),
    ).toEqual([]);
  });

  it("shows a replica that kept what is gone, and an increment that was lost or counted twice", () => {
    const stale = new Map([...stored, ["gone", "1"]]);
    const counters = new Map([
      ["n", { answered: 6, sent: 6 }],
      ["none", { answered: 1, sent: 1 }],
    ]);
    const replicas = new Map([["a", stale]]);
    expect(names(checkStateHistory({ namespace: "s", stored, replicas, counters }))).toEqual([
      "replicas converge",
      "increments add up",
      "increments add up",
    ]);
  });
});

describe("a watch over offsets", () => {
  it("is content with offsets one apart, and with a loss that is told", () => {
    const watch = new OffsetWatch("r", { epoch: 1n, offset: 0n });
    watch.saw({ epoch: 1n, offset: 1n });
    watch.saw({ epoch: 1n, offset: 2n });
    watch.reset();
    watch.saw({ epoch: 2n, offset: 7n });
    expect(watch.violations).toEqual([]);
    expect(watch.count).toBe(3);
  });

  it("shows a gap, a repeat and a silent change of epoch", () => {
    const watch = new OffsetWatch("r");
    for (const [epoch, offset] of [
      [1n, 1n],
      [1n, 3n],
      [1n, 3n],
      [2n, 4n],
    ] as const) {
      watch.saw({ epoch, offset });
    }
    expect(names(watch.violations)).toEqual(["no gap", "no repeat", "no silent change of epoch"]);
  });
});
