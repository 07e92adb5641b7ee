import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { deferred } from "./abort.ts";
import { withTimeout } from "./deadline.ts";
import { TimeoutError } from "./errors.ts";
import { VirtualClock } from "./testing/virtual-clock.ts";

const limits = { operation: "asking the leader", timeoutMs: 100 };

describe("withTimeout", () => {
  it("gives what the body gives within the limit, and leaves no timer", async () => {
    const clock = new VirtualClock();
    const call = withTimeout(clock, limits, async (signal) => {
      await clock.sleep(99, { signal });
      return "done";
    });
    await clock.advance(99);
    await expect(call).resolves.toBe("done");
    expect(clock.pendingCount).toBe(0);
  });

  it("passes the body's own error on, also when it throws before its first await", async () => {
    const clock = new VirtualClock();
    const failure = new Error("failed");
    await expect(withTimeout(clock, limits, () => Promise.reject(failure))).rejects.toBe(failure);
    await expect(
      withTimeout(clock, limits, () => {
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(clock.pendingCount).toBe(0);
  });

  it("settles at the limit with an error that names the operation, though the body ignores its signal", async () => {
    const clock = new VirtualClock();
    const never = deferred<never>();
    let signal: AbortSignal | undefined;
    const call = withTimeout(clock, limits, (given) => {
      signal = given;
      return never.promise;
    }).catch((error: unknown) => error);
    await clock.advance(100);
    const error = await call;
    expect(error).toBeInstanceOf(TimeoutError);
    expect(error).toMatchObject({ operation: "asking the leader", timeoutMs: 100, retryable: true });
    expect(signal?.reason).toBe(error);
    // Nobody waits for it any more, and nobody is told.
    never.reject(new Error("late"));
  });

  it("ends with the caller's reason when the caller gives up first, and never starts once it has", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const call = withTimeout(
      clock,
      { ...limits, signal: controller.signal },
      () => new Promise(() => undefined),
    );
    controller.abort("mine");
    await expect(call).rejects.toBe("mine");
    expect(clock.pendingCount).toBe(0);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    let started = false;
    await expect(
      withTimeout(clock, { ...limits, signal: controller.signal }, async () => {
        started = true;
      }),
    ).rejects.toBe("mine");
    expect(started).toBe(false);
  });
});
