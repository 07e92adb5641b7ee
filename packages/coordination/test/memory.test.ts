import { createMemoryStore, type MemoryTx } from "@holdfast/coordination/memory";
import { coordinationSuite, type SetUp } from "@holdfast/coordination/testing";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe } from "vitest";

const setUp: SetUp<MemoryTx> = async () => {
  const clock = new VirtualClock();
  const store = createMemoryStore({ clock, random: seededRandom(1) });
  return {
    store,
    elapse: (ms) => clock.advance(ms),
    runsBesideTransactions: false,
    [Symbol.asyncDispose]: () => store.close(),
  };
};

describe("the memory store", () => coordinationSuite(setUp));
