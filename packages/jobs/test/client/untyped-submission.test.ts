import { describe, expect, it } from "vitest";
import { setup } from "./client-setup.ts";

describe("a submission without types, as it comes over HTTP", () => {
  it.each([
    undefined,
    null,
    "w",
    {},
    [null],
    ["w"],
  ])("is refused as wrong input: workflows %j", async (workflows) => {
    await using t = await setup();
    await expect(t.client.submit({ workflows } as never)).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field: expect.stringMatching(/^workflows/),
    });
  });
});
