import { describe, expect, it } from "vitest";
import { LoadShedder } from "./load-shedder.ts";
import { type OverloadLevel, overloadLevels } from "./overload-level.ts";
import { type Priority, priorities } from "./priority.ts";

const served: Readonly<Record<OverloadLevel, readonly Priority[]>> = {
  healthy: ["critical", "high", "normal", "low"],
  busy: ["critical", "high", "normal"],
  stressed: ["critical", "high"],
  overloaded: ["critical"],
};

describe("LoadShedder", () => {
  for (const level of overloadLevels) {
    for (const priority of priorities) {
      const isServed = served[level].includes(priority);
      it(`${isServed ? "serves" : "sheds"} ${priority} work while ${level}`, async () => {
        const shedder = new LoadShedder({ source: { level } });
        const call = shedder.execute(() => "done", { priority });
        if (isServed) await expect(call).resolves.toBe("done");
        else await expect(call).rejects.toMatchObject({ code: "RESILIENCE_LOAD_SHED", retryAfterMs: 1_000 });
      });
    }
  }

  it("accounts for every offer by priority and reports what it sheds", () => {
    const source: { level: OverloadLevel } = { level: "healthy" };
    const shedder = new LoadShedder({ source });
    const shed: string[] = [];
    shedder.events.on("shed", ({ priority, level }) => shed.push(`${priority} ${level}`));
    for (const level of overloadLevels) {
      source.level = level;
      for (const priority of priorities) shedder.tryAdmit(priority);
    }
    expect(shed).toHaveLength(6);
    expect(shedder.stats.byPriority).toEqual({
      critical: { offeredCount: 4, admittedCount: 4, shedCount: 0 },
      high: { offeredCount: 4, admittedCount: 3, shedCount: 1 },
      normal: { offeredCount: 4, admittedCount: 2, shedCount: 2 },
      low: { offeredCount: 4, admittedCount: 1, shedCount: 3 },
    });
  });

  it("does not start the work of a caller that has already gone", async () => {
    const shedder = new LoadShedder({ source: { level: "healthy" } });
    const signal = AbortSignal.abort(new Error("gone"));
    await expect(shedder.execute(() => "done", { priority: "high", signal })).rejects.toThrow("gone");
    expect(shedder.stats.byPriority.high.offeredCount).toBe(0);
  });

  it("refuses a source without a known level", () => {
    expect(() => new LoadShedder({ source: { level: "fine" as never } })).toThrow(/shedder.source.level/);
  });
});
