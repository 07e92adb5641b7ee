import { describe, expect, it } from "vitest";
import { ReplicaCache } from "./replica-cache.ts";
import type { StateEntry } from "./states.ts";

const entry = (key: string, revision: bigint, value = "v"): StateEntry => ({
  key,
  value,
  metadata: null,
  revision,
  remainingMs: undefined,
});

describe("a replica's cache", () => {
  it.each([
    1n,
    2n,
  ])("tells of own writes that a snapshot of epoch %s overtook, and of nothing that is the same", (epoch) => {
    const cache = new ReplicaCache(100);
    const kept = [entry("told", 3n), entry("deleted", 4n)];
    cache.reset({ epoch: 1n, offset: 4n }, kept, 0);
    // Answered, and not yet come back as changes.
    expect(cache.write({ epoch: 1n, offset: 5n }, "own", entry("own", 5n), 0)).toBe(true);
    expect(cache.write({ epoch: 1n, offset: 6n }, "deleted", undefined, 0)).toBe(true);
    const differences = cache.reset({ epoch, offset: 6n }, [entry("told", 3n), entry("own", 5n)], 0);
    expect(differences).toMatchObject([
      { kind: "set", entry: { key: "own" } },
      { kind: "deleted", key: "deleted" },
    ]);
    expect(cache.reset({ epoch, offset: 6n }, [entry("told", 3n), entry("own", 5n)], 0)).toEqual([]);
  });
});
