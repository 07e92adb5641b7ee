import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DirectoryRepository } from "./directory-repository.ts";
import { archiveCommand, pruneLog, reportLog, segmentName } from "./log-archive.ts";

const BYTES = 1 << 24;

describe("the log archive", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "holdfast log's "));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("names the segment of a position as the server does", () => {
    expect(segmentName(1, "0/2000028", BYTES)).toBe("000000010000000000000002");
    expect(segmentName(10, "1/FF000000", BYTES)).toBe("0000000A00000001000000FF");
    expect(segmentName(1, "1/40000000", 1 << 30)).toBe("000000010000000100000001");
  });

  it("takes a segment once, the same one again, and never another in its place", async () => {
    const command = (path: string): string =>
      archiveCommand(directory).replaceAll("%p", path).replaceAll("%f", "000000010000000000000001");
    const run = (path: string): number => {
      try {
        execFileSync("sh", ["-c", command(path)], { stdio: "ignore", cwd: directory });
        return 0;
      } catch (error) {
        return (error as { status: number }).status;
      }
    };
    await writeFile(join(directory, "first"), "one");
    await writeFile(join(directory, "second"), "two");
    expect([run("first"), run("first"), run("second")]).toEqual([0, 0, 1]);
    expect(await readFile(join(directory, "000000010000000000000001"), "utf8")).toBe("one");
    expect(() => archiveCommand("/has%percent")).toThrow(/percent/);
  });

  it("finds gaps over a change of timeline, and segments that were cut", async () => {
    const log = join(directory, "log");
    execFileSync("mkdir", [log]);
    const add = (name: string, bytes = 16) => writeFile(join(log, name), Buffer.alloc(bytes));
    // With segments of 16 bytes only the names matter; four gigabytes hold 2^28 of them.
    const name = (timeline: number, number: number): string =>
      segmentName(timeline, `0/${(number * 16).toString(16)}`, 16);
    await Promise.all([
      add(name(1, 3)),
      add(name(1, 4)),
      add(name(2, 5)),
      add(name(2, 7)),
      add(name(2, 8), 3),
      add("00000002.history"),
    ]);
    const report = await reportLog(log, name(1, 3), 16);
    expect(report).toMatchObject({ segmentCount: 5, first: name(1, 3), last: name(2, 8) });
    expect(report?.missing).toEqual([name(2, 6), name(2, 8)]);
    expect(await pruneLog(log, [name(1, 5)])).toBe(2);
    expect(await reportLog(log, name(1, 9), 16)).toBeUndefined();
  });

  it("keeps what a backup needs that was made after the server was put back to an earlier point", async () => {
    const root = await mkdtemp(join(directory, "restored"));
    const repository = new DirectoryRepository({ directory: root });
    await repository.prepare();
    const name = (timeline: number, number: number): string =>
      segmentName(timeline, `0/${(number * 16).toString(16)}`, 16);
    const backUp = async (id: string, timeline: number, number: number): Promise<void> => {
      const record = {
        id,
        timeline,
        startLsn: `0/${(number * 16).toString(16)}`,
        segmentBytes: 16,
        finishedAt: `2026-11-${id}T00:00:00.000Z`,
      };
      await mkdir(join(root, "base", id));
      await writeFile(join(root, "base", id, "backup.json"), JSON.stringify(record));
    };
    await backUp("20", 1, 9);
    await backUp("21", 2, 6);
    const segments = [name(1, 5), name(1, 6), name(1, 9), name(2, 6), name(2, 8)];
    for (const segment of segments) await writeFile(join(repository.logDirectory, segment), Buffer.alloc(16));
    expect(await repository.prune()).toEqual({ kept: ["20", "21"], removed: [], removedSegmentCount: 1 });
    expect(await readdir(repository.logDirectory)).toEqual(segments.slice(1));
    // What is there of the timeline that was left does not stand in for the other's.
    expect((await repository.log("21"))?.missing).toEqual([name(2, 7)]);
    await rm(join(repository.logDirectory, name(2, 6)));
    expect((await repository.log("21"))?.missing).toEqual([name(2, 6), name(2, 7)]);
  });
});
