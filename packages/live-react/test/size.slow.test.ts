import { brotliCompressSync } from "node:zlib";
import { build, type Rollup } from "vite";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

/** Bytes that a page loads for this entry: bundled, minified, compressed. */
const sizeOf = async (entry: string, external: readonly string[] = []): Promise<number> => {
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
  return output.output.reduce(
    (sum, chunk) => sum + (chunk.type === "chunk" ? brotliCompressSync(chunk.code).length : 0),
    0,
  );
};

// As a page is built, not as a test.
beforeEach(() => void vi.stubEnv("NODE_ENV", "production"));
afterEach(() => void vi.unstubAllEnvs());

describe("what a page loads, minified and compressed", () => {
  it("is at most 8 kB for the client", async () => {
    const bytes = await sizeOf('export { BroadcastClient } from "@holdfast/live/client";');
    expect(bytes).toBeGreaterThan(3_000);
    expect(bytes).toBeLessThanOrEqual(8_000);
  });

  it("is at most 3 kB more for the React layer", async () => {
    const external = ["react", "react/jsx-runtime", "@holdfast/live/client", "@holdfast/kernel"];
    const bytes = await sizeOf('export * from "@holdfast/live-react";', external);
    expect(bytes).toBeGreaterThan(500);
    expect(bytes).toBeLessThanOrEqual(3_000);
  });
});
