import { expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

it.each<[string, unknown, string]>([
  ["a big integer", { ids: [2n ** 60n] }, "spec.workflows[0].input.ids[0]"],
  ["NaN", { rate: Number.NaN }, "spec.workflows[0].input.rate"],
  ["an infinity", [1, Number.POSITIVE_INFINITY], "spec.workflows[0].input[1]"],
])("a gate refuses an input with %s by its path and stores nothing", async (_, input, field) => {
  await using t = await setup();
  const workflows = [{ workflow: "w", input }];
  await expect(t.submit({ workflows })).rejects.toMatchObject({
    code: "KERNEL_INVALID_INPUT",
    retryable: false,
    details: { field },
  });
  const { jobs } = await settle(t.clock, t.client.list());
  expect(jobs).toEqual([]);
  expect(await t.submit()).toMatchObject({ status: "submitted", duplicate: false });
});
