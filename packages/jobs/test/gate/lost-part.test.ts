import { expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

it("a datacenter that has lost its part of a cancelled job is ended once, though others take their time", async () => {
  await using t = await setup({ datacenters: ["east", "west"] });
  const { jobId } = await t.submit({ datacenters: ["east", "west"] });
  await t.clock.advance(100);
  await t.east.run(jobId);
  await t.west.run(jobId);
  // A store that was restored from an older copy.
  t.east.jobs.delete(jobId);
  t.west.onCancel = async () => undefined;
  expect(await settle(t.clock, t.client.cancel(jobId))).toMatchObject({ outcome: "cancelling" });
  await t.clock.advance(25_000);
  expect((await settle(t.clock, t.client.get(jobId))).datacenters).toMatchObject({
    east: { status: "cancelled" },
  });
  await t.west.end(jobId, "cancelled");
  await t.clock.advance(100);
  expect((await settle(t.clock, t.client.get(jobId))).status).toBe("cancelled");
  const ends = (await t.history(jobId)).filter(
    (event) => event.type === "job.status" && event.datacenter === "east" && event.status === "cancelled",
  );
  expect(ends).toHaveLength(1);
});
