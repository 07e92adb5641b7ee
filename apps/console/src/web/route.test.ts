import { describe, expect, it } from "vitest";
import { comparePath, jobPath, parseRoute } from "./route.ts";

describe("an address of the console", () => {
  it.each([
    { a: "job/1", b: "job 2&c", level: "0.05" },
    { a: undefined, b: "job-é", level: undefined },
    { a: undefined, b: undefined, level: undefined },
  ])("of a comparison keeps what was chosen: $a, $b", (chosen) => {
    expect(parseRoute(comparePath(chosen))).toEqual({ page: "compare", ...chosen });
  });

  it("of a job keeps its id, whatever it is made of", () => {
    expect(parseRoute(jobPath("nightly/import é?#"))).toEqual({ page: "job", jobId: "nightly/import é?#" });
  });

  it("takes what is empty for not chosen, and says which page it does not know", () => {
    expect(parseRoute("/compare?a=&b=job-1")).toMatchObject({ a: undefined, b: "job-1" });
    expect(parseRoute("/nowhere?a=1")).toEqual({ page: "unknown", path: "/nowhere" });
  });

  it("that nobody can have made leads to no page, and breaks none", () => {
    expect(parseRoute("/jobs/100%")).toEqual({ page: "unknown", path: "/jobs/100%" });
    for (const path of ["//", "//jobs", "//evil.example/"])
      expect(parseRoute(path)).toEqual({ page: "unknown", path });
  });
});
