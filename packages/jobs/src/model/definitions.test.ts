import { describe, expect, it } from "vitest";
import { z } from "zod";
import { DuplicateWorkflowError } from "../errors.ts";
import { defineLoadTest } from "./define-load-test.ts";
import { defineWorkflow, isWorkflowDefinition } from "./define-workflow.ts";
import { checkInput, createRegistry } from "./registry.ts";

const base = { name: "import", input: z.object({ size: z.number() }), run: async () => undefined };
const loadBase = { name: "load", input: z.object({}), durationMs: 1_000, action: async () => undefined };

describe("defineWorkflow", () => {
  it("fills in the documented defaults", () => {
    const definition = defineWorkflow(base);
    expect(definition).toMatchObject({
      kind: "workflow",
      name: "import",
      description: "",
      dependsOn: [],
      timeoutMs: 300_000,
      maxAttempts: 3,
      backoff: { baseMs: 1_000, factor: 2, capMs: 60_000 },
      fixedShardCount: 1,
    });
    expect(isWorkflowDefinition(definition)).toBe(true);
    expect(isWorkflowDefinition({ ...definition })).toBe(false);
  });

  it.each([
    ["name", { ...base, name: "no spaces" }, "defineWorkflow.name"],
    ["a long name", { ...base, name: "x".repeat(129) }, "defineWorkflow.name"],
    ["input", { ...base, input: {} }, "defineWorkflow.input"],
    ["shards", { ...base, shards: 0 }, "defineWorkflow.shards"],
    ["a fraction of a shard", { ...base, shards: 1.5 }, "defineWorkflow.shards"],
    ["maxAttempts", { ...base, maxAttempts: 1_001 }, "defineWorkflow.maxAttempts"],
    ["timeoutMs", { ...base, timeoutMs: 0 }, "defineWorkflow.timeoutMs"],
    ["backoff", { ...base, backoff: { factor: 0.5 } }, "defineWorkflow.backoff.factor"],
    ["a cap below the base", { ...base, backoff: { baseMs: 10, capMs: 5 } }, "defineWorkflow.backoff.capMs"],
    ["dependsOn itself", { ...base, dependsOn: ["import"] }, "defineWorkflow.dependsOn[0]"],
    ["dependsOn twice", { ...base, dependsOn: ["a", "a"] }, "defineWorkflow.dependsOn[1]"],
    ["run", { ...base, run: "later" }, "defineWorkflow.run"],
    ["an option that does not exist", { ...base, retries: 3 }, "defineWorkflow.retries"],
  ])("refuses a wrong %s and names the field", (_what, options, field) => {
    expect(() => defineWorkflow(options as never)).toThrow(expect.objectContaining({ field }));
  });

  it("checks the shard count that a function gives for an input", async () => {
    const definition = defineWorkflow({ ...base, shards: ({ size }) => size });
    expect(await checkInput(definition, { size: 4 })).toMatchObject({ kind: "valid", shardCount: 4 });
    expect(await checkInput(definition, { size: 0 })).toMatchObject({
      kind: "invalid",
      issues: [{ path: "shards" }],
    });
  });
});

describe("defineLoadTest", () => {
  it("allows an attempt its duration and a minute", () => {
    expect(defineLoadTest(loadBase).timeoutMs).toBe(300_000);
    expect(defineLoadTest({ ...loadBase, durationMs: 600_000 }).timeoutMs).toBe(660_000);
    expect(defineLoadTest({ ...loadBase, timeoutMs: 5_000 }).timeoutMs).toBe(5_000);
  });

  it.each([
    ["durationMs", { ...loadBase, durationMs: 0 }, "defineLoadTest.durationMs"],
    ["ratePerSecond", { ...loadBase, ratePerSecond: -1 }, "defineLoadTest.ratePerSecond"],
    ["vus", { ...loadBase, vus: 0 }, "defineLoadTest.vus"],
    ["no action", { ...loadBase, action: undefined }, "defineLoadTest.action"],
    ["both action and setup", { ...loadBase, setup: async () => async () => 1 }, "defineLoadTest.action"],
    ["dependsOn", { ...loadBase, dependsOn: ["a"] }, "defineLoadTest.dependsOn"],
  ])("refuses a wrong %s and names the field", (_what, options, field) => {
    expect(() => defineLoadTest(options as never)).toThrow(expect.objectContaining({ field }));
  });
});

describe("createRegistry", () => {
  it("refuses a name registered twice and names both places", () => {
    const definitions = [defineWorkflow(base), defineLoadTest(loadBase), defineWorkflow(base)];
    expect(() => createRegistry(definitions)).toThrow(DuplicateWorkflowError);
    expect(() => createRegistry(definitions, ["export a", "export b", "export c"])).toThrow(
      /"import" is registered twice, as export a and as export c/,
    );
  });

  it("tells managers everything but the code, with the JSON Schema of the input", () => {
    const registry = createRegistry([defineWorkflow({ ...base, dependsOn: ["fetch"], shards: 8 })]);
    expect(registry.catalog()).toEqual([
      {
        name: "import",
        kind: "workflow",
        description: "",
        shards: 8,
        timeoutMs: 300_000,
        maxAttempts: 3,
        dependsOn: ["fetch"],
        inputSchema: expect.objectContaining({ type: "object", required: ["size"] }),
      },
    ]);
  });
});

describe("checkInput", () => {
  const definition = defineWorkflow({
    name: "batch",
    input: z.object({
      batch: z.object({ sizes: z.array(z.number().max(10)) }),
      mode: z.string().default("fast"),
    }),
    run: async () => undefined,
  });

  it("gives the schema's output", async () => {
    expect(await checkInput(definition, { batch: { sizes: [1] } })).toEqual({
      kind: "valid",
      shardCount: 1,
      value: { batch: { sizes: [1] }, mode: "fast" },
    });
  });

  it("names the path and the value of each issue", async () => {
    expect(await checkInput(definition, { batch: { sizes: [1, 11] }, mode: 5 })).toEqual({
      kind: "invalid",
      issues: [
        { path: "batch.sizes.1", message: expect.any(String), value: 11 },
        { path: "mode", message: expect.any(String), value: 5 },
      ],
    });
  });

  it("shortens a large value", async () => {
    const check = await checkInput(definition, { batch: "x".repeat(10_000) });
    expect(JSON.stringify(check).length).toBeLessThan(500);
  });

  it("turns a schema that throws into an issue", async () => {
    const broken = defineWorkflow({
      ...base,
      input: {
        "~standard": {
          version: 1,
          vendor: "test",
          validate: () => {
            throw new Error("schema bug");
          },
        },
      },
    });
    expect(await checkInput(broken, {})).toMatchObject({
      kind: "invalid",
      issues: [{ path: "", message: expect.stringContaining("schema bug") }],
    });
  });
});
