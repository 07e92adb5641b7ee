import type { ClaimedTask, TaskPriority, TaskQueue } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { beforeEach, describe, expect, it } from "vitest";
import { FairClaims } from "./fair-claims.ts";

type Claim = Parameters<TaskQueue<unknown>["claim"]>[0];

describe("claims of shards", () => {
  let clock: VirtualClock;
  let queue: TaskQueue<never>;
  let asked: Claim[];
  let claims: FairClaims;
  let onClaim: (options: Claim) => void;
  beforeEach(() => {
    clock = new VirtualClock();
    queue = createMemoryStore({ clock, random: seededRandom(1) }).queue("shards") as unknown as typeof queue;
    asked = [];
    onClaim = () => undefined;
    const claim = (options: Claim): Promise<readonly ClaimedTask[]> => {
      onClaim(options);
      asked.push(options);
      return queue.claim(options as Parameters<typeof queue.claim>[0]);
    };
    claims = new FairClaims({ queue: { claim }, clock, logger: silentLogger, leaseMs: 60_000 });
  });

  const add = (count: number, priority: TaskPriority, type = "work"): Promise<unknown> =>
    queue.enqueue(Array.from({ length: count }, () => ({ type, payload: priority, priority })));
  const take = async (maxCount: number, types = ["work"]): Promise<readonly string[]> => {
    const tasks = await claims.claim({ worker: "w", maxCount, types, kind: types.join("\n") });
    return tasks.map(({ payload }) => String(payload));
  };
  const countsOf = (names: readonly string[]): Readonly<Record<string, number>> => {
    const counts: Record<string, number> = {};
    for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
    return counts;
  };

  it.each([
    1, 3, 8, 64,
  ])("give each priority its share however many are taken at once: %i", async (maxCount) => {
    for (const priority of ["critical", "high", "normal", "low"] as const) await add(600, priority);
    const names: string[] = [];
    while (names.length < 480) names.push(...(await take(maxCount)));
    const counts = countsOf(names);
    for (const priority of ["high", "normal", "low"]) {
      // A 24th is 20; those taken at once come before the turns that they bring.
      expect(counts[priority], priority).toBeGreaterThanOrEqual(Math.floor((names.length - maxCount) / 24));
      expect(counts[priority], priority).toBeLessThanOrEqual(Math.ceil(names.length / 24) + 1);
    }
    expect(counts["critical"]).toBeGreaterThanOrEqual(Math.floor((names.length * 7) / 8));
  });

  it("pass a turn on where nothing waits for it, and look there again within a second", async () => {
    await add(500, "high");
    const names: string[] = [];
    while (names.length < 200) names.push(...(await take(1)));
    expect(countsOf(names)).toEqual({ high: 200 });
    // Two that have nothing, and nobody asks them again: each shard costs one claim.
    const lookedAt = asked.filter(({ priorities }) => priorities !== undefined && priorities[0] !== "high");
    expect(lookedAt.map(({ priorities }) => priorities?.[0])).toEqual(["low", "normal"]);
    await add(1, "low");
    await clock.advance(1_000);
    const next: string[] = [];
    while (next.length < 24) next.push(...(await take(1)));
    expect(next).toContain("low");
  });

  it("count for workers of each kind by themselves", async () => {
    await add(100, "high");
    await add(100, "high", "other");
    await add(1, "low", "other");
    for (let count = 0; count < 40; count += 1) await take(1);
    const names: string[] = [];
    while (names.length < 25) names.push(...(await take(1, ["other"])));
    expect(names.slice(0, 8)).not.toContain("low");
    expect(names).toContain("low");
  });

  it("hand out what was claimed before the store failed, and fail where nothing was", async () => {
    await add(100, "high");
    await add(100, "low");
    for (let count = 0; count < 8; count += 1) await take(1);
    onClaim = ({ priorities }) => {
      if (priorities === undefined) throw new Error("the store is away");
    };
    expect(await take(4)).toEqual(["low"]);
    await expect(take(4)).rejects.toThrow("the store is away");
  });
});
