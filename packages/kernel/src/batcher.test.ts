import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Deferred, deferred } from "./abort.ts";
import { Batcher, type BatcherOptions } from "./batcher.ts";
import { ClosedError, OverloadedError } from "./errors.ts";

/** A batcher whose batches end when the test says so. */
const setUp = (options: Partial<BatcherOptions<string, string>> = {}) => {
  const batches: {
    readonly items: readonly string[];
    readonly done: Deferred<readonly (string | Error)[]>;
  }[] = [];
  const batcher = new Batcher<string, string>({
    name: "commits",
    batchMaxCount: 3,
    pendingMaxCount: 4,
    run: (items) => {
      const done = deferred<readonly (string | Error)[]>();
      batches.push({ items, done });
      return done.promise;
    },
    ...options,
  });
  const finish = async (index: number): Promise<void> => {
    batches[index]?.done.resolve(batches[index]?.items.map((item) => item.toUpperCase()) ?? []);
    // The answers, and then the next batch.
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { batcher, batches, finish };
};

describe("a batcher", () => {
  it("takes what was added in one turn together, and gives each caller its own result", async () => {
    const { batcher, batches, finish } = setUp();
    const answers = ["a", "b"].map((item) => batcher.add(item));
    await Promise.resolve();
    expect(batches.map(({ items }) => items)).toEqual([["a", "b"]]);
    await finish(0);
    await expect(Promise.all(answers)).resolves.toEqual(["A", "B"]);
  });

  it("runs one batch at a time, in the order of adding, none larger than the bound", async () => {
    const { batcher, batches, finish } = setUp({ pendingMaxCount: 10 });
    const answers = [..."abcdefg"].map((item) => batcher.add(item));
    await Promise.resolve();
    expect(batches).toHaveLength(1);
    await finish(0);
    expect(batches).toHaveLength(2);
    await finish(1);
    await finish(2);
    expect(batches.map(({ items }) => items.join(""))).toEqual(["abc", "def", "g"]);
    await expect(Promise.all(answers)).resolves.toEqual([..."ABCDEFG"]);
  });

  it("refuses what waits beyond its bound, at once and retryable, and takes it again later", async () => {
    const { batcher, finish } = setUp();
    const taken = [..."abcd"].map((item) => batcher.add(item));
    const refusal = await batcher.add("e").catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(OverloadedError);
    expect(refusal).toMatchObject({ retryable: true, details: { what: "commits", limit: 4 } });
    // The refusal came after the first batch had begun: three are under way, one waits.
    expect(batcher.pendingCount).toBe(1);
    await finish(0);
    taken.push(batcher.add("e"));
    await finish(1);
    await finish(2);
    await expect(Promise.all(taken)).resolves.toEqual([..."ABCDE"]);
  });

  it("ends a batch before the item that would make it too heavy, and sends a heavier one alone", async () => {
    const { batcher, batches, finish } = setUp({
      pendingMaxCount: 10,
      weigh: (item) => item.length,
      batchMaxWeight: 4,
    });
    const answers = ["aa", "bb", "c", "dddddd", "e"].map((item) => batcher.add(item));
    await Promise.resolve();
    for (let index = 0; index < 4; index += 1) await finish(index);
    expect(batches.map(({ items }) => items)).toEqual([["aa", "bb"], ["c"], ["dddddd"], ["e"]]);
    await Promise.all(answers);
  });

  it("rejects one item alone when its result is an Error", async () => {
    const { batcher, batches } = setUp();
    const answers = Promise.allSettled(["a", "b"].map((item) => batcher.add(item)));
    await Promise.resolve();
    const failure = new Error("only a");
    batches[0]?.done.resolve([failure, "B"]);
    await expect(answers).resolves.toEqual([
      { status: "rejected", reason: failure },
      { status: "fulfilled", value: "B" },
    ]);
  });

  it("rejects a whole batch whose run throws, and goes on with the next", async () => {
    const { batcher, batches, finish } = setUp();
    const answers = Promise.allSettled([..."abcd"].map((item) => batcher.add(item)));
    await Promise.resolve();
    const failure = new Error("store away");
    batches[0]?.done.reject(failure);
    await new Promise((resolve) => setImmediate(resolve));
    await finish(1);
    expect(
      (await answers).map((answer) => (answer.status === "fulfilled" ? answer.value : answer.reason)),
    ).toEqual([failure, failure, failure, "D"]);
  });

  it("refuses an item that cannot be weighed, alone, and goes on with the others", async () => {
    const weigh = (item: string): number => {
      if (item === "b") throw new TypeError("no weight");
      return 1;
    };
    const { batcher, finish } = setUp({ weigh, batchMaxWeight: 2 });
    const answers = Promise.allSettled([..."abc"].map((item) => batcher.add(item)));
    await Promise.resolve();
    await finish(0);
    expect((await answers).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  });

  it("gives nobody a result when there is not one for each", async () => {
    const { batcher, batches, finish } = setUp();
    const answers = Promise.allSettled([..."ab"].map((item) => batcher.add(item)));
    await Promise.resolve();
    batches[0]?.done.resolve(["A"]);
    expect((await answers).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const next = batcher.add("c");
    await Promise.resolve();
    await finish(1);
    expect(await next).toBe("C");
  });

  it("finishes what it took in before it is closed, and takes nothing after", async () => {
    const { batcher, finish } = setUp();
    const answers = [..."abcd"].map((item) => batcher.add(item));
    await Promise.resolve();
    let closed = false;
    const closing = batcher.close().then(() => {
      closed = true;
    });
    await expect(batcher.add("late")).rejects.toBeInstanceOf(ClosedError);
    await finish(0);
    expect(closed).toBe(false);
    await finish(1);
    await closing;
    await batcher.close();
    await expect(Promise.all(answers)).resolves.toEqual([..."ABCD"]);
  });

  it("answers every item once, in order and within its bounds, however adding and finishing interleave", async () => {
    const steps = fc.array(fc.oneof(fc.constant("finish" as const), fc.integer({ min: 1, max: 6 })), {
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(steps, async (script) => {
        const { batcher, batches, finish } = setUp({ batchMaxCount: 3, pendingMaxCount: 5 });
        const taken: string[] = [];
        const answers: Promise<string>[] = [];
        let finished = 0;
        for (const step of script) {
          if (step === "finish") {
            if (finished < batches.length) await finish(finished++);
            continue;
          }
          for (let count = 0; count < step; count += 1) {
            const item = `i${answers.length}`;
            const isRoom = batcher.pendingCount < 5;
            const answer = batcher.add(item);
            if (isRoom) {
              taken.push(item);
              answers.push(answer);
            } else await expect(answer).rejects.toBeInstanceOf(OverloadedError);
          }
          await new Promise((resolve) => setImmediate(resolve));
          expect(batches.length - finished).toBeLessThanOrEqual(1);
        }
        while (finished < batches.length) await finish(finished++);
        expect(batches.flatMap(({ items }) => items)).toEqual(taken);
        expect(batches.every(({ items }) => items.length <= 3)).toBe(true);
        await expect(Promise.all(answers)).resolves.toEqual(taken.map((item) => item.toUpperCase()));
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ["batchMaxCount", 0],
    ["batchMaxCount", Number.NaN],
    ["batchMaxCount", 1.5],
    ["pendingMaxCount", Number.NaN],
    ["pendingMaxCount", 0],
    ["batchMaxWeight", Number.NaN],
    ["batchMaxWeight", -1],
  ])("refuses a %s of %s, naming both", (field, value) => {
    expect(() => setUp({ [field]: value })).toThrow(expect.objectContaining({ field: `commits.${field}` }));
  });

  it("refuses an item whose weight is no number, and takes the next", async () => {
    const { batcher, batches } = setUp({ weigh: (item) => Number(item), batchMaxWeight: 3 });
    await expect(batcher.add("heavy")).rejects.toMatchObject({ field: "commits.weight" });
    batcher.add("2").catch(() => undefined);
    await Promise.resolve();
    expect(batches.map(({ items }) => items)).toEqual([["2"]]);
  });
});
