import { cacheSession } from "@holdfast/data";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { MemoryState, MemoryStore } from "../src/cache/memory-store.ts";
import { cacheOver } from "./cache-over-store.ts";

const options = { name: "sessions", maxStalenessMs: 1_000, ttlJitter: 0 };

/** Two processes before one row; the second is told of no invalidation before its next sync. */
const setUp = async () => {
  const clock = new VirtualClock();
  const random = seededRandom(3);
  const state = new MemoryState({ random });
  const open = async (hears: boolean) => {
    const store = new MemoryStore({ state, clock, random });
    if (!hears) {
      const listen = store.listen.bind(store);
      store.listen = (listener) =>
        listen((event) => {
          if (event.kind !== "invalidated") listener(event);
        });
    }
    const cache = cacheOver(store, options, { clock, random });
    await cache.start();
    return cache;
  };
  const row = { value: "v1" };
  const load = async (): Promise<string> => row.value;
  return { clock, row, load, here: await open(true), there: await open(false) };
};

const POSITION = { epoch: 1n, position: 7n };

describe("a session that comes to another process", () => {
  it("sees its own write also where another session with the same position was before that was told", async () => {
    const { clock, row, load, here, there } = await setUp();
    // Both have committed; one of them is told at once, and its session reads there.
    await there.get("other", { load, session: { ...POSITION } });
    await clock.advance(1);
    await there.get("k", { load });
    row.value = "v2";
    await here.invalidate({ keys: ["k"] });
    expect(await there.get("k", { load })).toBe("v1");
    expect(await there.get("k", { load, session: { ...POSITION } })).toBe("v2");
    await here.close();
    await there.close();
  });

  it("is given copies from then on, until it has written again", async () => {
    const { clock, load, here, there } = await setUp();
    const session = { ...POSITION };
    const hits = () => there.stats().nearHitCount;
    await there.get("k", { load, session });
    await clock.advance(1);
    await there.get("k", { load, session });
    expect(hits()).toBe(1);
    session.position += 1n;
    await there.get("k", { load, session });
    expect(hits()).toBe(1);
    await there.get("k", { load, session });
    expect(hits()).toBe(2);
    await here.close();
    await there.close();
  });

  it("is the same one as long as a session of a cluster stays where it is", () => {
    const session = { position: { timeline: 2, lsn: 9n } };
    const first = cacheSession(session);
    expect(first).toEqual({ epoch: 2n, position: 9n });
    session.position = { timeline: 2, lsn: 9n };
    expect(cacheSession(session)).toBe(first);
    session.position = { timeline: 2, lsn: 10n };
    expect(cacheSession(session)).toEqual({ epoch: 2n, position: 10n });
    expect(cacheSession({ position: undefined })).toBeUndefined();
  });
});
