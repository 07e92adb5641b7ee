import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openEmbedded } from "../src/index.ts";
import { Child } from "./child-process.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** Every file of a directory with its content, to show that nothing changed. */
const contentOf = async (path: string): Promise<Record<string, string>> => {
  const content: Record<string, string> = {};
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath ?? entry.path, entry.name);
    content[file] = entry.isFile() ? (await readFile(file)).toString("base64") : "directory";
  }
  return content;
};

describe("a data directory", () => {
  it("keeps what was committed, from one opening to the next", async () => {
    await using directory = await temporaryDirectory();
    const dataDir = join(directory.path, "made", "on demand");
    const first = await openEmbedded({ dataDir });
    expect(first.durability).toBe("power-loss");
    await first.query("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    await first.close();
    await first.close();
    const second = await openEmbedded({ dataDir, durability: "process-crash" });
    expect(second.durability).toBe("process-crash");
    expect(await second.query("SELECT n FROM t")).toEqual([{ n: 1 }]);
    await second.close();
    await expect(second.query("SELECT 1")).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
  });

  it("is refused to a second opening, naming the process that has it", async () => {
    await using directory = await temporaryDirectory();
    await using _holder = await openEmbedded({ dataDir: directory.path });
    await expect(openEmbedded({ dataDir: directory.path })).rejects.toMatchObject({
      code: "DATA_DIRECTORY_LOCKED",
      pid: process.pid,
      message: expect.stringContaining(`process ${process.pid}`),
    });
  });

  it("is free again after a failed opening", async () => {
    await using directory = await temporaryDirectory();
    await (await openEmbedded({ dataDir: directory.path })).close();
    const control = join(directory.path, "pgdata/global/pg_control");
    const good = await readFile(control);
    await writeFile(control, good.subarray(0, 100));
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(openEmbedded({ dataDir: directory.path })).rejects.toMatchObject({
        code: "DATA_DIRECTORY_INVALID",
        message: expect.stringContaining("PostgreSQL does not start"),
      });
    }
    await writeFile(control, good);
    await (await openEmbedded({ dataDir: directory.path })).close();
  });

  it.each([
    "process-crash",
    "power-loss",
  ] as const)("loses nothing that was acknowledged when its process is killed (%s), and opens for the next", async (durability) => {
    await using directory = await temporaryDirectory();
    let acknowledged = 0;
    for (const rowCount of [5, 80]) {
      await using child = new Child("insert-rows", [directory.path, durability]);
      await child.printed(1 + rowCount);
      if (rowCount === 5) {
        await expect(openEmbedded({ dataDir: directory.path })).rejects.toMatchObject({
          code: "DATA_DIRECTORY_LOCKED",
          pid: child.pid,
        });
      }
      await child.kill();
      acknowledged = Number(child.lines.at(-1));
    }
    await using database = await openEmbedded({ dataDir: directory.path });
    const [row] = await database.query<{ rows: number; last: number; counted: number }>(
      `SELECT count(*)::int AS rows, max(kept.n) AS last, (SELECT n FROM counter) AS counted FROM kept`,
    );
    expect(row?.last).toBeGreaterThanOrEqual(acknowledged);
    // The one that was committed but not yet acknowledged may be there, whole.
    expect(row?.last).toBeLessThanOrEqual(acknowledged + 1);
    expect(row?.rows).toBe(row?.last);
    expect(row?.counted).toBe(row?.last);
    expect(await database.query("SELECT n FROM kept WHERE v = $1", [`row ${acknowledged}`])).toEqual([
      { n: acknowledged },
    ]);
  });

  describe("that cannot be used", () => {
    const refused = async (
      dataDir: string,
      expected: Record<string, unknown>,
      root = dataDir,
    ): Promise<void> => {
      const before = await contentOf(root);
      await expect(openEmbedded({ dataDir })).rejects.toMatchObject(expected);
      expect(await contentOf(root)).toEqual(before);
    };
    const marker = {
      product: "holdfast",
      format: 1,
      postgresMajor: 18,
      databaseId: "0".repeat(32),
      createdAt: "2026-01-01T00:00:00.000Z",
      complete: true,
    };

    it("because a newer version wrote it, is named and left alone", async () => {
      await using directory = await temporaryDirectory();
      const file = join(directory.path, "holdfast.json");
      await writeFile(file, JSON.stringify({ ...marker, format: 2 }));
      await refused(directory.path, {
        code: "DATA_DIRECTORY_TOO_NEW",
        message: expect.stringContaining("format 2"),
      });
      await writeFile(file, JSON.stringify({ ...marker, postgresMajor: 19 }));
      await refused(directory.path, {
        code: "DATA_DIRECTORY_TOO_NEW",
        message: expect.stringContaining("PostgreSQL 19"),
      });
    });

    it("because it is damaged or somebody else's, is named and left alone", async () => {
      await using directory = await temporaryDirectory();
      const file = join(directory.path, "holdfast.json");
      const invalid = (text: string): Record<string, unknown> => ({
        code: "DATA_DIRECTORY_INVALID",
        message: expect.stringContaining(text),
      });
      await writeFile(join(directory.path, "diary.txt"), "dear diary");
      await refused(directory.path, invalid("diary.txt"));
      await refused(join(directory.path, "diary.txt"), invalid("is a file"), directory.path);
      for (const text of ["", "{", "[]", '{"product":"other"}', '{"product":"holdfast","format":"1"}']) {
        await writeFile(file, text);
        await refused(directory.path, invalid("holdfast.json is damaged"));
      }
      await writeFile(file, JSON.stringify({ ...marker, postgresMajor: 17 }));
      await refused(directory.path, invalid("PostgreSQL 17"));
      await writeFile(file, JSON.stringify(marker));
      await refused(directory.path, invalid("pgdata) is missing"));
    });
  });

  it("whose creation was interrupted is created anew", async () => {
    await using directory = await temporaryDirectory();
    await (await openEmbedded({ dataDir: directory.path })).close();
    const file = join(directory.path, "holdfast.json");
    const { complete: _complete, ...started } = JSON.parse(await readFile(file, "utf8"));
    for (const [half, marker] of [
      ["pgdata.new", started],
      ["pgdata", started],
    ] as const) {
      await rm(join(directory.path, "pgdata"), { recursive: true });
      await mkdir(join(directory.path, half, "base"), { recursive: true });
      await writeFile(join(directory.path, half, "PG_VERSION"), "18\n");
      await writeFile(file, JSON.stringify(marker));
      await using database = await openEmbedded({ dataDir: directory.path });
      expect(await database.query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
    }
    expect(await readdir(directory.path)).toEqual(["holdfast.json", "pgdata"]);
  });
});
