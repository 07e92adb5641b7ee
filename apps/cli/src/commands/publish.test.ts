import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect, it, vi } from "vitest";
import { createSession } from "../terminal/session.ts";
import { publishCommand } from "./publish.ts";

it("gives up a server that begins its answer and never ends it, after ten seconds", async () => {
  let asked = 0;
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "application/json" });
    response.write('{"channel":');
    asked += 1;
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const clock = new VirtualClock();
  const session = createSession({
    stdout: process.stdout,
    stderr: process.stderr,
    env: {},
    cwd: ".",
    clock,
    signal: new AbortController().signal,
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const end: { error?: unknown } = {};
    void publishCommand(session)
      .parseAsync(["order", "created", "{}", "--url", url], { from: "user" })
      .catch((error: unknown) => {
        end.error = error;
      });
    await vi.waitFor(() => expect(asked).toBe(1));
    await vi.waitFor(async () => {
      await clock.advance(1_000);
      expect(end.error).toMatchObject({ code: "KERNEL_TIMEOUT" });
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
