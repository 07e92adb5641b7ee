import { createMemoryStore } from "@holdfast/coordination/memory";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { followQueueEvents, type QueueEvent, queueEventStream, recordEvents } from "./queue-events.ts";

const setUp = () => {
  const store = createMemoryStore({ clock: new VirtualClock() });
  const queue = recordEvents(store, store.queue("q"));
  const told = async (): Promise<readonly QueueEvent[]> => {
    const read = await store.log.read(queueEventStream("q"));
    return read.kind === "entries" ? read.entries.map(({ payload }) => payload as unknown as QueueEvent) : [];
  };
  return { store, queue, told };
};

describe("a recorded queue", () => {
  it("tells of more tasks than one entry of the log could name, in their order", async () => {
    const { queue, told } = setUp();
    const count = 50_000;
    const ids = await queue.enqueue(Array.from({ length: count }, () => ({ type: "t", payload: 1 })));
    const enqueued = (await told()).flatMap((event) => (event.kind === "enqueued" ? event.ids : []));
    expect(enqueued).toEqual(ids);
  });

  it("tells what was done through it, in order, and nothing of what changed nothing", async () => {
    const { queue, told } = setUp();
    await queue.enqueue([
      { id: "a", type: "t", payload: 1 },
      { id: "b", type: "t", payload: 1, maxAttempts: 1 },
    ]);
    const [a, b] = await queue.claim({ worker: "w", maxCount: 9, leaseMs: 1000 });
    if (!a || !b) throw new Error("two claims expected");
    expect(await queue.claim({ worker: "w", maxCount: 9, leaseMs: 1000 })).toEqual([]);
    await queue.complete([a, a]);
    await queue.fail([{ ...b, error: "e" }]);
    await queue.requeueDead(["a", "b"]);
    await queue.pause();
    await queue.resume();
    expect((await queue.stats()).total).toBe(2);
    expect(await told()).toEqual([
      { kind: "enqueued", ids: ["a", "b"] },
      { kind: "claimed", worker: "w", ids: ["a", "b"] },
      { kind: "completed", ids: ["a"] },
      { kind: "dead", id: "b", attempt: 1 },
      { kind: "requeued", ids: ["b"] },
      { kind: "paused" },
      { kind: "resumed" },
    ]);
  });

  it("tells of a change if and only if its transaction commits", async () => {
    const { store, queue, told } = setUp();
    const failing = store.transaction(async (tx) => {
      await queue.enqueue([{ id: "a", type: "t", payload: 1 }], { tx });
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(await told()).toEqual([]);
    await store.transaction((tx) => queue.enqueue([{ id: "b", type: "t", payload: 1 }], { tx }));
    expect(await told()).toEqual([{ kind: "enqueued", ids: ["b"] }]);
  });

  it("is followed from a position on, without gap or repeat", async () => {
    const { store, queue } = setUp();
    for (const id of ["a", "b", "c"]) await queue.enqueue([{ id, type: "t", payload: 1 }]);
    const seen: unknown[] = [];
    for await (const item of followQueueEvents(store.log, "q")) {
      if (item.kind !== "event") continue;
      seen.push(item.event);
      for await (const next of followQueueEvents(store.log, "q", { after: item.position })) {
        if (next.kind === "event") seen.push(next.event);
        break;
      }
      break;
    }
    expect(seen).toEqual([
      { kind: "enqueued", ids: ["a"] },
      { kind: "enqueued", ids: ["b"] },
    ]);
  });
});
