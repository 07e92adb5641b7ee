import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson, payloadHash } from "./payload-hash.ts";
import { parseShardGroup, shardGroup, shardTaskId } from "./shard-task.ts";

const ids = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.constantFrom("job-1", "a/b", "#x", "", "x".repeat(9_000)),
);

describe("names of shards", () => {
  it("keep any two pairs of ids apart and fit every queue", () => {
    fc.assert(
      fc.property(ids, ids, ids, ids, (jobA, workflowA, jobB, workflowB) => {
        const [a, b] = [shardGroup(jobA, workflowA), shardGroup(jobB, workflowB)];
        expect(a === b).toBe(jobA === jobB && workflowA === workflowB);
        expect(shardTaskId(a, 9_999).length).toBeLessThanOrEqual(256);
        const parsed = parseShardGroup(a);
        if (parsed !== undefined) expect(parsed).toEqual({ jobId: jobA, workflowId: workflowA });
      }),
    );
  });

  it("can be read back for ids as clients make them", () => {
    const group = shardGroup("job-0123456789abcdef", "wf-0123456789abcdef");
    expect(parseShardGroup(group)).toEqual({
      jobId: "job-0123456789abcdef",
      workflowId: "wf-0123456789abcdef",
    });
  });
});

describe("the hash of a payload", () => {
  it("is the same for the same JSON, whatever the order of its keys", () => {
    expect(payloadHash({ a: 1, b: { c: [1, 2], d: undefined } })).toBe(
      payloadHash({ b: { c: [1, 2] }, a: 1 }),
    );
    expect(payloadHash({ a: [1, 2] })).not.toBe(payloadHash({ a: [2, 1] }));
    expect(payloadHash("1")).not.toBe(payloadHash(1));
  });

  it("comes from JSON that means the same as the payload", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});
