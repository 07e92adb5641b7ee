import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import type { Database } from "../sql/database.ts";
import { describeTable } from "./collection-table.ts";
import { buildIndex } from "./index-build.ts";

/** A server with one row for each question, and what it was told to do. */
const serverOf = (answers: {
  readonly status: () => readonly object[];
  readonly isBeingBuilt?: () => boolean;
  readonly create?: () => void;
  readonly analyze?: () => void;
}) => {
  const commands: string[] = [];
  const query = async (text: string): Promise<readonly object[]> => {
    const word = /^\s*(CREATE INDEX|DROP INDEX|ANALYZE)/.exec(text)?.[1];
    if (word !== undefined) commands.push(word);
    if (word === "ANALYZE") answers.analyze?.();
    if (word === "CREATE INDEX") answers.create?.();
    if (text.includes("indisvalid")) return answers.status();
    if (text.includes("index_relid")) return answers.isBeingBuilt?.() === true ? [{}] : [];
    if (text.includes("maintenance_work_mem")) return [{ available: "1000000", rows: 10, pages: "1" }];
    return [];
  };
  const table = describeTable({
    table: "items",
    shape: { type: "vector", dimensions: 3, distance: "l2" },
    columns: {},
  });
  const stats = () => ({ sessionMaxCount: 1 });
  const database = { kind: "postgres", query, stats } as unknown as Database;
  return { build: { database, table, clock: new VirtualClock() }, commands };
};

describe("building a vector index", () => {
  it("keeps an index that another process finishes while we ask whether it is being built", async () => {
    let valid = false;
    const { build, commands } = serverOf({
      status: () => [{ valid, size: "8192" }],
      isBeingBuilt: () => {
        valid = true;
        return false;
      },
    });
    expect(await buildIndex(build, {})).toMatchObject({ isNew: false, isValid: true });
    expect(commands).toEqual([]);
  });

  it("keeps the index that it built when only the statistics could not be renewed", async () => {
    let isThere = false;
    const { build, commands } = serverOf({
      status: () => {
        const rows = isThere ? [{ valid: true, size: "8192" }] : [];
        isThere = true;
        return rows;
      },
      analyze: () => {
        throw new Error("too late");
      },
    });
    await expect(buildIndex(build, {})).rejects.toThrow("too late");
    expect(commands).toEqual(["CREATE INDEX", "ANALYZE"]);
  });

  it.each([
    ["builds on", () => [{ valid: false, size: "0" }], true],
    ["has finished", () => [{ valid: true, size: "8192" }], false],
  ])("that is given up while it waits for the table leaves the index that another process %s", async (_what, found, isBeingBuilt) => {
    let hasFailed = false;
    const { build, commands } = serverOf({
      status: () => (hasFailed ? found() : []),
      isBeingBuilt: () => isBeingBuilt,
      create: () => {
        hasFailed = true;
        throw new Error("not today");
      },
    });
    const failed = expect(buildIndex(build, {})).rejects.toThrow("not today");
    for (let second = 0; second < 12; second += 1) await build.clock.advance(1_000);
    await failed;
    expect(commands).toEqual(["CREATE INDEX"]);
  });

  it("removes what it left, once the server has ended it, and says why it failed also where that is refused", async () => {
    let looks = 0;
    let hasFailed = false;
    const { build, commands } = serverOf({
      status: () => (hasFailed ? [{ valid: false, size: "0" }] : []),
      isBeingBuilt: () => {
        looks += 1;
        return looks < 3;
      },
      create: () => {
        hasFailed = true;
        throw new Error("not today");
      },
    });
    const failed = expect(buildIndex(build, {})).rejects.toThrow("not today");
    await vi.waitFor(async () => {
      await build.clock.advance(100);
      expect(commands).toEqual(["CREATE INDEX", "DROP INDEX"]);
    });
    await failed;
  });

  it.each([
    2_047,
    2_048,
    4_096,
    1 << 20,
  ])("counts with %d MiB where it is given so many", async (memoryMb) => {
    const { build } = serverOf({ status: () => [{ valid: true, size: "8192" }] });
    const { memory } = await buildIndex(build, { memoryMb });
    expect(memory).toMatchObject({ fits: true, availableBytes: memoryMb * 1_024 * 1_024, advice: undefined });
  });
});
