import { describe, expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

describe("the view of the cluster", () => {
  it("has fifty datacenters of any script, each with its own workflows, for many that ask at once", async () => {
    const names = Array.from({ length: 50 }, (_, index) => `${["münchen", "北京", "🛰️"][index % 3]}-${index}`);
    await using t = await setup({ datacenters: names });
    t.datacenters.forEach((datacenter, index) => {
      datacenter.workflows = index % 2 === 0 ? ["w", `only-${index}`] : ["w"];
    });
    await t.clock.advance(1_500);
    const { jobId } = await t.submit({ datacenters: ["北京-1"] });
    const other = t.newClient();
    const [cluster, again, jobs, job, pings] = await settle(
      t.clock,
      Promise.all([t.client.cluster(), other.cluster(), t.client.list(), t.client.get(jobId), other.ping()]),
    );
    expect(cluster.datacenters.map(({ datacenter }) => datacenter).toSorted()).toEqual(names.toSorted());
    expect(again).toEqual(cluster);
    expect(jobs.jobs).toMatchObject([{ jobId, datacenters: ["北京-1"] }]);
    expect(Object.keys(job.datacenters)).toEqual(["北京-1"]);
    expect(pings).toMatchObject([{ role: "gate", state: "active" }]);
    for (const { datacenter, workflows, health } of cluster.datacenters) {
      const index = names.indexOf(datacenter);
      expect(health).toBe("healthy");
      expect(workflows.map(({ name }) => name)).toEqual(index % 2 === 0 ? ["w", `only-${index}`] : ["w"]);
    }
  });

  it("says which datacenters do not answer and shows the others, through one gate and through each", async () => {
    await using t = await setup({ datacenters: ["east", "west", "bare"], gates: 2 });
    const bare = t.datacenters[2] as (typeof t.datacenters)[number];
    bare.workflows = [];
    await t.clock.advance(1_500);
    await settle(t.clock, t.west.stop());
    await t.clock.advance(40_000);
    for (const gate of t.gates) {
      const { datacenters } = await settle(t.clock, t.newClient([gate.address]).cluster());
      const healths = Object.fromEntries(datacenters.map(({ datacenter, health }) => [datacenter, health]));
      expect(healths).toMatchObject({ east: "healthy", west: "unhealthy" });
      const workflows = Object.fromEntries(
        datacenters.map((view) => [view.datacenter, view.workflows.map(({ name }) => name)]),
      );
      expect(workflows["east"]).toEqual(["w"]);
      expect(workflows["bare"]).toEqual([]);
    }
  });

  it("says since when a datacenter does not answer, and only while it does not", async () => {
    await using t = await setup({ datacenters: ["east", "west"] });
    const heardAt = async () => {
      const { datacenters } = await settle(t.clock, t.client.cluster());
      return Object.fromEntries(datacenters.map((view) => [view.datacenter, view.heardAt]));
    };
    await t.clock.advance(1_500);
    expect(await heardAt()).toEqual({ east: undefined, west: undefined });
    const stoppedAt = t.clock.wallNow();
    await settle(t.clock, t.west.stop());
    await t.clock.advance(40_000);
    const since = await heardAt();
    expect(since["east"]).toBe(undefined);
    expect(since["west"]).toBeGreaterThan(stoppedAt - 2_000);
    expect(since["west"]).toBeLessThanOrEqual(stoppedAt + 1_000);
    await t.clock.advance(10_000);
    expect(await heardAt()).toEqual(since);
  });

  it("comes from another gate when the one that is asked first is gone", async () => {
    await using t = await setup({ gates: 2 });
    const first = t.gates[0] as (typeof t.gates)[number];
    const client = t.newClient(t.gates.map(({ address }) => address));
    await settle(t.clock, client.cluster());
    await settle(t.clock, first.stop());
    expect((await settle(t.clock, client.cluster())).node.nodeId).toBe("gate-1");
  });
});

describe("a job of a hundred workflows", () => {
  const workflows = Array.from({ length: 100 }, (_, index) => ({
    workflow: "w",
    name: `part ${index}`,
    input: { index },
  }));

  it("goes through with each of them, and keeps their order", async () => {
    await using t = await setup();
    const { jobId } = await t.submit({ workflows });
    await t.clock.advance(100);
    const sent = t.east.submissions[0]?.spec.workflows ?? [];
    expect(new Set(sent.map(({ id }) => id)).size).toBe(100);
    expect(sent.map(({ name }) => name)).toEqual(workflows.map(({ name }) => name));
    await t.east.run(jobId);
    await t.east.end(jobId, "completed");
    const result = await t.result(jobId);
    expect(result.workflows.map(({ name, status }) => [name, status])).toEqual(
      workflows.map(({ name }) => [name, "completed"]),
    );
  });

  it("is failed as a whole when it fails, and all that wait for it hear so", async () => {
    await using t = await setup();
    const { jobId } = await t.submit({ workflows });
    const waiting = [t.client.result(jobId), t.client.result(jobId), t.newClient().result(jobId)];
    await t.clock.advance(100);
    await t.east.run(jobId);
    await t.east.end(jobId, "failed", { errors: ["part 7: boom"] });
    const results = await settle(t.clock, Promise.all(waiting));
    expect(results.map(({ status }) => status)).toEqual(["failed", "failed", "failed"]);
    expect(results[0]?.errors.join()).toContain("boom");
    expect((await settle(t.clock, t.client.get(jobId))).status).toBe("failed");
  });
});

it("ten cancels at once cancel a job once", async () => {
  await using t = await setup({ gates: 2 });
  const { jobId } = await t.submit();
  await t.clock.advance(100);
  await t.east.run(jobId);
  const clients = Array.from({ length: 10 }, () => t.newClient());
  const answers = await settle(t.clock, Promise.all(clients.map((client) => client.cancel(jobId))));
  for (const { outcome } of answers) expect(outcome).toMatch(/^(cancelling|cancelled|already-cancelled)$/);
  expect((await t.result(jobId)).status).toBe("cancelled");
  expect(t.east.cancellations).toEqual([jobId]);
  const events = await t.history(jobId);
  expect(events.filter(({ type }) => type === "job.result").length).toBe(1);
  const cancelling = events.filter((event) => event.type === "job.status" && event.status === "cancelling");
  expect(cancelling.length).toBe(1);
  expect((await settle(t.clock, t.client.cancel(jobId))).outcome).toBe("already-cancelled");
});
