import { openCache } from "@holdfast/data";
import { MemoryChannelLog } from "@holdfast/live/server";
import { expect, it } from "vitest";
import { ORDER_CHANNEL, type Order } from "./order-book.ts";
import { OrderLists, parseAfter } from "./order-lists.ts";

const orderOf = (number: number): Order => ({
  id: `o-${number}`,
  item: "Green tea",
  quantity: 1,
  status: "open",
  version: 1,
});

/** A shop whose rows change without a word to the cache, as between a commit and the invalidation after it. */
const openShop = async () => {
  const cache = await openCache({ name: "test" });
  const log = new MemoryChannelLog();
  let rows: readonly Order[] = [orderOf(1)];
  let readCount = 0;
  const book = {
    list: async () => {
      readCount += 1;
      return rows;
    },
  };
  return {
    lists: new OrderLists({ cache, book, log }),
    readCount: () => readCount,
    /** Returns what the event says of its position. */
    commit: async (next: readonly Order[]): Promise<string> => {
      rows = next;
      const draft = { channel: ORDER_CHANNEL, event: "created", payloadText: "{}", id: `e-${next.length}` };
      const [published] = await log.publish([draft]);
      return `${published?.position.epoch}:${published?.position.offset}`;
    },
    [Symbol.asyncDispose]: async () => {
      await cache.close();
      await log.close();
    },
  };
};

it("serves a list out of the cache to those who have heard of nothing newer", async () => {
  await using shop = await openShop();
  const first = await shop.commit([orderOf(1)]);
  for (const after of [undefined, parseAfter(first), "latest"] as const)
    expect(await shop.lists.read(undefined, after)).toEqual([orderOf(1)]);
  expect(shop.readCount()).toBe(1);
});

it("gives nobody a list that lacks the change they have heard of, also before the cache was told of it", async () => {
  await using shop = await openShop();
  await shop.lists.read("open", undefined);
  const heard = await shop.commit([orderOf(1), orderOf(2)]);
  expect(await shop.lists.read("open", undefined)).toHaveLength(1);
  expect(await shop.lists.read("open", parseAfter(heard))).toHaveLength(2);
  expect(await shop.lists.read("open", undefined)).toHaveLength(2);
  await shop.commit([orderOf(1), orderOf(2), orderOf(3)]);
  expect(await shop.lists.read("open", "latest")).toHaveLength(3);
  expect(shop.readCount()).toBe(3);
});

it("reads afresh for a position of another life of the channel, and takes no other text for one", async () => {
  await using shop = await openShop();
  await shop.lists.read(undefined, undefined);
  await shop.lists.read(undefined, parseAfter("7:1"));
  expect(shop.readCount()).toBe(2);
  for (const text of [undefined, "", "7", "7:", "7:1:1", "-1:2", "a:b", "9".repeat(20)])
    expect(parseAfter(text)).toBeUndefined();
});
