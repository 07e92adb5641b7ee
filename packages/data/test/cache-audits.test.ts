import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";
import { Gate } from "./cache-naive.ts";
import { cacheOver } from "./cache-over-store.ts";

describe("an audit", () => {
  it.each([
    ["a copy", 1_000],
    ["the shared entry", 0],
  ])("of %s says nothing when the entry was changed, told and filled anew while it asked the source", async (_what, maxStalenessMs) => {
    const clock = new VirtualClock();
    const random = seededRandom(5);
    const options = { name: "test", maxStalenessMs, audit: { ratio: 1, delayMs: 1_000 } };
    const store = new MemoryStore({ state: new MemoryState({ random }), clock, random });
    await using cache = cacheOver(store, options, { clock, random });
    await cache.start();
    const found: string[] = [];
    cache.events.on("inconsistent", ({ key }) => found.push(key));
    let row = "old";
    await cache.get("k", { load: () => row });
    // The audit of this hit asks the source, and the answer is late.
    const gate = new Gate();
    const late = async (): Promise<string> => {
      await gate.pass();
      return row;
    };
    expect(await cache.get("k", { load: late })).toBe("old");
    await gate.arrived;
    row = "new";
    await cache.invalidate({ keys: ["k"] });
    expect(await cache.get("k", { load: () => row, maxStalenessMs: 0 })).toBe("new");
    gate.open();
    await clock.advance(3_000);
    expect(cache.stats()).toMatchObject({ auditCount: 1, inconsistentCount: 0 });
    expect(found).toEqual([]);
  });
});
