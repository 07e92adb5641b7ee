import type { Peer } from "@holdfast/connection";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEvent } from "@holdfast/protocol/contract";
import { beforeEach, describe, expect, it } from "vitest";
import { type Consumption, consumeFeed } from "./consume-feed.ts";
import { EventBuffer } from "./event-buffer.ts";
import type { FollowItem } from "./follow-job.ts";

describe("a feed that is consumed as it comes", () => {
  let clock: VirtualClock;
  let buffer: EventBuffer;
  let taken: number[];
  let closeListeners: Set<() => void>;
  let onItems: (items: readonly FollowItem[]) => boolean;
  beforeEach(() => {
    clock = new VirtualClock();
    buffer = new EventBuffer({ clock, after: undefined, countMax: 100, bytesMax: 1_000_000 });
    taken = [];
    closeListeners = new Set();
    onItems = () => true;
  });

  const push = (offsets: readonly number[], end = false): void => {
    const events = offsets.map((offset) => ({
      position: { epoch: "1", offset: `${offset}` },
      event: { type: "job.status", at: offset, status: "running" } satisfies JobEvent,
    }));
    buffer.take({ subscriptionId: "s", jobId: "j", events, end });
  };
  const consume = (): Consumption => {
    const onClose = (listener: () => void): (() => void) => {
      closeListeners.add(listener);
      return () => closeListeners.delete(listener);
    };
    const feed = { subscriptionId: "s", buffer, close: () => undefined };
    return consumeFeed(
      { feed, peer: { onClose } as unknown as Peer },
      {
        clock,
        silenceMs: 1_000,
        onItems: (items) => {
          for (const item of items) if (item.kind === "event") taken.push(item.event.at);
          return onItems(items);
        },
      },
    );
  };
  const nothingIsLeft = (): void => {
    expect(closeListeners.size).toBe(0);
    expect(clock.pendingCount).toBe(0);
  };

  it("gives every item once and in order, those that came before it began too, until the last", async () => {
    push([1, 2]);
    const { ended } = consume();
    push([3]);
    await clock.advance(900);
    push([]);
    await clock.advance(900);
    push([4, 5], true);
    expect(await ended).toBe(true);
    expect(taken).toEqual([1, 2, 3, 4, 5]);
    nothingIsLeft();
  });

  it.each([
    ["a gap", () => push([3])],
    ["a lost connection", () => closeListeners.forEach((listener) => void listener())],
    ["a silence", () => void clock.advance(1_000)],
  ])("stops at %s, for somebody else to go on from the same position", async (_what, harm) => {
    const { ended } = consume();
    push([1]);
    harm();
    expect(await ended).toBe(false);
    expect(buffer.position).toEqual({ epoch: "1", offset: "1" });
    nothingIsLeft();
    // What comes later stays where it is.
    buffer.reopen();
    push([2]);
    expect(taken).toEqual([1]);
    expect(buffer.takeAll()).toHaveLength(1);
  });

  it("stops when its consumer wants no more, or is told to stop, any number of times", async () => {
    onItems = () => false;
    const first = consume();
    push([1]);
    expect(await first.ended).toBe(false);
    const second = consume();
    second.stop();
    second.stop();
    push([2]);
    expect(await second.ended).toBe(false);
    expect(taken).toEqual([1]);
    nothingIsLeft();
  });

  it("fails with what its consumer throws", async () => {
    onItems = () => {
      throw new Error("no room");
    };
    const { ended } = consume();
    push([1]);
    await expect(ended).rejects.toThrow("no room");
    nothingIsLeft();
  });
});
