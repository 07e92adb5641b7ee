import { getEventListeners } from "node:events";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { Bulkhead, Hedge, Retry, Timeout } from "../index.ts";
import { CallScope } from "./call-scope.ts";

const never = () => new Promise<never>(() => undefined);

describe("CallScope", () => {
  it("leaves no listener on a caller's signal, however the call ended", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const timeout = new Timeout({ timeoutMs: 10, clock });
    const bulkhead = new Bulkhead({ concurrencyMaxCount: 1, clock });
    await timeout.execute(() => 1, options);
    await timeout.execute(() => Promise.reject(new Error("down")), options).catch(() => undefined);
    const late = timeout.execute(never, options).catch(() => undefined);
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(1);
    await clock.advance(10);
    await late;
    const running = bulkhead.execute(() => clock.sleep(5), options);
    await bulkhead.execute(() => 1, options).catch(() => undefined);
    await clock.advance(5);
    await running;
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });

  it("passes an abort down through any depth of nested policies, with the same reason", async () => {
    const clock = new VirtualClock();
    const outer = new Retry({ clock });
    const middle = new Timeout({ timeoutMs: 1_000, clock });
    const inner = new Hedge({ clock });
    const controller = new AbortController();
    let signal: AbortSignal | undefined;
    const call = outer.execute(
      (first) =>
        middle.execute(
          (second) =>
            inner.execute((third) => {
              signal = third.signal;
              return never();
            }, second),
          first,
        ),
      { signal: controller.signal },
    );
    const reason = new Error("gone");
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect(signal?.reason).toBe(reason);
  });

  it("does not abort the signal of a call that has ended", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    let signal: AbortSignal | undefined;
    await new Timeout({ timeoutMs: 10, clock }).execute(
      (context) => {
        signal = context.signal;
      },
      { signal: controller.signal },
    );
    controller.abort();
    await clock.advance(100);
    expect(signal?.aborted).toBe(false);
  });

  it("lets several children go one by one", () => {
    const parent = new CallScope(1, Number.POSITIVE_INFINITY);
    const [first, second, third] = [1, 2, 3].map(() => CallScope.below(parent));
    second?.close();
    parent.abort(new Error("over"));
    expect([first, second, third].map((child) => child?.aborted)).toEqual([true, false, true]);
    expect(CallScope.below(parent).aborted).toBe(true);
  });

  it("keeps the first reason", () => {
    const scope = new CallScope(1, Number.POSITIVE_INFINITY);
    scope.abort("first");
    scope.abort("second");
    expect(scope.reason).toBe("first");
    expect(scope.context.signal.reason).toBe("first");
  });
});
