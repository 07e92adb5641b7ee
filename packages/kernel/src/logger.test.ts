import { expect, it } from "vitest";
import { silentLogger } from "./logger.ts";

it("takes every line and every child and says nothing", () => {
  const child = silentLogger.child({ node: "a" });
  for (const level of ["debug", "info", "warn", "error"] as const)
    expect(child[level]({ field: 1 }, "message")).toBeUndefined();
});
