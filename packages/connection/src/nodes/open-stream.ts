import type { Node, SharedConnection } from "./node.ts";

/** A stream whose first item, or end, has come: from here on it cannot be asked of another node. */
export interface OpenStream<T> {
  readonly node: Node;
  readonly shared: SharedConnection;
  readonly first: IteratorResult<T>;
  readonly rest: AsyncIterableIterator<T>;
}

/** Waits for the first item of a stream; the connection counts as used until `closeStream`. @throws what the stream throws. */
export const openStream = async <T>(
  node: Node,
  shared: SharedConnection,
  items: AsyncIterableIterator<T>,
): Promise<OpenStream<T>> => {
  const first = await items.next();
  shared.userCount += 1;
  node.inFlightCount += 1;
  return { node, shared, first, rest: items };
};

/** Ends it, read to its end or not, and lets go of the connection. */
export const closeStream = async ({ node, rest, shared }: OpenStream<unknown>): Promise<void> => {
  await rest.return?.();
  node.inFlightCount -= 1;
  node.leave(shared);
};
