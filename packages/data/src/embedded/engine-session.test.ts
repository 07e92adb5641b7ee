import type { PGlite } from "@electric-sql/pglite";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { EngineSession } from "./engine-session.ts";
import { ENGINE_POSTGRES_MAJOR, ENGINE_VERSION } from "./engine-version.ts";

const sessionOver = (execProtocolStream: () => Promise<unknown>): EngineSession =>
  new EngineSession({
    engine: { execProtocolStream } as unknown as PGlite,
    clock: systemClock,
    where: "here",
  });

describe("the session of the embedded engine", () => {
  it("takes no more statements after the engine stopped in the middle of one", async () => {
    for (const broken of [
      async () => [{ name: "parseComplete" }],
      async () => [{ name: "error", message: "could not write", severity: "PANIC", code: "53100" }],
      async () => {
        throw new WebAssembly.RuntimeError("unreachable");
      },
    ]) {
      let callCount = 0;
      const session = sessionOver(() => {
        callCount += 1;
        return broken();
      });
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await expect(session.run("SELECT 1", [], {})).rejects.toMatchObject({
          code: "SQL_ENGINE_FAILED",
          message: expect.stringContaining("here"),
          cause: expect.anything(),
        });
      }
      expect(callCount).toBe(1);
      expect(session.hasFailed).toBe(true);
    }
  });

  it("is built for the engine that is installed", async () => {
    const { readFile } = await import("node:fs/promises");
    const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
    expect(manifest.dependencies["@electric-sql/pglite"]).toBe(ENGINE_VERSION);
    expect(ENGINE_POSTGRES_MAJOR).toBe(18);
  });
});
