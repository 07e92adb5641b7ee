import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { createThreadExecutor, loadWorkflowModule } from "../../src/worker/index.ts";

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

const loaders: readonly (readonly [string, (path: string) => Promise<readonly string[]>])[] = [
  ["in this process", async (path) => (await loadWorkflowModule(path)).names],
  [
    "in a thread",
    async (path) => {
      const executor = createThreadExecutor({ modulePath: path, nodeId: "worker-1", cores: 1 });
      try {
        return (await executor.start()).map(({ name }) => name);
      } finally {
        await executor.close();
      }
    },
  ],
];

describe.each(loaders)("a module of workflows loaded %s", (_where, load) => {
  it("registers named exports and arrays, each definition once", async () => {
    expect([...(await load(fixture("listed.mjs")))].sort()).toEqual(["one", "two"]);
  });

  it("may be TypeScript", async () => {
    expect(await load(fixture("workflows.ts"))).toContain("echo");
  });

  it.each([
    ["does not exist", "missing.ts", "JOBS_WORKFLOW_MODULE", /missing\.ts.*does not load/],
    ["throws", "throwing.ts", "JOBS_WORKFLOW_MODULE", /the settings file is missing/],
    ["exports no workflow", "nothing.ts", "JOBS_WORKFLOW_MODULE", /exports no workflow; export what/],
    ["registers a name twice", "twice.ts", "JOBS_DUPLICATE_WORKFLOW", /"same".*export first.*export second/],
  ])("that %s is refused with a reason", async (_what, file, code, message) => {
    const error: unknown = await load(fixture(file)).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).toMatch(message);
  });
});
