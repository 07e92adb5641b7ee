import { createMemoryStore } from "@holdfast/coordination/memory";
import { ClosedError, deferred } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { StateReplica } from "./state-replica.ts";

describe("a replica that is stopped while it starts", () => {
  it("follows nothing afterwards, and starts anew when asked", async () => {
    const clock = new VirtualClock();
    const { states } = createMemoryStore({ clock });
    const read = states.snapshot.bind(states);
    const answer = deferred<void>();
    vi.spyOn(states, "snapshot").mockImplementationOnce(async (...args) => {
      const snapshot = await read(...args);
      await answer.promise;
      return snapshot;
    });
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
});
