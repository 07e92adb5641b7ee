import { existsSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { makeTempDirectory, type TempDirectory, waitUntil } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it } from "vitest";
import { askHoldfast, runHoldfast } from "./holdfast-command.ts";

/** Each look is a process of its own. */
const PATIENT = { timeoutMs: 90_000, intervalMs: 300 };

interface Status {
  readonly condition: { readonly kind: string; readonly takesWrites: boolean };
  readonly primary?: string;
  readonly timeline: number;
  readonly nodes: readonly { readonly name: string; readonly role: string; readonly takesReads: boolean }[];
}

describeService(["patroni", "redis"], "holdfast cluster and holdfast ha, on real servers", () => {
  let temporary: TempDirectory;
  let where: readonly string[];
  beforeAll(async () => {
    temporary = await makeTempDirectory("holdfast-cli-cluster-");
    // As root the servers run as another user, who has to get in.
    await chmod(temporary.path, 0o711);
    where = ["--dir", join(temporary.path, "cluster")];
  });
  afterAll(async () => {
    await runHoldfast(["cluster", "down", ...where]);
    await temporary?.[Symbol.asyncDispose]();
  });

  const status = (): Promise<Status> => askHoldfast<Status>(["ha", "status", ...where]);

  it("starts three nodes, hands over, survives the loss of the leader, starts it again, and leaves nothing", async () => {
    const ready = await askHoldfast<{ event: string; write: string; patroni: string[] }>([
      "cluster",
      "up",
      "--port",
      "0",
      ...where,
    ]);
    expect(ready).toMatchObject({
      event: "ready",
      write: expect.stringMatching(/^postgres:\/\/postgres@127\.0\.0\.1:/),
    });
    expect(ready.patroni).toHaveLength(3);

    const first = await waitUntil(
      "every node to take reads",
      async () => {
        const seen = await status();
        return seen.nodes.filter(({ takesReads }) => takesReads).length === 3 ? seen : undefined;
      },
      PATIENT,
    );
    expect(first).toMatchObject({ timeline: 1, condition: { kind: "healthy", takesWrites: true } });

    const handedOver = await waitUntil(
      "a replica that confirms commits",
      async () => {
        const report = await askHoldfast<{ from: string; to: string; timeline: number }>([
          "ha",
          "switchover",
          ...where,
        ]);
        return "from" in report ? report : undefined;
      },
      PATIENT,
    );
    expect(handedOver).toMatchObject({ from: first.primary, timeline: 2 });

    // Only a replica that confirms commits is promoted, so the next one has to be there before the leader goes.
    await waitUntil(
      "every node to take reads again",
      async () => (await status()).nodes.every(({ takesReads }) => takesReads),
      PATIENT,
    );
    await waitUntil(
      "a replica that confirms commits",
      async () => (await (await fetch(`${ready.patroni[0]}/cluster`)).text()).includes("sync_standby"),
      PATIENT,
    );
    const killed = await askHoldfast<{ killed: string; pids: number[] }>([
      "cluster",
      "kill",
      handedOver.to,
      ...where,
    ]);
    expect(killed.pids).toHaveLength(2);
    const after = await waitUntil(
      "another leader",
      async () => {
        const seen = await status();
        return seen.primary !== undefined && seen.primary !== handedOver.to ? seen : undefined;
      },
      PATIENT,
    );
    expect(after.timeline).toBe(3);

    await askHoldfast(["cluster", "up", ...where]);
    const { history } = await askHoldfast<{ history: { timeline: number; leader: string }[] }>([
      "ha",
      "history",
      ...where,
    ]);
    expect(history.map(({ timeline }) => timeline)).toEqual([1, 2]);

    expect(await askHoldfast(["cluster", "down", ...where])).toEqual({ stopped: true, kept: false });
    expect(existsSync(join(temporary.path, "cluster"))).toBe(false);
  }, 150_000);

  it("refuses what is not there, and says what to do", async () => {
    const missing = await runHoldfast(["cluster", "kill", "n1", "--dir", join(temporary.path, "none")]);
    expect(missing.code).toBe(2);
    expect(missing.output).toContain("holdfast cluster up");
    const nameless = await runHoldfast(["ha", "status", "--dir", join(temporary.path, "none")]);
    expect(nameless.code).toBe(2);
    expect(nameless.output).toContain("--patroni");
    const nobody = await runHoldfast(["ha", "history", "--patroni", "http://127.0.0.1:1", "--json"]);
    expect(nobody.code).toBe(1);
    expect(JSON.parse(nobody.lines.at(-1) ?? "")).toMatchObject({
      error: { message: expect.stringContaining("nothing of the cluster answers") },
    });
  });
});
