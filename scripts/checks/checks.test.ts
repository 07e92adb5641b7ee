import { describe, expect, it } from "vitest";

interface Source {
  readonly path: string;
}
type Check = (sources: readonly Source[]) => readonly string[];

// Plain JavaScript without types, because it also runs before anything is installed.
const load = (name: string): Promise<Record<string, never>> =>
  import(/* @vite-ignore */ new URL(`./${name}.mjs`, import.meta.url).href);
const { parseSource } = (await load("sources")) as unknown as {
  parseSource: (path: string, text: string) => Promise<Source>;
};
const { checkImports } = (await load("imports")) as unknown as { checkImports: Check };
const { checkGlobals } = (await load("globals")) as unknown as { checkGlobals: Check };
const { checkSleeps } = (await load("sleeps")) as unknown as { checkSleeps: Check };
const { findErrorCodes, documentedErrors } = (await load("errors")) as unknown as {
  findErrorCodes: (sources: readonly Source[]) => readonly { code: string; doc: string }[];
  documentedErrors: (text: string) => Map<string, { retryable: string; advice: string }>;
};

const imports = async (path: string, specifier: string) =>
  checkImports([await parseSource(path, `import { x } from "${specifier}";\nconsole.log(x);\n`)]);

describe("the check of imports", () => {
  it.each([
    ["packages/kernel/src/a.ts", "@holdfast/protocol", "kernel must not import protocol"],
    ["packages/coordination/src/a.ts", "@holdfast/data", "coordination must not import data"],
    ["packages/live/src/server/a.ts", "@holdfast/jobs", "live must not import jobs"],
    ["packages/jobs/src/gate/a.ts", "../manager/b.ts", "gate imports manager"],
    ["packages/jobs/src/client/deep/a.ts", "../../worker/b.ts", "client imports worker"],
    ["packages/jobs/src/gate/a.ts", "../../../data/src/b.ts", "leaves its package"],
    ["packages/jobs/src/gate/a.ts", "@holdfast/coordination/testing", "imports test doubles"],
    ["packages/jobs/src/gate/a.ts", "@holdfast/testkit", "imports the testkit"],
    ["packages/jobs/src/gate/a.ts", "./a.test.ts", "imports a test"],
    ["packages/resilience/src/a.ts", "node:fs", "also runs in a browser"],
  ])("refuses %s -> %s", async (path, specifier, problem) => {
    expect(await imports(path, specifier)).toEqual([expect.stringContaining(problem)]);
  });

  it.each([
    ["packages/jobs/src/gate/a.ts", "../model/b.ts"],
    ["packages/jobs/src/gate/a.ts", "@holdfast/coordination/postgres"],
    ["packages/jobs/test/a.test.ts", "@holdfast/testkit"],
    ["packages/kernel/src/a.test.ts", "node:fs"],
    ["apps/cli/src/a.ts", "@holdfast/jobs/gate"],
  ])("allows %s -> %s", async (path, specifier) => {
    expect(await imports(path, specifier)).toEqual([]);
  });

  it("sees exports and dynamic imports too", async () => {
    const text = `export * from "@holdfast/jobs";\nawait import("@holdfast/live");\n`;
    expect(checkImports([await parseSource("packages/data/src/a.ts", text)])).toHaveLength(2);
  });
});

describe("the check of globals", () => {
  const globals = async (path: string, text: string) => checkGlobals([await parseSource(path, text)]);

  it.each([
    "Date.now();",
    "new Date();",
    "performance.now();",
    "setTimeout(() => undefined, 1);",
    "Math.random();",
    "crypto.randomUUID();",
    `import { setTimeout } from "node:timers/promises"; setTimeout(1);`,
    "process.env.HOME;",
  ])("refuses %s in a package", async (text) => {
    expect(await globals("packages/jobs/src/a.ts", text)).not.toEqual([]);
  });

  it("allows them in the kernel and in tests, and instants from a number anywhere", async () => {
    expect(
      await globals("packages/kernel/src/clock.ts", "Date.now(); setTimeout(() => undefined, 1);"),
    ).toEqual([]);
    expect(await globals("packages/jobs/src/a.test.ts", "Date.now(); process.env.HOME;")).toEqual([]);
    expect(await globals("packages/jobs/src/a.ts", "new Date(5).toISOString();")).toEqual([]);
    expect(await globals("apps/cli/src/a.ts", "process.env.HOME;")).toEqual([]);
  });
});

describe("the check of sleeps", () => {
  const sleeps = async (path: string, text: string) => checkSleeps([await parseSource(path, text)]);

  it.each([
    "await new Promise((resolve) => setTimeout(resolve, 51));",
    "await new Promise((resolve) => { setTimeout(resolve, 1_000); });",
    "const PAUSE_MS = 200; await new Promise((done) => setTimeout(done, PAUSE_MS));",
    `import { setTimeout as pause } from "node:timers/promises"; await pause(100);`,
    "await systemClock.sleep(500);",
  ])("refuses %s in a test", async (text) => {
    expect(await sleeps("packages/jobs/test/a.test.ts", text)).toEqual([expect.stringContaining("sleeps")]);
    expect(await sleeps("packages/jobs/src/a.ts", text)).toEqual([]);
  });

  it.each([
    "await new Promise((resolve) => setTimeout(resolve, 50));",
    "await clock.sleep(60_000);",
    "await systemClock.sleep(60_000, { signal });",
    "await new Promise((resolve, reject) => { setTimeout(reject, 10_000); socket.once('data', resolve); });",
    "// Real time: a lease of the server has to lapse.\nawait systemClock.sleep(500);",
  ])("allows %s", async (text) => {
    expect(await sleeps("packages/jobs/test/a.test.ts", text)).toEqual([]);
  });
});

describe("the check of errors", () => {
  it("finds a code with the words of its class", async () => {
    const text = `/** The door is shut. Retryable. */
export class ShutError extends HoldfastError {
  override readonly name = "ShutError";
  readonly code = "DOOR_SHUT";
}`;
    const found = findErrorCodes([await parseSource("packages/kernel/src/errors.ts", text)]);
    expect(found).toMatchObject([{ code: "DOOR_SHUT", doc: "The door is shut. Retryable." }]);
  });

  it("reads the table", () => {
    const rows = documentedErrors(
      "| code | m |\n|---|---|\n| `DOOR_SHUT` | The door is shut. | yes | Knock. |\n",
    );
    expect(rows.get("DOOR_SHUT")).toMatchObject({ retryable: "yes", advice: "Knock." });
  });
});
