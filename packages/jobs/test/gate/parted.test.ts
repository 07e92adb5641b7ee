import { describe, expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

describe("a gate that is parted from a datacenter", () => {
  it("keeps its job while the work goes on there, and takes in what happened once they are joined again", async () => {
    await using t = await setup({ datacenters: ["east", "west"], gates: 2 });
    const { jobId } = await t.submit({ datacenters: ["east", "west"] });
    const positions: bigint[] = [];
    const watch = (async () => {
      for await (const item of t.client.watch(jobId)) {
        if (item.kind === "event") positions.push(BigInt(item.position.offset));
      }
    })();
    await t.clock.advance(200);
    await t.east.run(jobId);
    await t.west.run(jobId);
    await t.clock.advance(200);
    const before = await settle(t.clock, t.client.get(jobId));

    // No gate reaches the managers of the west any more; they and their workers go on.
    for (const manager of t.west.managers) await settle(t.clock, manager.kill());
    await t.west.window(jobId, 50, { units: 5 });
    await t.west.end(jobId, "completed");
    await t.east.end(jobId, "completed");
    await t.clock.advance(45_000);
    const parted = await settle(t.clock, t.client.get(jobId));
    // East's end is known, west's is not: the job is not over, and nobody took it from its gate.
    expect(parted.datacenters).toMatchObject({ east: { status: "completed" }, west: { status: "running" } });
    expect(parted.leader).toEqual(before.leader);
    expect((await settle(t.clock, t.client.cluster())).datacenters).toContainEqual(
      expect.objectContaining({ datacenter: "west", health: "unhealthy" }),
    );

    for (const manager of t.west.managers) await settle(t.clock, manager.start());
    expect(await t.result(jobId)).toMatchObject({
      status: "completed",
      workflows: [{ totals: { counters: { units: 20 } }, outputs: ["east", "west"] }],
    });
    await settle(t.clock, watch);
    expect(positions).toEqual(positions.map((_, index) => BigInt(index + 1)));
    // Nothing was sent there twice, and every part ended once.
    expect(t.west.submissions.length).toBe(1);
    expect(t.east.submissions.length).toBe(1);
    const events = await t.history(jobId);
    expect(events.filter(({ type }) => type === "job.result").length).toBe(1);
    expect(events.filter(({ type, datacenter }) => type === "window" && datacenter === "west").length).toBe(
      1,
    );
  });
});
