import { connect, createHandlers } from "@holdfast/connection";
import { seededRandom } from "@holdfast/kernel";
import { submitJob } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

it.each<[string, unknown, string]>([
  ["a big integer", { ids: [2n ** 60n] }, "spec.workflows[0].input.ids[0]"],
  ["NaN", { rate: Number.NaN }, "spec.workflows[0].input.rate"],
  ["an infinity", [1, Number.POSITIVE_INFINITY], "spec.workflows[0].input[1]"],
  ["bytes", { file: { content: Buffer.from("content") } }, "spec.workflows[0].input.file.content"],
])("a gate refuses an input with %s by its path and stores nothing", async (_, input, field) => {
  await using t = await setup();
  // A client of ours would not even send it.
  const peer = await settle(
    t.clock,
    connect({
      address: t.gate.address,
      transport: t.transport,
      clock: t.clock,
      random: seededRandom(5),
      handlers: createHandlers(),
      identity: { nodeId: "other", role: "client" },
    }),
  );
  const workflows = [{ id: "wf-1", name: "a", workflow: "w", input }];
  const submission = { jobId: "job-1", idempotencyKey: "key", spec: { name: "n", workflows } };
  await expect(settle(t.clock, peer.request(submitJob, submission))).rejects.toMatchObject({
    code: "KERNEL_INVALID_INPUT",
    retryable: false,
    details: { field },
  });
  await settle(t.clock, peer.close());
  const { jobs } = await settle(t.clock, t.client.list());
  expect(jobs).toEqual([]);
  expect(await t.submit()).toMatchObject({ status: "submitted", duplicate: false });
});
