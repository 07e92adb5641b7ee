import { VirtualClock } from "@holdfast/kernel/testing";
import type { Assignment } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import { z } from "zod";
import { defineWorkflow } from "../model/define-workflow.ts";
import { startShardRun } from "./shard-run.ts";

const ASSIGNMENT: Assignment = {
  taskId: "job-1/wf-1/0",
  token: "1",
  jobId: "job-1",
  workflowId: "wf-1",
  workflow: "w",
  name: "w",
  shard: 0,
  shardCount: 1,
  attempt: 1,
  datacenter: "east",
  input: null,
  timeoutMs: 60_000,
  leaseMs: 10_000,
  dependencies: {},
  leader: { nodeId: "m1", address: "m1:7411", fence: "1" },
} as unknown as Assignment;

const outputOf = (output: unknown): Promise<unknown> =>
  startShardRun({
    definition: defineWorkflow({ name: "w", input: z.unknown(), run: async () => output as never }),
    assignment: ASSIGNMENT,
    clock: new VirtualClock(),
    nodeId: "worker-1",
    database: undefined,
    extend: async () => 0,
  }).output;

class Money {
  readonly cents = 1;
}

it.each<readonly [kind: string, path: string, output: unknown]>([
  ["an instance of Map", ".by", { by: new Map([["a", 1]]) }],
  ["an instance of TypeError", "[0].cause", [{ cause: new TypeError("no") }]],
  ["a function", ".run", { fine: 1, run: () => 1 }],
  ["undefined", "[1]", [1, undefined]],
  ["NaN", ".mean", { mean: Number.NaN }],
  ["a bigint", ".n", { n: 1n }],
  ["an instance of Money", ".price", { price: new Money() }],
  ["a function", "", () => 1],
  ["an instance of Buffer", ".bytes", { bytes: Buffer.from("a") }],
])("an output that JSON would not give back fails its attempt: %s at output%s", async (kind, path, output) => {
  await expect(outputOf(output)).rejects.toMatchObject({
    code: "JOBS_INVALID_OUTPUT",
    retryable: false,
    details: { workflow: "w", field: `output${path}` },
    message: expect.stringContaining(`output${path} must be plain JSON, not ${kind}`),
  });
});

it("an output that says itself what its JSON is counts as that", async () => {
  expect(await outputOf({ at: new Date(0), left: undefined, url: new URL("http://a.b/") })).toEqual({
    at: "1970-01-01T00:00:00.000Z",
    url: "http://a.b/",
  });
  expect(await outputOf(undefined)).toBeNull();
});

it("an output is nested at most 100 levels deep: what is deeper fits no event", async () => {
  const nested = (levels: number): unknown =>
    levels === 0 ? "end" : levels % 2 ? [nested(levels - 1)] : { in: nested(levels - 1) };
  expect(await outputOf(nested(100))).toEqual(nested(100));
  await expect(outputOf(nested(101))).rejects.toMatchObject({
    code: "JOBS_INVALID_OUTPUT",
    retryable: false,
    message: expect.stringContaining("nested deeper than 100 levels"),
  });
});
