import type { JobResult } from "@holdfast/protocol/contract";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { askHoldfast, startHoldfast, WORKFLOWS } from "./holdfast-command.ts";

describeService("postgres", "holdfast node --all", () => {
  it("runs every role of a server in one process on PostgreSQL, and keeps its jobs over a restart", async () => {
    await using postgres = await startPostgres();
    const start = async () => {
      const args = ["node", "--all", "--json", "--database", postgres.url, "--workflows", WORKFLOWS];
      const node = await startHoldfast([
        ...args,
        "--listen",
        "127.0.0.1:0",
        "--console",
        "127.0.0.1:0",
        "--cores",
        "2",
      ]);
      const [line] = await node.waitForLine(/^\{"event":"ready".*$/, { timeoutMs: 60_000 });
      return { node, ready: JSON.parse(line) as { gate: string; console: string; manager: string } };
    };
    const first = await start();
    await using firstNode = first.node;
    const input = JSON.stringify({ ratePerSecond: 50, durationMs: 500 });
    const { jobId } = await askHoldfast<{ jobId: string }>([
      "submit",
      "load-test",
      "--input",
      input,
      "--gate",
      first.ready.gate,
    ]);
    const result = await askHoldfast<JobResult>(["result", jobId, "--gate", first.ready.gate]);
    // Each arrival is a request, or is counted as one for which a busy machine had no time.
    const { requests = 0, "load.missed": missed = 0 } = result.workflows[0]?.totals.counters ?? {};
    expect(requests).toBeGreaterThan(0);
    expect(requests + missed).toBe(25);
    expect((await fetch(`${first.ready.console}/health/ready`)).status).toBe(200);
    await firstNode.stop();

    const second = await start();
    await using _secondNode = second.node;
    const again = await askHoldfast<JobResult>(["result", jobId, "--gate", second.ready.gate]);
    expect(again).toEqual(result);
  }, 120_000);
});
