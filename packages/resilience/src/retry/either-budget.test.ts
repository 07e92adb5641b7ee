import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { EitherBudget } from "./either-budget.ts";
import { ShareBudget, TokenBudget } from "./retry-budget.ts";

const setup = () => {
  const clock = new VirtualClock();
  const tokens = new TokenBudget({ tokenMax: 10 });
  const share = new ShareBudget({ share: 0.1, minPerSecond: 0, clock });
  return { clock, tokens, share, budget: new EitherBudget(tokens, share) };
};

const withdrawAll = (budget: EitherBudget): number => {
  let count = 0;
  for (; budget.tryWithdraw(); count += 1) budget.attemptFailed();
  return count;
};

describe("EitherBudget", () => {
  it("grants what the first grants, then what the second grants, then nothing", () => {
    const { budget, share, tokens } = setup();
    expect(withdrawAll(budget)).toBe(5);
    for (let call = 0; call < 100; call += 1) budget.callStarted();
    expect(budget.stats.availableCount).toBe(10);
    expect(withdrawAll(budget)).toBe(10);
    expect(budget.stats).toMatchObject({ withdrawnCount: 15, deniedCount: 2, availableCount: 0 });
    expect(tokens.stats.withdrawnCount).toBe(5);
    expect(share.stats.withdrawnCount).toBe(10);
  });

  it("recovers with successes", () => {
    const { budget } = setup();
    withdrawAll(budget);
    for (let success = 0; success < 100; success += 1) budget.attemptSucceeded();
    expect(budget.tryWithdraw()).toBe(true);
  });
});
