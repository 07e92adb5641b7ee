import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const conditions = ["holdfast-source", "node", "default"];

/** For the fixtures beside it, most of which leave something open on purpose. */
export default defineConfig({
  root: here("."),
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: ["node", "default"] } },
  test: { include: ["*.fixture.ts"], setupFiles: [here("guard.ts")], fileParallelism: false },
});
