import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { makeTempDirectory, startProcess } from "../src/index.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

it("fails a file of tests that leaves a timer or a port, and lets one pass that closes what its tests share", async () => {
  await using directory = await makeTempDirectory();
  await using run = await startProcess(
    process.execPath,
    [
      `${root}/node_modules/vitest/vitest.mjs`,
      "run",
      "--config",
      fileURLToPath(new URL("leaks/vitest.config.ts", import.meta.url)),
    ],
    { cwd: directory.path, env: { ...process.env, NO_COLOR: "1" } },
  );
  const { code } = await run.closed;
  expect(code).toBe(1);
  expect(run.output).toMatch(/FAIL +timer\.fixture\.ts[\s\S]*the file left 1 Timeout open/);
  expect(run.output).toMatch(/FAIL +port\.fixture\.ts[\s\S]*the file left 1 TCPServerWrap open/);
  expect(run.output).not.toMatch(/FAIL +shared\.fixture\.ts/);
  expect(run.output).toMatch(/Tests +3 passed/);
});
