import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe } from "vitest";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";
import { sharedStoreSuite } from "./cache-store.suite.ts";

describe("the shared store in memory", () => {
  sharedStoreSuite(async () => {
    const clock = new VirtualClock();
    const random = seededRandom(1);
    const state = new MemoryState({ random });
    return {
      open: () => new MemoryStore({ state, clock, random }),
      settle: async () => undefined,
      endLease: async (key) => {
        state.leases.delete(key);
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  });
});
