import { describe, expect, it, vi } from "vitest";
import { describeService } from "./describe-service.ts";

vi.mock("../services/availability.ts", () => ({
  serviceUnavailable: (name: string) => (name === "redis" ? "Redis was not found" : undefined),
}));

describe("a suite whose service is absent", () => {
  it("is skipped with the reason in its title, and none of it runs or passes", () => {
    vi.stubEnv("HOLDFAST_REQUIRE_SERVICES", "0");
    const skip = vi.spyOn(describe, "skip").mockImplementation((() => undefined) as never);
    const suite = vi.fn();
    describeService(["chromium", "redis"], "pages over Redis", suite);
    expect(skip.mock.calls).toEqual([["pages over Redis [skipped: Redis was not found]", suite]]);
    expect(suite).not.toHaveBeenCalled();
    skip.mockRestore();
    vi.unstubAllEnvs();
  });
});
