import { brotliCompressSync } from "node:zlib";
import { build, type Rollup } from "vite";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

/** What a page loads for this entry: bundled, minified, compressed. */
const load = async (
  entry: string,
  external: readonly string[] = [],
): Promise<{
  readonly bytes: number;
  readonly modules: readonly string[];
  readonly imports: readonly string[];
}> => {
  const id = "virtual:entry";
  const output = (await build({
    root: import.meta.dirname,
    configFile: false,
    logLevel: "error",
    resolve: { conditions: ["holdfast-source", "browser", "module", "import", "default"] },
    plugins: [
      {
        name: "entry",
        resolveId: (name) => (name === id ? `\0${id}` : undefined),
        load: (name) => (name === `\0${id}` ? entry : undefined),
      },
    ],
    build: {
      write: false,
      minify: true,
      target: "es2022",
      modulePreload: false,
      rollupOptions: {
        input: id,
        preserveEntrySignatures: "strict",
        external: [...external],
        output: { format: "es" },
      },
    },
  })) as Rollup.RollupOutput;
  const chunks = output.output.filter((chunk) => chunk.type === "chunk");
  return {
    bytes: chunks.reduce((sum, { code }) => sum + brotliCompressSync(code).length, 0),
    modules: chunks.flatMap((chunk) => chunk.moduleIds),
    imports: chunks.flatMap((chunk) => chunk.imports),
  };
};

// As a page is built, not as a test.
beforeEach(() => void vi.stubEnv("NODE_ENV", "production"));
afterEach(() => void vi.unstubAllEnvs());

describe("what a page loads, minified and compressed", () => {
  it("is at most 8 kB for the client", async () => {
    const { bytes } = await load('export { BroadcastClient } from "@holdfast/live/client";');
    expect(bytes).toBeGreaterThan(3_000);
    expect(bytes).toBeLessThanOrEqual(8_000);
  });

  it("is at most 3 kB more for the React layer", async () => {
    const external = ["react", "react/jsx-runtime", "@holdfast/live/client", "@holdfast/kernel"];
    const { bytes } = await load('export * from "@holdfast/live-react";', external);
    expect(bytes).toBeGreaterThan(500);
    expect(bytes).toBeLessThanOrEqual(3_000);
  });

  it("is nothing of anybody else's: no package, no module of Node", async () => {
    const { modules, imports } = await load('export * from "@holdfast/live/client";');
    expect(modules.length).toBeGreaterThan(10);
    expect(modules.filter((id) => /node_modules|browser-external/.test(id))).toEqual([]);
    expect(imports).toEqual([]);
  });
});
