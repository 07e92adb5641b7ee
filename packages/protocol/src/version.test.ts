import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { negotiate, PROTOCOL_FEATURES, PROTOCOL_VERSION, parseVersion } from "./version.ts";

const all = Object.keys(PROTOCOL_FEATURES);

describe("negotiate", () => {
  it("agrees on exactly the intersection, sorted", () => {
    const names = fc.array(fc.constantFrom("a", "b", "c", "d", "deflate"), { maxLength: 5 });
    fc.assert(
      fc.property(names, names, (ours, theirs) => {
        const { features } = negotiate(
          { version: "1.4", features: ours },
          { version: "1.4", features: theirs },
        );
        const expected = [...new Set(ours.filter((name) => theirs.includes(name)))].sort();
        expect(features).toEqual(expected);
      }),
    );
  });

  it("drops features that are newer than the older side", () => {
    const { compatible, features } = negotiate(
      { version: PROTOCOL_VERSION, features: all },
      { version: "1.1", features: all },
    );
    expect(compatible).toBe(true);
    expect(features).toEqual([
      "batched_stats",
      "cancellation",
      "heartbeat",
      "job_submission",
      "stats_compression",
      "workflow_dispatch",
    ]);
  });

  it("refuses another major version and agrees on nothing then", () => {
    for (const version of ["2.0", "0.9"]) {
      expect(negotiate({ version: "1.4", features: all }, { version, features: all })).toEqual({
        compatible: false,
        features: [],
      });
    }
  });

  it("reads a missing version as 1.0", () => {
    expect(parseVersion(undefined)).toEqual({ major: 1, minor: 0 });
    expect(parseVersion("nonsense")).toEqual({ major: 1, minor: 0 });
    expect(
      negotiate(
        { version: "1.4", features: ["fence_tokens", "heartbeat"] },
        { version: undefined, features: all },
      ).features,
    ).toEqual(["heartbeat"]);
  });

  it("ignores names that it does not know and those of Object.prototype", () => {
    expect(
      negotiate({ version: "1.4", features: ["toString"] }, { version: "1.0", features: ["toString", "x"] })
        .features,
    ).toEqual(["toString"]);
  });
});
