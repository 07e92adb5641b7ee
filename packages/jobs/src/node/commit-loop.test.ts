import { deferred, silentLogger } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { CommitLoop } from "./commit-loop.ts";

const loopOf = (
  commit: (items: readonly string[]) => Promise<readonly (string | Error)[]>,
  change: { readonly pendingMaxCount?: number; readonly mayBeOneItem?: boolean } = {},
) => {
  const failures: (readonly string[])[] = [];
  const loop = new CommitLoop<string, string>({
    name: "test",
    commit,
    onFailure: (items) => failures.push(items),
    mayBeOneItem: () => change.mayBeOneItem ?? true,
    logger: silentLogger,
    pendingMaxCount: change.pendingMaxCount ?? 100,
    weigh: (item) => item.length,
    batchMaxWeight: 10,
  });
  return { loop, failures };
};

describe("a commit loop", () => {
  it("commits in one batch what arrives while another is under way", async () => {
    const batches: (readonly string[])[] = [];
    const gate = deferred<void>();
    const { loop } = loopOf(async (items) => {
      batches.push(items);
      if (batches.length === 1) await gate.promise;
      return items.map((item) => item.toUpperCase());
    });
    const first = loop.add("a");
    await Promise.resolve();
    await Promise.resolve();
    const others = ["b", "c", "d"].map((item) => loop.add(item));
    gate.resolve();
    expect(await Promise.all([first, ...others])).toEqual(["A", "B", "C", "D"]);
    expect(batches).toEqual([["a"], ["b", "c", "d"]]);
    expect(loop.stats).toEqual({ batches: 2, items: 4, failures: 0 });
  });

  it("lets a heavy item go alone", async () => {
    const batches: (readonly string[])[] = [];
    const { loop } = loopOf(async (items) => {
      batches.push(items);
      return items;
    });
    await Promise.all(
      ["aaa", "bbb", "x".repeat(50), "ccc", "ddd", "eeee", "f"].map((item) => loop.add(item)),
    );
    expect(batches).toEqual([["aaa", "bbb"], ["x".repeat(50)], ["ccc", "ddd", "eeee"], ["f"]]);
  });

  it("lets an item that the store refuses fail alone", async () => {
    const { loop, failures } = loopOf(async (items) => {
      if (items.includes("bad")) throw new Error("refused");
      return items;
    });
    const settled = await Promise.allSettled(["a", "bad", "b"].map((item) => loop.add(item)));
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(failures).toEqual([["a", "bad", "b"], ["bad"]]);
  });

  it("does not try items alone when the store is away", async () => {
    let calls = 0;
    const commit = async (): Promise<readonly string[]> => {
      calls += 1;
      throw new Error("away");
    };
    const { loop } = loopOf(commit, { mayBeOneItem: false });
    const settled = await Promise.allSettled(["a", "b"].map((item) => loop.add(item)));
    expect(settled.every(({ status }) => status === "rejected")).toBe(true);
    expect(calls).toBe(1);
  });

  it("refuses more than may wait, and everything after it was closed", async () => {
    const gate = deferred<void>();
    const { loop } = loopOf(
      async (items) => {
        await gate.promise;
        return items;
      },
      { pendingMaxCount: 2 },
    );
    const first = loop.add("a");
    await Promise.resolve();
    await Promise.resolve();
    const waiting = [loop.add("b"), loop.add("c")];
    expect(loop.fill).toBe(1);
    await expect(loop.add("d")).rejects.toMatchObject({ code: "KERNEL_OVERLOADED", retryable: true });
    const closed = loop.close();
    await expect(loop.add("e")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    gate.resolve();
    await closed;
    expect(await Promise.all([first, ...waiting])).toEqual(["a", "b", "c"]);
  });
});
