import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DirectoryRepository } from "./directory-repository.ts";
import { runDrill } from "./drill.ts";
import { RecordStore, type StoredRecord } from "./record-store.ts";

const RECORD: StoredRecord = {
  id: "20260101-000000-0000",
  label: undefined,
  startedAt: "2026-01-01T00:00:00.000Z",
  finishedAt: "2026-01-01T00:00:00.000Z",
  systemIdentifier: "1",
  serverVersion: "15.0",
  timeline: 1,
  startLsn: "0/2000028",
  stopLsn: "0/2000100",
  sizeBytes: 1,
  verifiedAt: undefined,
  isArchived: true,
  segmentBytes: 1 << 24,
};

describe("a directory of backups", () => {
  let root: string;
  let base: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "holdfast-repository-"));
    base = join(root, "base");
    await mkdir(base);
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it("leaves nothing beside a record that could not be replaced", async () => {
    const store = new RecordStore({ root, runAs: undefined });
    const directory = join(base, RECORD.id);
    // Nothing can take its place.
    await mkdir(join(directory, "backup.json"), { recursive: true });
    await expect(store.write(RECORD)).rejects.toMatchObject({ syscall: "rename" });
    expect(await readdir(directory)).toEqual(["backup.json"]);
  });

  it("removes also what an earlier removal that was cut off has left", async () => {
    const store = new RecordStore({ root, runAs: undefined });
    await mkdir(join(base, RECORD.id));
    await store.write(RECORD);
    await mkdir(join(base, ".20250101-000000-0000.gone"));
    await writeFile(join(base, ".20250101-000000-0000.gone", "PG_VERSION"), "15\n");
    const repository = new DirectoryRepository({ directory: root });
    expect(await repository.prune()).toMatchObject({ kept: [RECORD.id], removed: [] });
    expect(await readdir(base)).toEqual([RECORD.id]);
  });

  it("goes on where another process has removed a backup in between", async () => {
    const store = new RecordStore({ root, runAs: undefined });
    for (const day of ["01", "02", "03"]) {
      const id = `202601${day}-000000-0000`;
      await mkdir(join(base, id));
      await store.write({ ...RECORD, id, finishedAt: `2026-01-${day}T00:00:00.000Z` });
    }
    const none = { dailyCount: 0, weeklyCount: 0, monthlyCount: 0 };
    const repositories = [1, 2].map(() => new DirectoryRepository({ directory: root }));
    const reports = await Promise.all(repositories.map((repository) => repository.prune(none)));
    expect(reports.map(({ kept }) => kept)).toEqual([["20260103-000000-0000"], ["20260103-000000-0000"]]);
    expect(await readdir(base)).toEqual(["20260103-000000-0000"]);
  });

  it.each([
    Number.NaN,
    -1,
    0.5,
    Number.POSITIVE_INFINITY,
  ])("refuses to wait %d ms for the log", (archiveTimeoutMs) => {
    expect(() => new DirectoryRepository({ directory: root, archiveTimeoutMs })).toThrow(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "archiveTimeoutMs" }),
    );
  });

  it.each([
    ["dataLossMaxMs", Number.NaN],
    ["downtimeMaxMs", 0],
  ])("refuses a drill with %s %d before anything is noted", async (field, value) => {
    const repository = new DirectoryRepository({ directory: root });
    const failed = runDrill({ repository, directory: join(root, "copy"), [field]: value });
    await expect(failed).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT", field });
    expect(await repository.recoveries()).toEqual([]);
  });

  it("leaves nothing of evidence that could not be written", async () => {
    const evidenceFile = join(root, "evidence.json");
    await mkdir(evidenceFile);
    const repository = new DirectoryRepository({ directory: root });
    const failed = runDrill({ repository, directory: join(root, "copy"), evidenceFile });
    await expect(failed).rejects.toMatchObject({ syscall: "rename" });
    await expect(stat(`${evidenceFile}.part`)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
