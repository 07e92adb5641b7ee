import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { makeTempDirectory, reservePort, runToEnd, startProcess, waitUntil } from "../src/index.ts";
import { expectNoLeaks } from "../src/vitest/index.ts";

const node = (program: string) => startProcess(process.execPath, ["-e", program]);

describe("startProcess", () => {
  expectNoLeaks();

  it("waits for a line that came already or is still to come, on either stream", async () => {
    await using child = await node(
      "console.log('one 1'); console.error('two 2'); setInterval(() => {}, 1000)",
    );
    expect((await child.waitForLine(/one (\d)/))[1]).toBe("1");
    expect((await child.waitForLine(/two (\d)/))[1]).toBe("2");
    expect((await child.waitForLine(/one (\d)/))[1]).toBe("1");
    expect(child.stdout).toEqual(["one 1"]);
  });

  it("says what was printed when the program ends before the line", async () => {
    await using child = await node("console.error('bad luck'); process.exit(3)");
    await expect(child.waitForLine(/ready/)).rejects.toThrow(/ended \(code 3\)[\s\S]*bad luck/);
  });

  it("gives up on a line after the limit, and at once when aborted", async () => {
    await using child = await node("setInterval(() => {}, 1000)");
    await expect(child.waitForLine(/never/, { timeoutMs: 20 })).rejects.toThrow(/within 20 ms/);
    const stop = new AbortController();
    const wait = child.waitForLine(/never/, { signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(wait).rejects.toThrow("enough");
  });

  it("kills, and stops a program that does not want to stop", async () => {
    await using first = await node("setInterval(() => {}, 1000)");
    expect(await first.kill()).toEqual({ code: null, signal: "SIGKILL" });
    expect(first.running).toBe(false);
    const stubborn = "process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)";
    const second = await startProcess(process.execPath, ["-e", stubborn], { stopTimeoutMs: 50 });
    await second.waitForLine(/up/);
    expect(await second.stop()).toEqual({ code: null, signal: "SIGKILL" });
  });

  it("freezes a program and lets it go on", async () => {
    const program = "process.stdin.on('data', (text) => console.log('got ' + text)); console.log('up')";
    await using child = await node(program);
    await child.waitForLine(/up/);
    child.pause();
    child.write("word\n");
    await expect(child.waitForLine(/got word/, { timeoutMs: 50 })).rejects.toThrow(/no line/);
    child.resume();
    await child.waitForLine(/got word/);
  });

  it("ends a frozen program also by a signal that the program itself has to take", async () => {
    const program =
      "process.on('SIGTERM', () => process.exit(7)); console.log('up'); setInterval(() => {}, 1000)";
    await using child = await node(program);
    await child.waitForLine(/up/);
    child.pause();
    expect(await child.kill("SIGTERM")).toEqual({ code: 7, signal: null });
  });

  it("says which program could not be started", async () => {
    for (const program of ["no-such-program-at-all", "/etc/passwd/program", "/etc/passwd"]) {
      await expect(startProcess(program, [])).rejects.toMatchObject({
        code: "TESTKIT_PROCESS_FAILED",
        message: expect.stringContaining(program),
      });
    }
  });
});

describe("the watchdog", () => {
  it("removes what a killed test leaves, and nothing else where the path has blanks", async () => {
    await using outer = await makeTempDirectory();
    const beside = join(outer.path, "some");
    const blank = join(outer.path, "some  place");
    for (const path of [beside, blank]) mkdirSync(path);
    const source = pathToFileURL(join(import.meta.dirname, "../src/index.ts")).href;
    const program = `
      import { makeTempDirectory, startProcess } from ${JSON.stringify(source)};
      const { path } = await makeTempDirectory();
      const { pid } = await startProcess("sleep", ["600"]);
      console.log("made " + path);
      console.log("pid " + pid);
      setInterval(() => undefined, 1_000);`;
    const flags = ["--import", "tsx", "--conditions=holdfast-source", "--input-type=module", "-e", program];
    await using child = await startProcess(process.execPath, flags, {
      env: { ...process.env, TMPDIR: blank },
    });
    const made = (await child.waitForLine(/^made (.*)$/))[1] ?? "";
    const pid = Number((await child.waitForLine(/^pid (.*)$/))[1]);
    expect(made.startsWith(`${blank}/`)).toBe(true);
    await child.kill();
    await waitUntil("the directory to go", () => !existsSync(made));
    await waitUntil("the program to end", () => {
      try {
        return !process.kill(pid, 0);
      } catch {
        return true;
      }
    });
    expect([existsSync(beside), existsSync(blank)]).toEqual([true, true]);
  });
});

describe("runToEnd", () => {
  expectNoLeaks();

  it("gives the output, and fails with it when the program fails", async () => {
    expect(await runToEnd(process.execPath, ["-p", "6 * 7"])).toBe("42");
    expect(await runToEnd("cat", [], { input: "through" })).toBe("through");
    const failing = runToEnd(process.execPath, ["-e", "console.error('no!'); process.exit(2)"]);
    await expect(failing).rejects.toThrow(/code 2[\s\S]*no!/);
    await expect(runToEnd("sleep", ["60"], { timeoutMs: 20 })).rejects.toThrow(/longer than 20 ms/);
  });

  it("gives all of the output, however many lines", async () => {
    const output = await runToEnd("seq", ["5000"]);
    expect(output.split("\n")).toHaveLength(5_000);
  });

  it("is over in time also when something that the program started holds its output", async () => {
    const late = runToEnd("sh", ["-c", "sleep 30 & echo $!; wait"], { timeoutMs: 200 });
    const error = await late.then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    expect(error?.message).toMatch(/longer than 200 ms/);
    process.kill(Number(/^\d+$/m.exec(error?.message ?? "")?.[0]));
  }, 10_000);
});

describe("reservePort", () => {
  it("gives each caller another port until it is released", async () => {
    const ports = await Promise.all(Array.from({ length: 50 }, () => reservePort()));
    expect(new Set(ports.map(({ port }) => port)).size).toBe(50);
    for (const each of ports) each[Symbol.dispose]();
  });
});

describe("waitUntil", () => {
  it("gives what the check gave, and the last error when it never did", async () => {
    let count = 0;
    expect(await waitUntil("three", () => (++count === 3 ? "done" : undefined), { intervalMs: 1 })).toBe(
      "done",
    );
    const failing = waitUntil("nothing", () => Promise.reject(new Error("not yet")), {
      timeoutMs: 5,
      intervalMs: 1,
    });
    await expect(failing).rejects.toMatchObject({
      code: "TESTKIT_CONDITION_TIMEOUT",
      cause: { message: "not yet" },
    });
  });

  it("ends in time, and at once when aborted, also while a check hangs", async () => {
    const hang = () => new Promise<undefined>(() => undefined);
    await expect(waitUntil("nothing", hang, { timeoutMs: 20 })).rejects.toMatchObject({
      code: "TESTKIT_CONDITION_TIMEOUT",
    });
    const stop = new AbortController();
    const wait = waitUntil("nothing", hang, { signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(wait).rejects.toThrow("enough");
  });
});
