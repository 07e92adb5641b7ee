import type { JobResult } from "@holdfast/protocol/contract";
import { startPatroniCluster } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import { askHoldfast, startHoldfast, WORKFLOWS } from "./holdfast-command.ts";

interface Shown {
  readonly database: {
    readonly kind: string;
    readonly primary: string | null;
    readonly takesWrites: boolean;
  };
  readonly failovers: { readonly value?: readonly { readonly timeline: number }[] };
}

describeService("patroni", "holdfast node --all --patroni", () => {
  it("follows its database through the loss of the primary, keeps its jobs, and shows what happened", async () => {
    await using servers = await startPatroniCluster({ nodeCount: 2, synchronous: true });
    const patroni = servers.nodes.map(({ restPort }) => `http://127.0.0.1:${restPort}`).join(",");
    const where = ["--patroni", patroni, "--database", "postgres://postgres@any/postgres"];
    const places = ["--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--cores", "2"];
    await using node = await startHoldfast([
      "node",
      "--all",
      "--json",
      ...where,
      ...places,
      "--workflows",
      WORKFLOWS,
    ]);
    const [line] = await node.waitForLine(/^\{"event":"ready".*$/, { timeoutMs: 120_000 });
    const ready = JSON.parse(line) as { gate: string; console: string };
    const submit = () => askHoldfast<{ jobId: string }>(["submit", "import", "--gate", ready.gate]);
    const resultOf = (jobId: string) => askHoldfast<JobResult>(["result", jobId, "--gate", ready.gate]);
    const before = await submit();
    const result = await resultOf(before.jobId);
    expect(result.status).toBe("completed");

    const lost = await servers.waitForLeader();
    await lost.kill();
    const look = async (): Promise<Shown> =>
      (await fetch(`${ready.console}/api/data`)).json() as Promise<Shown>;
    await vi.waitFor(
      async () => {
        const { database, failovers } = await look();
        expect(database).toMatchObject({ kind: "cluster", takesWrites: true });
        expect(database.primary).not.toBe(lost.name);
        expect(failovers.value?.map(({ timeline }) => timeline)).toEqual([1]);
      },
      { timeout: 90_000, interval: 250 },
    );
    expect(await resultOf(before.jobId)).toEqual(result);
    const after = await vi.waitFor(submit, { timeout: 60_000, interval: 500 });
    expect((await resultOf(after.jobId)).status).toBe("completed");
  }, 400_000);
});
