import { fileURLToPath } from "node:url";
import { startPostgres, startProcess } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";

const config = fileURLToPath(new URL("fixtures/vitest.config.ts", import.meta.url));
const vitest = fileURLToPath(new URL("../../../node_modules/vitest/vitest.mjs", import.meta.url));

describeService(["postgres", "pgvector"], "the suites of the data package on one server", () => {
  it("pass twice in each of two processes at the same time, in two orders", async () => {
    await using server = await startPostgres();
    const runs = await Promise.all(
      [1, 2].map(async (seed) => {
        await using run = await startProcess(process.execPath, [vitest, "run", "--config", config], {
          env: {
            ...process.env,
            HOLDFAST_SAME_SERVER: server.url,
            HOLDFAST_ORDER: `${seed}`,
            NO_COLOR: "1",
          },
        });
        const { code } = await run.closed;
        return { code, output: run.output };
      }),
    );
    for (const { code, output } of runs) {
      expect(code, output).toBe(0);
      expect(Number(/Tests +(\d+) passed \(\1\)/.exec(output)?.[1]), output).toBeGreaterThan(100);
    }
  });
});
