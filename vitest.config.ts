import { defineConfig } from "vitest/config";

// Tests run against the sources of every package, so no build is needed between an edit and a run.
// Without "import" and "module": Vitest hands these to Node for require() too, and a CommonJS package would get an ES module.
const conditions = ["holdfast-source", "node", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: ["node", "default"] } },
  oxc: { target: "node20" },
  test: {
    include: ["{packages,apps,examples}/*/{src,test}/**/*.test.{ts,tsx}", "scripts/**/*.test.ts"],
    setupFiles: ["scripts/patient-tests.ts", "scripts/no-leaks.ts"],
    // Only a test that hangs meets these, however busy the machine is.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
