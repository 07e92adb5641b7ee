import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { deferred } from "./abort.ts";
import { Mutex } from "./mutex.ts";

describe("a mutex", () => {
  it("lets one in at a time, first come first served, and passes on what the body gives", async () => {
    const mutex = new Mutex();
    const order: number[] = [];
    let inside = 0;
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        mutex.run(async () => {
          inside += 1;
          expect(inside).toBe(1);
          await Promise.resolve();
          order.push(index);
          inside -= 1;
          return index * 2;
        }),
      ),
    );
    expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expect(results).toEqual(order.map((index) => index * 2));
    expect(mutex.isHeld).toBe(false);
  });

  it("lets the next one in when a body throws", async () => {
    const mutex = new Mutex();
    const failing = mutex.run(() => Promise.reject(new Error("failed")));
    const next = mutex.run(async () => "in");
    await expect(failing).rejects.toThrow("failed");
    await expect(next).resolves.toBe("in");
  });

  it("lets nobody overtake those who wait, not even one who asks at the moment of release", async () => {
    const mutex = new Mutex();
    const order: string[] = [];
    const gate = deferred<void>();
    const first = mutex.run(() => gate.promise).then(() => mutex.run(async () => void order.push("again")));
    const second = mutex.run(async () => void order.push("second"));
    const third = mutex.run(async () => void order.push("third"));
    gate.resolve();
    await Promise.all([first, second, third]);
    expect(order).toEqual(["second", "third", "again"]);
  });

  it("drops a waiter that gives up, without starting its body and without losing its place to nobody", async () => {
    const mutex = new Mutex();
    const gate = deferred<void>();
    const holding = mutex.run(() => gate.promise);
    const controller = new AbortController();
    let started = false;
    const given = mutex.run(
      async () => {
        started = true;
      },
      { signal: controller.signal },
    );
    const patient = new AbortController();
    const last = mutex.run(async () => "last", { signal: patient.signal });
    controller.abort("enough");
    await expect(given).rejects.toBe("enough");
    gate.resolve();
    await holding;
    await expect(last).resolves.toBe("last");
    expect(started).toBe(false);
    expect(mutex.isHeld).toBe(false);
    expect(getEventListeners(patient.signal, "abort")).toHaveLength(0);
  });

  it("refuses who had given up before asking, and does not end a body that runs", async () => {
    const mutex = new Mutex();
    await expect(mutex.run(async () => "in", { signal: AbortSignal.abort("gone") })).rejects.toBe("gone");
    expect(mutex.isHeld).toBe(false);
    const controller = new AbortController();
    const gate = deferred<string>();
    const running = mutex.run(() => gate.promise, { signal: controller.signal });
    controller.abort("too late");
    gate.resolve("finished");
    await expect(running).resolves.toBe("finished");
  });
});
