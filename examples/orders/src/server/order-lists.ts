import { fromWirePosition, type Position } from "@holdfast/coordination";
import type { Cache } from "@holdfast/data";
import type { ChannelLog } from "@holdfast/live/server";
import { LISTS_TAG, ORDER_CHANNEL, type Order, type OrderBook } from "./order-book.ts";

/** What a list must contain: all that was told up to a position, or up to now. */
export type After = Position | "latest";

interface CachedList {
  readonly rows: readonly Order[];
  /** What had been told before the rows were read: they have at least that. */
  readonly head: Position;
}

/**
 * The lists that pages show, out of the cache. An event may reach a page before the cache was told of the same change:
 * who has heard of it says how far, and is never given anything older.
 */
export class OrderLists {
  readonly #cache: Cache;
  readonly #book: Pick<OrderBook, "list">;
  readonly #log: ChannelLog;

  constructor(parts: {
    readonly cache: Cache;
    readonly book: Pick<OrderBook, "list">;
    readonly log: ChannelLog;
  }) {
    this.#cache = parts.cache;
    this.#book = parts.book;
    this.#log = parts.log;
  }

  async read(status: string | undefined, after: After | undefined): Promise<readonly Order[]> {
    const key = ["orders", status ?? "all"];
    const get = (): Promise<CachedList> =>
      this.#cache.get(key, { tags: [LISTS_TAG], load: () => this.#load(status) });
    const wanted = after === "latest" ? await this.#head() : after;
    const list = await get();
    if (wanted === undefined || reaches(list.head, wanted)) return list.rows;
    await this.#cache.invalidate({ keys: [key] });
    return (await get()).rows;
  }

  async #load(status: string | undefined): Promise<CachedList> {
    const head = await this.#head();
    return { head, rows: await this.#book.list(status) };
  }

  async #head(): Promise<Position> {
    return (await this.#log.bounds(ORDER_CHANNEL)).head;
  }
}

const reaches = (head: Position, wanted: Position): boolean =>
  head.epoch === wanted.epoch && head.offset >= wanted.offset;

/** `latest`, or a position as `epoch:offset`; undefined for anything else. */
export const parseAfter = (text: string | undefined): After | undefined => {
  if (text === "latest") return text;
  const [, epoch, offset] = /^(\d{1,19}):(\d{1,19})$/.exec(text ?? "") ?? [];
  return epoch === undefined || offset === undefined ? undefined : fromWirePosition({ epoch, offset });
};
