import type { JobResult } from "@holdfast/protocol/contract";
import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { askHoldfast, startHoldfast, WORKFLOWS } from "./holdfast-command.ts";

const SETTINGS = {
  shared_preload_libraries: "citus",
  wal_level: "logical",
  max_prepared_transactions: 100,
  max_connections: 200,
  "citus.local_hostname": "127.0.0.1",
  "citus.node_conninfo": "sslmode=disable",
};

interface ShownShards {
  readonly kind: string;
  readonly value?: {
    readonly nodes: readonly { readonly shardCount: number }[];
    readonly tables: readonly { readonly table: string; readonly by: string | null }[];
  };
}

describeService(["postgres", "citus"], "holdfast node --all --shard-jobs", () => {
  it("keeps its jobs on the nodes of a Citus cluster, over a restart, and shows them there", async () => {
    const start = (): Promise<PostgresServer> => startPostgres({ settings: SETTINGS, extensions: ["citus"] });
    await using coordinator = await start();
    await using first = await start();
    await using second = await start();
    await coordinator.sql(`SELECT citus_set_coordinator_host('127.0.0.1', ${coordinator.port})`);
    for (const { port } of [first, second])
      await coordinator.sql(`SELECT citus_add_node('127.0.0.1', ${port})`);
    const startNode = async (...flags: readonly string[]) => {
      const places = ["--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--cores", "2"];
      const where = ["--database", coordinator.url, "--workflows", WORKFLOWS];
      const node = await startHoldfast(["node", "--all", "--json", ...where, ...places, ...flags]);
      const [line] = await node.waitForLine(/^\{"event":"ready".*$/, { timeoutMs: 120_000 });
      return { node, ready: JSON.parse(line) as { gate: string; console: string } };
    };
    const before = await startNode("--shard-jobs");
    await using beforeNode = before.node;
    const { jobId } = await askHoldfast<{ jobId: string }>(["submit", "import", "--gate", before.ready.gate]);
    const result = await askHoldfast<JobResult>(["result", jobId, "--gate", before.ready.gate]);
    expect(result.status).toBe("completed");
    const view = (await (await fetch(`${before.ready.console}/api/data`)).json()) as { shards: ShownShards };
    expect(view.shards.kind).toBe("shown");
    expect(view.shards.value?.nodes.map(({ shardCount }) => shardCount > 0)).toEqual([true, true]);
    expect(view.shards.value?.tables).toContainEqual(
      expect.objectContaining({ table: "gate.jobs", by: "job_key", kind: "distributed" }),
    );
    await beforeNode.stop();

    // Who starts later finds it spread, and needs no flag.
    const after = await startNode();
    await using _afterNode = after.node;
    expect(await askHoldfast<JobResult>(["result", jobId, "--gate", after.ready.gate])).toEqual(result);
  }, 300_000);
});
