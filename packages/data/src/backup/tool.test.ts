import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { runTool } from "./tool.ts";

describe("a program that is run", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "holdfast-tool-"));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  /** As pg_basebackup does: the program waits for another that it started, which has its outputs too. */
  const startsAnother = async (): Promise<{
    readonly script: string;
    readonly started: () => Promise<number>;
  }> => {
    const script = join(directory, "script");
    const file = join(directory, "pid");
    await writeFile(script, `sleep 120 &\necho $! > ${file}.part && mv ${file}.part ${file}\nwait\n`);
    return {
      script,
      started: () =>
        vi.waitFor(async () => Number(await readFile(file, "utf8")), { timeout: 10_000, interval: 5 }),
    };
  };
  const isRunning = async (pid: number): Promise<boolean> => {
    const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
    return status !== undefined && !status.includes(") Z ");
  };

  it("is ended by an abort with all that it started, at once", async () => {
    const { script, started } = await startsAnother();
    const controller = new AbortController();
    const { signal } = controller;
    const ended = runTool("sh", [script], { clock: systemClock, signal }).catch((error: unknown) => error);
    const pid = await started();
    controller.abort(new Error("enough"));
    expect(await ended).toEqual(new Error("enough"));
    await vi.waitFor(async () => expect(await isRunning(pid)).toBe(false), { timeout: 10_000, interval: 5 });
  }, 20_000);

  it("is ended at its limit with all that it started", async () => {
    const { script, started } = await startsAnother();
    const clock = new VirtualClock();
    const ended = runTool("sh", [script], { clock, timeoutMs: 1_000 }).catch((error: unknown) => error);
    const pid = await started();
    await clock.advance(1_000);
    expect(await ended).toMatchObject({
      code: "BACKUP_TOOL_FAILED",
      message: expect.stringContaining("1000 ms"),
    });
    await vi.waitFor(async () => expect(await isRunning(pid)).toBe(false), { timeout: 10_000, interval: 5 });
  }, 20_000);
});
