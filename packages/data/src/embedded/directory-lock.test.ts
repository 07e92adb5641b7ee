import { readdir, readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { seededRandom, systemRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../../test/temporary-directory.ts";
import { lockDirectory } from "./directory-lock.ts";

const holderOf = async (directory: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(directory, "lock"), "utf8"));

/** What a process of this machine leaves behind when it is killed. */
const leaveLock = async (
  directory: string,
  changes: Record<string, unknown>,
  file = "lock",
): Promise<void> => {
  const lock = await lockDirectory(directory, systemRandom);
  const own = await holderOf(directory);
  await lock.release();
  await writeFile(join(directory, file), JSON.stringify({ ...own, token: "dead", ...changes }));
};

/** Larger than any process id of Linux (2^22). */
const NO_SUCH_PID = 2 ** 22 + 1;

describe("the lock of a directory", () => {
  it("is held by one at a time and free after release", async () => {
    await using directory = await temporaryDirectory();
    const lock = await lockDirectory(directory.path, systemRandom);
    await expect(lockDirectory(directory.path, systemRandom)).rejects.toMatchObject({
      code: "DATA_DIRECTORY_LOCKED",
    });
    await lock.release();
    await lock.release();
    expect(await readdir(directory.path)).toEqual([]);
    await (await lockDirectory(directory.path, systemRandom)).release();
  });

  it("is taken over from a process that is gone, also when its id or the machine has a new life", async () => {
    for (const changes of [
      { pid: NO_SUCH_PID },
      { pid: process.pid, processStart: "1" },
      { boot: "another boot of this machine" },
    ]) {
      await using directory = await temporaryDirectory();
      await leaveLock(directory.path, changes);
      const lock = await lockDirectory(directory.path, systemRandom);
      expect((await holderOf(directory.path))["pid"]).toBe(process.pid);
      expect(await readdir(directory.path)).toEqual(["lock"]);
      await lock.release();
    }
  });

  it("is not taken from a living process, nor from one on another host", async () => {
    await using directory = await temporaryDirectory();
    await leaveLock(directory.path, {});
    await expect(lockDirectory(directory.path, systemRandom)).rejects.toThrow(`kill ${process.pid}`);
    await leaveLockByHand(directory.path, "elsewhere");
    await expect(lockDirectory(directory.path, systemRandom)).rejects.toThrow(
      /on host elsewhere.*delete .*lock/,
    );
    expect((await holderOf(directory.path))["host"]).toBe("elsewhere");
  });

  it("goes to exactly one of many that find it dead at once, whatever dead claims lie about", async () => {
    for (let round = 0; round < 20; round += 1) {
      await using directory = await temporaryDirectory();
      await leaveLock(directory.path, { pid: NO_SUCH_PID });
      if (round % 2 === 1) {
        const dead = { token: "first", pid: NO_SUCH_PID, processStart: "1", host: hostname(), boot: null };
        await writeFile(join(directory.path, "lock.claim-dead"), JSON.stringify(dead));
        await writeFile(
          join(directory.path, "lock.claim-first"),
          JSON.stringify({ ...dead, token: "second" }),
        );
      }
      const outcomes = await Promise.allSettled(
        Array.from({ length: 12 }, (_, n) => lockDirectory(directory.path, seededRandom(round * 100 + n))),
      );
      expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
      expect((await readdir(directory.path)).filter((name) => name === "lock")).toHaveLength(1);
    }
  });

  it("is taken over when its file was destroyed", async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, "lock"), "\0\0\0");
    await (await lockDirectory(directory.path, systemRandom)).release();
  });
});

const leaveLockByHand = (directory: string, host: string): Promise<void> =>
  writeFile(
    join(directory, "lock"),
    JSON.stringify({ token: "there", pid: 1, processStart: "1", host, boot: null }),
  );
