import { describe, expect, it } from "vitest";
import { reservePort, runToEnd, startProcess, waitUntil } from "../src/index.ts";
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

  it("says which program could not be started", async () => {
    await expect(startProcess("no-such-program-at-all", [])).rejects.toMatchObject({
      code: "TESTKIT_PROCESS_FAILED",
    });
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
});
