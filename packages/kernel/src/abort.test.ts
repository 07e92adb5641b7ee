import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { childController, deferred, untilAborted } from "./abort.ts";

describe("untilAborted", () => {
  it("gives what the promise gives, also without a signal", async () => {
    await expect(untilAborted(Promise.resolve(1), undefined)).resolves.toBe(1);
    await expect(untilAborted(Promise.resolve(2), new AbortController().signal)).resolves.toBe(2);
    const failure = new Error("failed");
    await expect(untilAborted(Promise.reject(failure), new AbortController().signal)).rejects.toBe(failure);
  });

  it("ends the waiting with the caller's own reason, unwrapped", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const waiting = untilAborted(new Promise<never>(() => undefined), controller.signal);
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  it("swallows what comes after the waiting ended, so that no rejection goes unhandled", async () => {
    const reason = new Error("enough");
    const work = deferred<never>();
    const waiting = untilAborted(work.promise, AbortSignal.abort(reason));
    work.reject(new Error("too late"));
    // An unhandled rejection would fail the run.
    await expect(waiting).rejects.toBe(reason);
  });

  it("leaves no listener on the signal", async () => {
    const controller = new AbortController();
    await untilAborted(Promise.resolve(), controller.signal);
    await Promise.resolve();
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });
});

describe("deferred", () => {
  it("settles once, from outside", async () => {
    const fulfilled = deferred<number>();
    fulfilled.resolve(1);
    fulfilled.resolve(2);
    fulfilled.reject(new Error("ignored"));
    await expect(fulfilled.promise).resolves.toBe(1);
    const rejected = deferred<number>();
    rejected.reject("no");
    await expect(rejected.promise).rejects.toBe("no");
  });
});

describe("childController", () => {
  it("aborts with the reason of whichever parent aborts first", () => {
    const first = new AbortController();
    const second = new AbortController();
    const child = childController(first.signal, undefined, second.signal);
    second.abort("second");
    first.abort("first");
    expect(child.signal.reason).toBe("second");
  });

  it("is aborted from the start when a parent is", () => {
    const child = childController(new AbortController().signal, AbortSignal.abort("gone"));
    expect(child.signal.aborted).toBe(true);
    expect(child.signal.reason).toBe("gone");
  });

  it("does not abort its parents, and lets go of them on dispose", () => {
    const parent = new AbortController();
    const child = childController(parent.signal);
    child.dispose();
    expect(getEventListeners(parent.signal, "abort")).toHaveLength(0);
    parent.abort();
    expect(child.signal.aborted).toBe(false);
    child.abort();
    const other = new AbortController();
    childController(other.signal).abort();
    expect(other.signal.aborted).toBe(false);
  });
});
