import { createMemoryStore } from "@holdfast/coordination/memory";
import { ClosedError, type Deferred, deferred } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { StateReplica } from "./state-replica.ts";
import type { States } from "./states.ts";

/** Keeps the first snapshot back, as it was read, until what is returned resolves. */
const holdSnapshot = (states: States<never>): Deferred<void> => {
  const read = states.snapshot.bind(states);
  const answer = deferred<void>();
  vi.spyOn(states, "snapshot").mockImplementationOnce(async (...args) => {
    const snapshot = await read(...args);
    await answer.promise;
    return snapshot;
  });
  return answer;
};

describe("a replica that is stopped while it starts", () => {
  it("follows nothing afterwards, and starts anew when asked", async () => {
    const clock = new VirtualClock();
    const { states } = createMemoryStore({ clock });
    const answer = holdSnapshot(states);
    const replica = new StateReplica({ states, clock });
    const starting = replica.start();
    const refused = expect(starting).rejects.toThrow(ClosedError);
    await replica.stop();
    answer.resolve();
    await refused;
    expect(replica.isFollowing).toBe(false);
    const asked = vi.spyOn(states, "changes");
    await clock.advance(60_000);
    expect(asked).not.toHaveBeenCalled();
    await replica.start();
    expect(replica.isFollowing).toBe(true);
    await replica.stop();
    expect(clock.pendingCount).toBe(0);
  });

  it("takes in no answer that the start before was still waiting for: it is older than what has been seen", async () => {
    const clock = new VirtualClock();
    const { states } = createMemoryStore({ clock });
    const writer = new StateReplica({ states, clock });
    await writer.set("k", "old");
    const answer = holdSnapshot(states);
    const replica = new StateReplica({ states, clock });
    const refused = expect(replica.start()).rejects.toThrow(ClosedError);
    await clock.advance(1);
    await replica.stop();
    await writer.set("k", "new");
    await replica.start();
    expect(await replica.get("k")).toBe("new");
    const updates: unknown[] = [];
    replica.onUpdate((update) => updates.push(update));
    const before = replica.position;
    answer.resolve();
    await clock.advance(0);
    await refused;
    expect(replica.position).toEqual(before);
    expect(await replica.get("k")).toBe("new");
    expect(replica.stats()).toMatchObject({ isFresh: true });
    await clock.advance(10_000);
    expect(updates).toEqual([]);
    await replica.stop();
  });
});
