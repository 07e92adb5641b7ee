import { describe, expect, it } from "vitest";
import { UsageError } from "../terminal/problem.ts";
import { parseRateLimits } from "./rate-limits.ts";

describe("--rate-limits", () => {
  it("takes off, and limits by operation in seconds", () => {
    expect(parseRateLimits("off")).toBe("off");
    expect(parseRateLimits("job_submit=500/10, cancel=5/0.5s")).toEqual({
      job_submit: { limit: 500, windowMs: 10_000 },
      cancel: { limit: 5, windowMs: 500 },
    });
  });

  it("refuses what it cannot mean, naming the part", () => {
    for (const text of [
      "",
      "on",
      "job_submit",
      "job_submit=0/10",
      "job_submit=5/0",
      "job_submit=-5/10",
      "job_submit=1.5/10",
      "job_submit=5/3601",
      "job_submit=2000000/10",
      "jobs=5/10",
      "job_submit=5/10,job_submit=6/10",
    ]) {
      expect(() => parseRateLimits(text), text).toThrow(UsageError);
    }
  });
});
