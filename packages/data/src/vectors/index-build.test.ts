import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { Database } from "../sql/database.ts";
import { describeTable } from "./collection-table.ts";
import { buildIndex } from "./index-build.ts";

/** A server with one row for each question, and what it was told to do. */
const serverOf = (answers: {
  readonly status: () => readonly object[];
  readonly isBeingBuilt?: () => boolean;
  readonly analyze?: () => void;
}) => {
  const commands: string[] = [];
  const query = async (text: string): Promise<readonly object[]> => {
    const word = /^\s*(CREATE INDEX|DROP INDEX|ANALYZE)/.exec(text)?.[1];
    if (word !== undefined) commands.push(word);
    if (word === "ANALYZE") answers.analyze?.();
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
  const database = { kind: "postgres", query } as unknown as Database;
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
});
