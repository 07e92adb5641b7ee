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

describe("an input that would arrive as something else", () => {
  it.each<[string, unknown]>([
    ["a map", new Map([["a", 1]])],
    ["a set", new Set([1])],
    ["an error", new TypeError("no")],
    ["a function", () => 1],
    ["a buffer", Buffer.from("content")],
    ["a typed array", new Float64Array([1.5])],
    ["an array buffer", new ArrayBuffer(3)],
    ["a big integer", 2n ** 60n],
    ["NaN", Number.NaN],
  ])("is refused by its path, and nothing is sent: %s", async (_, value) => {
    await using t = await setup();
    const workflows = [
      { workflow: "w", input: {} },
      { workflow: "w", name: "b", input: { rows: [{ value }] } },
    ];
    await expect(t.client.submit({ workflows })).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field: "spec.workflows[1].input.rows[0].value",
      retryable: false,
    });
    expect(t.submissions()).toEqual([]);
  });

  it("is none with dates, with what is undefined, and with what is nested deep", async () => {
    await using t = await setup();
    let deep: object = {};
    for (let depth = 0; depth < 100; depth += 1) deep = { deep };
    await t.submit({ workflows: [{ workflow: "w", input: { at: new Date(0), none: undefined, deep } }] });
    expect(t.submissions()).toHaveLength(1);
  });
});
