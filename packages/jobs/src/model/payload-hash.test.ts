import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson, payloadHash, payloadName } from "./payload-hash.ts";

/** As it was first written, and as it lies in stores: sort, then let JSON write it. */
const sorted = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const record = value as Record<string, unknown>;
  const entries = Object.keys(record)
    .sort()
    .filter((key) => record[key] !== undefined)
    .map((key) => [key, sorted(record[key])] as const);
  return Object.fromEntries(entries);
};

describe("the hash of a payload", () => {
  it("is that of its JSON with sorted keys, whatever the payload, so that stored hashes stay true", () => {
    const anything = fc.anything({ withDate: false, withBigInt: false, withNullPrototype: true });
    fc.assert(
      fc.property(anything, (value) => {
        const text = JSON.stringify(sorted(value)) ?? "null";
        expect(canonicalJson(value)).toBe(text);
        expect(payloadHash(value)).toBe(createHash("sha256").update(text).digest("hex"));
      }),
    );
  });

  it("does not depend on the order of keys, and leaves out what JSON leaves out", () => {
    expect(canonicalJson({ b: 1, a: { d: undefined, c: [undefined, () => 1] } })).toBe(
      '{"a":{"c":[null,null]},"b":1}',
    );
    expect(canonicalJson(JSON.parse('{"__proto__":{"b":2,"a":1}}'))).toBe('{"__proto__":{"a":1,"b":2}}');
    expect(canonicalJson(undefined)).toBe("null");
  });

  it("tells apart what differs in a date alone", () => {
    const dueAt = (ms: number) => ({ due: { at: new Date(ms) } });
    expect(canonicalJson(dueAt(0))).toBe('{"due":{"at":"1970-01-01T00:00:00.000Z"}}');
    expect(payloadHash(dueAt(0))).not.toBe(payloadHash(dueAt(1)));
  });

  it("is not needed to name a short payload in a cache, and keeps long ones apart", () => {
    expect(payloadName({ b: 1, a: 2 })).toBe('{"a":2,"b":1}');
    const long = "x".repeat(1_000);
    expect(payloadName([long, 1])).toBe(payloadHash([long, 1]));
    expect(payloadName([long, 1])).not.toBe(payloadName([long, 2]));
  });
});
