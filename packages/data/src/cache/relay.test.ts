import { deferred } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { CacheCounters } from "./cache-counters.ts";
import type { Outbox, OutboxRow } from "./outbox.ts";
import { Relay } from "./relay.ts";

describe("the relay of a cache", () => {
  it("trusts the store again only once a question that was asked after the last change found none left", async () => {
    const answer = deferred<readonly OutboxRow[]>();
    const ages: number[] = [];
    const outbox = {
      left: (ageMs: number) => {
        ages.push(ageMs);
        return ages.length === 1 ? answer.promise : Promise.resolve([]);
      },
      stillThere: async (ids: readonly string[]) => ids,
    } as unknown as Outbox;
    const relay = new Relay({
      outbox,
      counters: new CacheCounters(),
      invalidate: async () => undefined,
      position: async () => undefined,
    });
    for (let id = 0; id < 10_000; id += 1) relay.leave(`${id}`, () => undefined);
    expect(relay.isOverflowing).toBe(false);
    const running = relay.run(1000, new AbortController().signal);
    // Too young for the question that is under way.
    relay.leave("young", () => undefined);
    expect(relay.isOverflowing).toBe(true);
    answer.resolve([]);
    await running;
    expect(ages).toEqual([1000, 0]);
  });
});
