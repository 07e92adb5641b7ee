import { describe, expect, it, vi } from "vitest";

vi.mock("../services/availability.ts", () => ({
  serviceUnavailable: (name: string) => (name === "redis" ? "Redis was not found" : undefined),
}));

/** `describeService` over a Vitest that notes what it is asked for. */
const load = async () => {
  const skip = vi.fn();
  const run = Object.assign(
    vi.fn((_title: string, body: () => void) => body()),
    { skip },
  );
  const test = vi.fn();
  vi.resetModules();
  vi.doMock("vitest", () => ({ describe: run, it: test }));
  const { describeService } = await import("./describe-service.ts");
  vi.doUnmock("vitest");
  return { describeService, run, skip, test };
};

describe("a suite whose service is absent", () => {
  it("is skipped with the reason in its title, and none of it runs or passes", async () => {
    vi.stubEnv("HOLDFAST_REQUIRE_SERVICES", "0");
    const { describeService, run, skip } = await load();
    const suite = vi.fn();
    describeService(["chromium", "redis"], "pages over Redis", suite);
    expect(skip.mock.calls).toEqual([["pages over Redis [skipped: Redis was not found]", suite]]);
    expect(run).not.toHaveBeenCalled();
    expect(suite).not.toHaveBeenCalled();
    vi.unstubAllEnvs();
  });

  it("fails where every service is required", async () => {
    vi.stubEnv("HOLDFAST_REQUIRE_SERVICES", "1");
    const { describeService, skip, test } = await load();
    const suite = vi.fn();
    describeService("redis", "Redis", suite);
    expect(skip).not.toHaveBeenCalled();
    expect(suite).not.toHaveBeenCalled();
    expect(test.mock.calls[0]?.[1]).toThrow("Redis was not found");
    vi.unstubAllEnvs();
  });
});
