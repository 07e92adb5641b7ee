import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { RecoveryLog } from "./recovery-log.ts";

const setup = async () => {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-recoveries-"));
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const open = (logger = silentLogger, file = join(directory, "made", "recoveries.jsonl")): RecoveryLog =>
    new RecoveryLog({ file, runAs: undefined, clock, random, logger });
  return {
    clock,
    open,
    file: join(directory, "made", "recoveries.jsonl"),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
};

const latest = { kind: "latest" } as const;

describe("the record of recoveries", () => {
  it("keeps target, backup, start, state and end in the order of the calls, whichever ends first", async () => {
    await using room = await setup();
    const log = room.open();
    let endSlow = (): void => undefined;
    const time = new Date("2026-11-21T06:30:00.000Z");
    const slow = log.record(
      { kind: "restore", target: { kind: "time", time }, backupId: "b1", directory: "/slow" },
      () =>
        new Promise<void>((resolve) => {
          endSlow = resolve;
        }),
      () => ({}),
    );
    await vi.waitFor(async () => expect(await log.list()).toHaveLength(1));
    await room.clock.advance(1_000);
    await log.record(
      { kind: "drill", target: latest, backupId: undefined, directory: "/quick" },
      async () => "b2",
      (backupId) => ({ backupId, state: "failed", problem: "too slow", dataLossMs: 5, downtimeMs: 7 }),
    );
    await expect(
      log.record(
        { kind: "restore", target: latest, backupId: undefined, directory: "/refused" },
        () => Promise.reject(new Error("no such backup")),
        () => ({}),
      ),
    ).rejects.toThrow("no such backup");
    const reopened = room.open();
    expect(await reopened.list()).toMatchObject([
      { kind: "restore", target: { kind: "time", time }, backupId: "b1", state: "in-progress" },
      { kind: "drill", backupId: "b2", state: "failed", problem: "too slow", dataLossMs: 5, downtimeMs: 7 },
      { kind: "restore", directory: "/refused", state: "failed", problem: expect.stringMatching(/.+/) },
    ]);
    endSlow();
    await slow;
    const [first, second] = await reopened.list();
    expect(first).toMatchObject({ state: "succeeded", directory: "/slow" });
    expect(Date.parse(second?.startedAt ?? "") - Date.parse(first?.startedAt ?? "")).toBe(1_000);
    expect(Date.parse(first?.finishedAt ?? "")).toBeGreaterThanOrEqual(Date.parse(second?.startedAt ?? ""));
  });

  it("only grows, and goes on behind a line that a crash cut off", async () => {
    await using room = await setup();
    const log = room.open();
    const restore = (directory: string): Promise<void> =>
      log.record(
        { kind: "restore", target: latest, backupId: undefined, directory },
        async () => undefined,
        () => ({}),
      );
    await restore("/one");
    const before = await readFile(room.file, "utf8");
    await appendFile(room.file, '{"id":"cut","kind":"rest');
    await restore("/two");
    expect((await readFile(room.file, "utf8")).startsWith(before)).toBe(true);
    expect((await log.list()).map(({ directory }) => directory)).toEqual(["/one", "/two"]);
  });

  it("keeps nobody from recovering when it cannot be written", async () => {
    await using room = await setup();
    const warn = vi.fn();
    const body = async (): Promise<string> => "restored";
    const beginning = { kind: "restore", target: latest, backupId: undefined, directory: "/x" } as const;
    // Where its directory should be there is a file.
    await room.open().record(beginning, body, () => ({}));
    const log = room.open({ ...silentLogger, warn }, join(room.file, "recoveries.jsonl"));
    expect(await log.record(beginning, body, () => ({}))).toBe("restored");
    expect(warn).toHaveBeenCalled();
  });
});
