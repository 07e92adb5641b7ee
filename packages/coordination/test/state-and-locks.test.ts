import { StateReplica, type States, StoreUnavailableError } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { locksSuite, stateSyncSuite } from "@holdfast/coordination/testing";
import { deferred, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";

describe("the memory store", () => {
  const setUp = async () => {
    const clock = new VirtualClock();
    const store = createMemoryStore({ clock, random: seededRandom(1) });
    return {
      store,
      clock,
      elapse: (ms: number) => clock.advance(ms),
      [Symbol.asyncDispose]: () => store.close(),
    };
  };
  stateSyncSuite(setUp);
  locksSuite(setUp);
});

/** States that a test can cut off, silence, or answer late for. */
const faulty = (states: States<never>) => {
  const state = {
    isAway: false,
    isDeaf: false,
    gate: undefined as Promise<void> | undefined,
    changesGate: undefined as Promise<void> | undefined,
  };
  const interrupted = new Set<() => void>();
  const check = (): void => {
    if (state.isAway) throw new StoreUnavailableError("states");
  };
  const wrapped: States<never> = {
    write: async (...args) => {
      check();
      return states.write(...args);
    },
    read: async (...args) => {
      check();
      const result = await states.read(...args);
      await state.gate;
      return result;
    },
    snapshot: async (...args) => {
      check();
      return states.snapshot(...args);
    },
    changes: async (...args) => {
      check();
      const result = await states.changes(...args);
      await state.changesGate;
      return result;
    },
    expire: async (...args) => {
      check();
      return states.expire(...args);
    },
    onChange: (namespace, onChange, onInterrupted) => {
      interrupted.add(onInterrupted);
      const stop = states.onChange(
        namespace,
        (news) => {
          if (!state.isDeaf) onChange(news);
        },
        onInterrupted,
      );
      return () => {
        interrupted.delete(onInterrupted);
        stop();
      };
    },
  };
  return Object.assign(state, {
    states: wrapped,
    interrupt: () => {
      for (const each of interrupted) each();
    },
  });
};

const setUp = () => {
  const clock = new VirtualClock();
  const store = createMemoryStore({ clock });
  const link = faulty(store.states);
  const options = { clock, random: seededRandom(1), namespace: "ns", staleMaxMs: 5000, pollMs: 2000 };
  const replica = new StateReplica({ ...options, states: link.states });
  const writer = new StateReplica({ ...options, states: store.states });
  return {
    clock,
    link,
    replica,
    writer,
    options,
    [Symbol.asyncDispose]: async () => {
      await replica.stop();
      await store.close();
    },
  };
};

describe("a replica whose store is out of reach", () => {
  it("does not start, and says so", async () => {
    await using test = setUp();
    test.link.isAway = true;
    await expect(test.replica.start()).rejects.toThrow(StoreUnavailableError);
    expect(test.replica.isFollowing).toBe(false);
    test.link.isAway = false;
    await test.replica.start();
    expect(test.replica.isFollowing).toBe(true);
  });

  it("does not use its cache from the moment that it learns of the loss, and is right after the return, deletes included", async () => {
    await using test = setUp();
    const { replica, writer, link, clock } = test;
    await writer.set("a", 1);
    await writer.set("b", 1);
    await replica.start();
    const kinds: string[] = [];
    replica.onUpdate(({ kind }) => kinds.push(kind));
    link.isAway = true;
    link.isDeaf = true;
    link.interrupt();
    expect(replica.stats().isFresh).toBe(false);
    await expect(replica.get("a", { default: "default" })).rejects.toThrow(StoreUnavailableError);
    await expect(replica.set("a", 2)).rejects.toThrow(StoreUnavailableError);
    await writer.delete("a");
    await writer.set("b", 2);
    await clock.advance(60_000);
    await expect(replica.get("a")).rejects.toThrow(StoreUnavailableError);
    link.isAway = false;
    await clock.advance(3000);
    expect(await replica.get("a")).toBeUndefined();
    expect(await replica.get("b")).toBe(2);
    expect(replica.stats()).toMatchObject({ isFresh: true, misses: 2 });
    expect(kinds).toEqual(["deleted", "set"]);
  });

  it("never shows a value that was not confirmed for longer than its bound, even when nobody tells it of the loss", async () => {
    await using test = setUp();
    const { replica, writer, link, clock } = test;
    await writer.set("a", 1);
    await replica.start();
    link.isDeaf = true;
    await writer.set("a", 2);
    expect(await replica.get("a")).toBe(1);
    // The announcement was lost; the next look finds it.
    await clock.advance(2000);
    expect(await replica.get("a")).toBe(2);
    link.isAway = true;
    await clock.advance(5001);
    await expect(replica.get("a")).rejects.toThrow(StoreUnavailableError);
  });
});

describe("an answer that was overtaken", () => {
  it("by a change is not cached", async () => {
    await using test = setUp();
    const { writer, link, clock, options } = test;
    for (const key of ["a", "b", "c"]) await writer.set(key, 1);
    await using small = new StateReplica({ ...options, states: link.states, cacheMaxCount: 2 });
    await small.start();
    const gate = deferred<void>();
    link.gate = gate.promise;
    const reading = small.get("a");
    await clock.advance(0);
    await writer.set("a", 2);
    await clock.advance(1);
    gate.resolve();
    expect(await reading).toBe(1);
    expect(small.stats().cached).toBe(0);
    expect(await small.get("a")).toBe(2);
    expect(small.stats().cached).toBe(1);
  });

  it("by a first write does not make the cache look right again: it reads its own write", async () => {
    await using test = setUp();
    const { replica, link, clock } = test;
    await replica.start();
    const gate = deferred<void>();
    link.changesGate = gate.promise;
    await clock.advance(2000);
    // The answer that says "nothing was ever written" is under way while the first write begins an epoch.
    await replica.set("k", 1);
    link.changesGate = undefined;
    gate.resolve();
    for (let turn = 0; turn < 20; turn += 1) {
      expect(await replica.get("k")).toBe(1);
    }
  });

  it("by an older change of the same key keeps the newer value", async () => {
    await using test = setUp();
    const { replica, writer, link, clock } = test;
    await replica.start();
    link.isDeaf = true;
    await writer.set("a", "older");
    await replica.set("a", "newer");
    expect(await replica.get("a")).toBe("newer");
    await clock.advance(2000);
    expect(await replica.get("a")).toBe("newer");
    await writer.set("b", "older");
    await replica.delete("b");
    expect(await replica.get("b")).toBeUndefined();
    await clock.advance(2000);
    expect(await replica.get("b")).toBeUndefined();
    expect(await writer.get("b")).toBeUndefined();
  });
});
