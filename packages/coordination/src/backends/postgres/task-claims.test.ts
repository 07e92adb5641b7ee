import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { Notifier } from "../../notifier.ts";
import type { StatementRunner } from "./statement-runner.ts";
import { TaskClaims } from "./task-claims.ts";

/** Claims from a queue that never ends; says after which due time and seq each of them looked. */
const setUp = () => {
  let seq = 0;
  const looked: unknown[] = [];
  const statements = {
    run: async (_name: string, values: readonly unknown[]) => {
      looked.push(values.slice(9, 11));
      seq += 1;
      return [{ id: `task-${seq}`, keep: false, priority: 1, run_us: 1000, seq: `${seq}` }];
    },
  } as unknown as StatementRunner;
  const claims = new TaskClaims("q", { statements, notifier: {} as Notifier, clock: new VirtualClock() });
  return {
    claims,
    /** After what a claim of these types looked. */
    claim: async (types?: readonly string[]) => {
      await claims.claim({
        worker: "w",
        maxCount: 1,
        leaseMs: 1000,
        ...(types === undefined ? {} : { types }),
      });
      return looked.at(-1);
    },
  };
};

const BEGINNING = [null, null];

describe("claims of a queue", () => {
  it("go on where the last one that asked for the same types ended, whoever else claims between them", async () => {
    const { claim } = setUp();
    for (const types of [["a"], ["a", "b"], undefined, ["*"]]) expect(await claim(types)).toEqual(BEGINNING);
    expect(await claim(["a"])).toEqual([1000, "1"]);
    expect(await claim(["a", "b"])).toEqual([1000, "2"]);
    expect(await claim()).toEqual([1000, "3"]);
    expect(await claim(["*"])).toEqual([1000, "4"]);
    expect(await claim(["a"])).toEqual([1000, "5"]);
  });

  it("all look from the beginning once tasks came back", async () => {
    const { claims, claim } = setUp();
    await claim(["a"]);
    await claim(["b"]);
    claims.lookAgain();
    expect(await claim(["a"])).toEqual(BEGINNING);
    expect(await claim(["b"])).toEqual(BEGINNING);
    expect(await claim(["a"])).toEqual([1000, "3"]);
  });

  it("remember where they were for the 16 sets of types that were asked for last", async () => {
    const { claim } = setUp();
    for (let n = 1; n <= 16; n += 1) await claim([`type-${n}`]);
    expect(await claim(["type-1"])).toEqual([1000, "1"]);
    await claim(["type-17"]);
    expect(await claim(["type-1"])).toEqual([1000, "17"]);
    expect(await claim(["type-2"])).toEqual(BEGINNING);
  });
});
