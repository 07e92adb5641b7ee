import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { waitForGrant } from "./wait-in-line.ts";

describe("a wait for what others hold", () => {
  it("ends at once when it is aborted during a look that answers all the same", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const reason = new Error("enough");
    const waiting = waitForGrant({
      clock,
      waitMs: 60_000,
      signal: controller.signal,
      timedOut: () => new Error("timed out"),
      subscribe: () => () => undefined,
      look: async () => {
        controller.abort(reason);
        return { kind: "busy", holder: "other", remainingMs: 60_000 };
      },
    });
    await expect(waiting).rejects.toBe(reason);
    expect([clock.pendingCount, clock.monotonicNow()]).toEqual([0, 0]);
  });
});
