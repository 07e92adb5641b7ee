import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { fuzz } from "./fuzz/wire-fuzz.ts";

expectNoLeaks();

describe("the wire under mutated bytes", () => {
  it("ends every case in frames or a typed error, quickly, in bounded memory, and the server goes on serving", async () => {
    const report = await fuzz({ seed: 20_261_121, caseCount: 2_000, seconds: 15 });
    expect(report.cases).toBeGreaterThan(100);
    expect(report.frames).toBeGreaterThan(50);
    expect(report.refused).toBeGreaterThan(50);
  });
});
