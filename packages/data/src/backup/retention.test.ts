import { describe, expect, it } from "vitest";
import { PgBackRestRepository } from "./pgbackrest-repository.ts";
import type { BackupRecord } from "./repository.ts";
import { keptBackups } from "./retention.ts";

const DAY_MS = 86_400_000;
const START = Date.parse("2026-01-01T02:00:00Z");

const daily = (count: number, verified: (day: number) => boolean = () => true): readonly BackupRecord[] =>
  Array.from({ length: count }, (_, day) => {
    const at = new Date(START + day * DAY_MS).toISOString();
    return {
      id: at.slice(0, 10),
      label: undefined,
      startedAt: at,
      finishedAt: at,
      systemIdentifier: "1",
      serverVersion: "15.0",
      timeline: 1,
      startLsn: "0/0",
      stopLsn: "0/0",
      sizeBytes: 1,
      verifiedAt: verified(day) ? at : undefined,
      isArchived: true,
    };
  });

describe("retention", () => {
  it("keeps the newest of each of the last days, weeks and months", () => {
    const kept = [...keptBackups(daily(200), { dailyCount: 3, weeklyCount: 2, monthlyCount: 3 })].sort();
    // 200 days from 2026-01-01 end on 2026-07-19, a Sunday.
    expect(kept).toEqual([
      "2026-05-31",
      "2026-06-30",
      "2026-07-12",
      "2026-07-17",
      "2026-07-18",
      "2026-07-19",
    ]);
  });

  it("keeps seven days, four weeks and six months by default", () => {
    expect(keptBackups(daily(400), {}).size).toBe(13);
    expect(keptBackups(daily(5), {}).size).toBe(5);
  });

  it("keeps the newest and the newest verified one, whatever the policy says", () => {
    const backups = daily(30, (day) => day < 10);
    const none = { dailyCount: 0, weeklyCount: 0, monthlyCount: 0 };
    expect([...keptBackups(backups, none)].sort()).toEqual(["2026-01-10", "2026-01-30"]);
    expect(keptBackups([], none).size).toBe(0);
  });

  it("refuses a policy that is no number", () => {
    expect(() => keptBackups([], { dailyCount: -1 })).toThrow(/dailyCount/);
  });

  it.each([
    -20,
    0.5,
    Number.NaN,
  ])("refuses %d daily backups before pgBackRest is asked to remove any", async (dailyCount) => {
    const repository = new PgBackRestRepository({ stanza: "none" });
    await expect(repository.prune({ dailyCount })).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field: "dailyCount",
    });
  });
});
