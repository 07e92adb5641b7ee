import fc from "fast-check";
import { expect, it } from "vitest";
import { keepNewest } from "./keep-newest.ts";

it("keeps the newest entries of a map or set, and no more than asked", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer()), fc.nat(20), (keys, maxCount) => {
      const newest = maxCount === 0 ? [] : keys.slice(-maxCount);
      const set = new Set(keys);
      keepNewest(set, maxCount);
      expect([...set]).toEqual(newest);
      const map = new Map(keys.map((key) => [key, `${key}`]));
      keepNewest(map, maxCount);
      expect([...map.keys()]).toEqual(newest);
    }),
  );
});
