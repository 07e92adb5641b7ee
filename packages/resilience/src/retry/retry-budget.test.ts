import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShareBudget, TokenBudget } from "./retry-budget.ts";

describe("ShareBudget", () => {
  it("grants one retry for each five calls, and the credit expires", async () => {
    const clock = new VirtualClock();
    const budget = new ShareBudget({ minPerSecond: 0, clock });
    expect(budget.tryWithdraw()).toBe(false);
    for (let call = 0; call < 10; call += 1) budget.callStarted();
    expect(budget.stats.availableCount).toBe(2);
    expect(budget.tryWithdraw()).toBe(true);
    await clock.advance(10_000);
    expect(budget.stats.availableCount).toBe(0);
    expect(budget.tryWithdraw()).toBe(false);
    expect(budget.stats).toMatchObject({ withdrawnCount: 1, deniedCount: 2 });
  });

  it("lets a quiet client retry from the reserve", () => {
    const budget = new ShareBudget({ clock: new VirtualClock() });
    expect(budget.stats.availableCount).toBe(100);
  });

  it("adds at most a fifth to the calls when everything fails, over any run of calls", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 100 }), async (gaps) => {
        const clock = new VirtualClock();
        const budget = new ShareBudget({ minPerSecond: 0, clock });
        let retries = 0;
        let calls = 0;
        for (const gap of gaps) {
          await clock.advance(gap);
          calls += 1;
          budget.callStarted();
          for (let attempt = 0; attempt < 3 && budget.tryWithdraw(); attempt += 1) retries += 1;
          expect(retries).toBeLessThanOrEqual(0.2 * calls + 1e-6);
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe("TokenBudget", () => {
  it("stops retries once half of the tokens went on failures and resumes with successes", () => {
    const budget = new TokenBudget();
    let granted = 0;
    for (let failure = 0; failure < 200; failure += 1) {
      budget.attemptFailed();
      if (budget.tryWithdraw()) granted += 1;
    }
    expect(granted).toBe(49);
    for (let success = 0; success < 499; success += 1) budget.attemptSucceeded();
    expect(budget.tryWithdraw()).toBe(false);
    for (let success = 0; success < 11; success += 1) budget.attemptSucceeded();
    expect(budget.tryWithdraw()).toBe(true);
    expect(budget.stats.withdrawnCount + budget.stats.deniedCount).toBe(202);
  });

  it("refuses numbers out of range, naming them", () => {
    expect(() => new TokenBudget({ tokenMax: 0 })).toThrow(/budget.tokenMax/);
    expect(() => new TokenBudget({ threshold: 1 })).toThrow(/budget.threshold/);
    expect(() => new ShareBudget({ share: -1 })).toThrow(/budget.share/);
  });
});
