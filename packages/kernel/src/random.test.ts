import { describe, expect, it } from "vitest";
import { newId } from "./id.ts";
import { type Random, randomHex, randomInt, seededRandom, systemRandom } from "./random.ts";

const take = (random: Random, count: number): number[] => Array.from({ length: count }, () => random.next());

describe.each([
  ["the system's", systemRandom],
  ["a seeded", seededRandom(20)],
])("%s source of chance", (_name, random) => {
  it("stays within [0, 1) and is spread evenly", () => {
    const values = take(random, 20_000);
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    const buckets = new Array<number>(10).fill(0);
    for (const value of values) buckets[Math.floor(value * 10)] = (buckets[Math.floor(value * 10)] ?? 0) + 1;
    // 2,000 are expected in each; seven standard deviations are 300.
    for (const count of buckets) expect(Math.abs(count - 2_000)).toBeLessThan(300);
  });
});

describe("a seeded source", () => {
  it("repeats its sequence exactly for the same seed", () => {
    expect(take(seededRandom(42), 1_000)).toEqual(take(seededRandom(42), 1_000));
  });

  it("gives the same numbers in every version, so that a recorded seed replays", () => {
    expect(take(seededRandom(1), 3).map((value) => value * 2 ** 32)).toEqual([
      2_420_951_833, 2_513_034_076, 3_847_892_949,
    ]);
  });

  it("differs from seed to seed, also between neighbours", () => {
    const first = Array.from({ length: 1_000 }, (_, seed) => seededRandom(seed).next());
    expect(new Set(first).size).toBe(1_000);
  });

  it("is not moved by another one", () => {
    const one = seededRandom(7);
    const other = seededRandom(8);
    const mixed = Array.from({ length: 100 }, () => {
      other.next();
      return one.next();
    });
    expect(mixed).toEqual(take(seededRandom(7), 100));
  });
});

describe("randomInt", () => {
  it("gives whole numbers below the bound, all of them", () => {
    const random = seededRandom(3);
    const seen = new Set(Array.from({ length: 1_000 }, () => randomInt(random, 6)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(randomInt({ next: () => 1 - 2 ** -53 }, 1)).toBe(0);
  });
});

describe("randomHex", () => {
  it.each([0, 1, 7, 8, 9, 16, 33])("gives exactly %i digits", (length) => {
    expect(randomHex(systemRandom, length)).toMatch(new RegExp(`^[0-9a-f]{${length}}$`));
  });

  it("keeps leading zeros", () => {
    expect(randomHex({ next: () => 0 }, 16)).toBe("0".repeat(16));
  });
});

describe("newId", () => {
  it("is the prefix and 16 hexadecimal digits", () => {
    expect(newId("job", systemRandom)).toMatch(/^job-[0-9a-f]{16}$/);
  });

  it("does not repeat, and repeats exactly under the same seed", () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => newId("wf", systemRandom)));
    expect(ids.size).toBe(10_000);
    expect(newId("wf", seededRandom(5))).toBe(newId("wf", seededRandom(5)));
  });
});
