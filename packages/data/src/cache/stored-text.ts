import type { CachePosition, StoredEntry } from "./shared-store.ts";

/** Digits of 2^64: padded to this length, positions compare as text. */
const DIGITS = 20;

export const padded = (value: bigint): string => value.toString().padStart(DIGITS, "0");

export const positionText = (
  position: CachePosition | undefined,
): readonly [epoch: string, position: string] =>
  position === undefined ? ["", ""] : [padded(position.epoch), padded(position.position)];

/**
 * Reads what the scripts store, `generation stamps stamp freshUntil payload`, if it is of this generation and these
 * tag stamps. `serverNow` is the server's clock.
 */
export const readStored = (
  text: string | null | undefined,
  head: string,
  serverNow: number,
): StoredEntry | undefined => {
  if (text === null || text === undefined || !text.startsWith(head)) return undefined;
  const afterStamp = text.indexOf(" ", head.length);
  const afterFresh = text.indexOf(" ", afterStamp + 1);
  return {
    stamp: text.slice(head.length, afterStamp),
    freshForMs: Number(text.slice(afterStamp + 1, afterFresh)) - serverNow,
    payload: text.slice(afterFresh + 1),
  };
};

/** Which of `count` buckets a key falls into (FNV-1a). */
export const bucketOf = (key: string, count: number): number => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  }
  return (hash >>> 0) % count;
};
