import { seededRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { encodeValue } from "./codec.ts";
import { NearCache, type NearEntry } from "./near-cache.ts";

const entryOf = (key: string, tags: readonly string[] = [], bytes = 10): NearEntry => ({
  key,
  tags,
  encoded: encodeValue(key),
  promise: undefined,
  bytes,
  freshUntil: 1_000,
  confirmedAt: 0,
  isVisited: false,
});

describe("the copies of a process", () => {
  it("stay within their count and bytes, and lose first what was not hit", () => {
    const near = new NearCache({ entryMaxCount: 3, bytesMax: 1_000 });
    for (const key of ["a", "b", "c"]) near.put(entryOf(key));
    const a = near.get("a");
    if (a !== undefined) a.isVisited = true;
    near.put(entryOf("d"));
    expect([near.get("a"), near.get("b")].map((entry) => entry?.key)).toEqual(["a", undefined]);
    expect([near.size, near.bytes, near.evictedCount]).toEqual([3, 30, 1]);
    near.put(entryOf("big", [], 985));
    expect([near.size, near.get("big")?.key]).toEqual([2, "big"]);
    near.put(entryOf("too big", [], 1_001));
    expect(near.get("too big")).toBeUndefined();
  });

  it("keep a working set against a scan, and hold no tag that nobody uses", () => {
    const near = new NearCache({ entryMaxCount: 100, bytesMax: 1e9 });
    const random = seededRandom(1);
    let hitCount = 0;
    for (let index = 0; index < 20_000; index += 1) {
      const key = random.next() < 0.5 ? `hot${Math.floor(random.next() * 50)}` : `cold${index}`;
      const copy = near.get(key);
      if (copy === undefined) near.put(entryOf(key, [key]));
      else {
        copy.isVisited = true;
        hitCount += 1;
      }
    }
    expect(hitCount).toBeGreaterThan(9_000);
    expect(near.size).toBe(100);
  });

  it("go by key and by tag, and take no others with them", () => {
    const near = new NearCache({ entryMaxCount: 10, bytesMax: 1e9 });
    near.put(entryOf("a", ["x"]));
    near.put(entryOf("b", ["x", "y"]));
    near.put(entryOf("c", ["y"]));
    near.invalidate([], ["x"]);
    expect(["a", "b", "c"].map((key) => near.get(key)?.key)).toEqual([undefined, undefined, "c"]);
    near.invalidate(["c"], []);
    expect([near.size, near.bytes]).toEqual([0, 0]);
  });

  it("are not what an answer brings that an invalidation overtook", () => {
    const near = new NearCache({ entryMaxCount: 10, bytesMax: 1e9 });
    const mark = near.mark;
    expect(near.isTouched(mark, "a", ["x"])).toBe(false);
    near.invalidate(["a"], ["x"]);
    const later = near.mark;
    expect(near.isTouched(mark, "a", [])).toBe(true);
    expect(near.isTouched(mark, "b", ["y", "x"])).toBe(true);
    expect(near.isTouched(mark, "c", ["y"])).toBe(false);
    expect(near.isTouched(later, "a", ["x"])).toBe(false);
    near.clear();
    expect(near.isTouched(later, "c", [])).toBe(true);
    // What was under way for longer than changes are remembered may have been concerned.
    const old = near.mark;
    for (let index = 0; index < 256; index += 1) near.invalidate([`other${index}`], []);
    expect(near.isTouched(old, "c", [])).toBe(false);
    near.invalidate(["one more"], []);
    expect(near.isTouched(old, "c", [])).toBe(true);
  });
});
