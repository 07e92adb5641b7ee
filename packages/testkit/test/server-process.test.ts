import { expect, it } from "vitest";
import { startProcess } from "../src/index.ts";
import { ResourceStack } from "../src/process/resource-stack.ts";
import { ServerProcess } from "../src/services/server-process.ts";

it("a server that was frozen is started again like any other", async () => {
  await using server = new ServerProcess({
    name: "a server",
    launch: () => startProcess(process.execPath, ["-e", "console.log('up'); setInterval(() => {}, 1000)"]),
    ready: (child) => child.waitForLine(/up/),
    resources: new ResourceStack(),
  });
  await server.start();
  const first = server.pid;
  server.pause();
  await server.restart();
  expect([server.running, server.pid === first]).toEqual([true, false]);
});
