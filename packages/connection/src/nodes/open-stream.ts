import type { Node, SharedConnection } from "./node.ts";

/** A stream whose first item, or end, has come: from here on it cannot be asked of another node. */
export interface OpenStream<T> {
  readonly node: Node;
  readonly shared: SharedConnection;
  readonly first: IteratorResult<T>;
  readonly rest: AsyncIterableIterator<T>;
}

/**
 * The opening of one stream, over however many attempts. Its reader may give up at the very moment when the first item
 * comes: then nobody gets the stream, and it is ended here.
 */
export class StreamOpening<T> {
  #opened: OpenStream<T> | undefined;
  #isGivenUp = false;

  /** Waits for the first item of a stream; the connection counts as used until `closeStream`. @throws what the stream throws. */
  async open(node: Node, shared: SharedConnection, items: AsyncIterableIterator<T>): Promise<OpenStream<T>> {
    const first = await items.next();
    shared.userCount += 1;
    node.inFlightCount += 1;
    const opened = { node, shared, first, rest: items };
    if (this.#isGivenUp) await closeStream(opened);
    else this.#opened = opened;
    return opened;
  }

  /** Nobody gets the stream, neither one that is open nor one that opens later. */
  async giveUp(): Promise<void> {
    this.#isGivenUp = true;
    if (this.#opened !== undefined) await closeStream(this.#opened);
  }
}

/** Ends it, read to its end or not, and lets go of the connection. */
export const closeStream = async ({ node, rest, shared }: OpenStream<unknown>): Promise<void> => {
  await rest.return?.();
  node.inFlightCount -= 1;
  node.leave(shared);
};
