import { simulate } from "@holdfast/testkit/simulator";
import { describe, expect, it } from "vitest";

describe("the cluster simulation", () => {
  it("brings every job to its end on a calm network", async () => {
    const run = await simulate({ seed: 1, faultsForMs: 0, jobCount: 6 });
    expect(run.violations).toEqual([]);
  });

  it("replays exactly from its seed", async () => {
    const first = await simulate({ seed: 7, faultsForMs: 20_000 });
    const second = await simulate({ seed: 7, faultsForMs: 20_000 });
    expect(second).toEqual(first);
  });

  it("loses, repeats and doubles nothing while nodes die and frames are lost, over thousands of virtual seconds", async () => {
    // Seeds that once showed a bug come first. 4: a wait too short for the clock; 869: a dependency left out of
    // the result, because it was asked for while the gate saw no worker.
    for (const seed of [4, 869]) expect((await simulate({ seed })).violations, `seed ${seed}`).toEqual([]);
    let virtualMs = 0;
    for (let seed = 1; virtualMs < 2_000_000; seed += 1) {
      const run = await simulate({ seed });
      expect(run.violations, `seed ${seed}; replay with: npm run sim -- --seed ${seed}`).toEqual([]);
      // A run in which nothing broke proves nothing.
      expect(run.faults, `faults of seed ${seed}`).toBeGreaterThan(10);
      virtualMs += run.virtualMs;
    }
  }, 120_000);
});
