import type { JobSpec } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { expandSpec } from "./expand-spec.ts";

const specOf = (...workflows: { name: string; workflow?: string; dependsOn?: string[] }[]): JobSpec => ({
  name: "job",
  workflows: workflows.map(({ name, workflow = name, dependsOn = [] }) => ({
    id: `wf-${name}`,
    name,
    workflow,
    input: { from: name },
    dependsOn,
    priority: "auto",
  })),
  timeoutMs: 1,
  datacenters: [],
  datacenterCount: 1,
  policy: "require-all",
  reporting: [],
  labels: {},
});

const expand = (spec: JobSpec, definitions: Record<string, readonly string[]>, jobId = "job-1") =>
  expandSpec(jobId, spec, async ({ workflow }) => definitions[workflow] ?? []);

describe("expanding a job", () => {
  it("leaves a job alone whose definitions ask for nothing", async () => {
    const spec = specOf({ name: "a" });
    expect(await expand(spec, {})).toBe(spec);
  });

  it("adds what is missing, through several levels, with the dependent's input", async () => {
    const expanded = await expand(specOf({ name: "report", workflow: "c" }), { c: ["b"], b: ["a"] });
    expect(
      expanded.workflows.map(({ name, workflow, dependsOn, input }) => [name, workflow, dependsOn, input]),
    ).toEqual([
      ["report", "c", ["b"], { from: "report" }],
      ["b", "b", ["a"], { from: "report" }],
      ["a", "a", [], { from: "report" }],
    ]);
  });

  it("waits for every workflow of the job that runs what is asked for, and adds none then", async () => {
    const expanded = await expand(
      specOf({ name: "one", workflow: "a" }, { name: "two", workflow: "a" }, { name: "last", workflow: "b" }),
      { b: ["a"] },
    );
    expect(expanded.workflows).toHaveLength(3);
    expect(expanded.workflows[2]?.dependsOn).toEqual(["one", "two"]);
  });

  it("adds one for all that ask for it, under a name that is free and an id that every node derives alike", async () => {
    const spec = specOf(
      { name: "a", workflow: "other" },
      { name: "x", workflow: "b" },
      { name: "y", workflow: "b" },
    );
    const [first, second] = [await expand(spec, { b: ["a"] }), await expand(spec, { b: ["a"] })];
    expect(first).toEqual(second);
    expect(first.workflows.map(({ name }) => name)).toEqual(["a", "x", "y", "a-2"]);
    expect(first.workflows[3]?.id).toMatch(/^wf-[0-9a-f]{16}$/);
    const elsewhere = await expand(spec, { b: ["a"] }, "job-2");
    expect(elsewhere.workflows[3]?.id).not.toBe(first.workflows[3]?.id);
  });

  it("changes nothing the second time", async () => {
    const definitions = { c: ["b"], b: ["a"] };
    const once = await expand(specOf({ name: "c" }), definitions);
    expect(await expand(once, definitions)).toBe(once);
  });

  it("refuses to grow a job beyond a thousand workflows", async () => {
    const workflows = Array.from({ length: 1000 }, (_, index) => ({ name: `w${index}`, workflow: "b" }));
    await expect(expand(specOf(...workflows), { b: ["a"] })).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
    });
  });
});
