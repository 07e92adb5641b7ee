import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { activeResources, leftOpen } from "./active-resources.ts";
import { startProcess } from "./managed-process.ts";
import { waitUntil } from "./wait-until.ts";

describe("leftOpen", () => {
  it("names a listening port until it is closed", async () => {
    const before = activeResources();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    expect(leftOpen(before, activeResources())).toEqual(["1 TCPServerWrap"]);
    await new Promise((resolve) => server.close(resolve));
    await waitUntil("the port to go", () => leftOpen(before, activeResources()).length === 0);
  });

  it("names a timer that keeps the process alive, and not one that does not", () => {
    const before = activeResources();
    const timer = setTimeout(() => undefined, 60_000);
    expect(leftOpen(before, activeResources())).toEqual(["1 Timeout"]);
    timer.unref();
    expect(leftOpen(before, activeResources())).toEqual([]);
    clearTimeout(timer);
  });

  it("names a child process until it has ended", async () => {
    const before = activeResources();
    const child = await startProcess("sleep", ["60"]);
    expect(leftOpen(before, activeResources())).toContain("1 ProcessWrap");
    await child.stop();
    await waitUntil("the child to go", () => !leftOpen(before, activeResources()).includes("1 ProcessWrap"));
  });
});
