import { InvalidInputError } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkText, encodeJson } from "../input-checks.ts";
import type { Position } from "../position.ts";
import type { LogAppend, LogRead, StreamBounds } from "./log.ts";

export const READ_LIMIT_DEFAULT = 500;
/** How often an idle tail looks by itself when notifications may be missed, milliseconds. */
export const TAIL_POLL_DEFAULT_MS = 2000;

const INT8_MAX = 2n ** 63n - 1n;

export const checkStream = (stream: string): void => checkText("stream", stream, 512);

/** @throws InvalidInputError unless the number is an offset that every backend can hold. */
export const checkOffset = (field: string, offset: bigint): void => {
  if (typeof offset !== "bigint" || offset < 0n || offset > INT8_MAX) {
    throw new InvalidInputError(field, offset, "from 0 to 2^63 - 1");
  }
};

export const checkPosition = (position: Position): void => {
  checkOffset("position.epoch", position.epoch);
  checkOffset("position.offset", position.offset);
};

export const checkReadLimit = (limit: number | undefined): number => {
  const value = limit ?? READ_LIMIT_DEFAULT;
  checkInteger("limit", value, 1, 10_000);
  return value;
};

export interface EncodedEntry {
  readonly stream: string;
  readonly payloadText: string;
}

/** @throws InvalidInputError, PayloadTooLargeError */
export const encodeEntries = (
  entries: readonly LogAppend[],
  payloadMaxBytes: number,
): readonly EncodedEntry[] => {
  checkBatch("entries", entries);
  return entries.map(({ stream, payload }) => {
    checkStream(stream);
    return { stream, payloadText: encodeJson(`the entry for ${stream}`, payload, payloadMaxBytes) };
  });
};

/** A stream that was never written, or was deleted: no life of it is known, so its epoch is 0. */
export const UNKNOWN_STREAM_BOUNDS: StreamBounds = { head: { epoch: 0n, offset: 0n }, trimmedTo: 0n };

export type ResumePoint =
  | { readonly kind: "from"; readonly afterOffset: bigint }
  | { readonly kind: "reset"; readonly reason: Extract<LogRead, { kind: "reset" }>["reason"] };

/**
 * Where reading goes on from `after`, or why it cannot. Offset 0 lies before the first entry of every life
 * of the stream: nothing was read yet, so nothing can have been missed by a change of epoch.
 */
export const resumePoint = (after: Position | undefined, bounds: StreamBounds): ResumePoint => {
  if (after === undefined) return { kind: "from", afterOffset: bounds.trimmedTo };
  if (after.offset > 0n) {
    if (after.epoch !== bounds.head.epoch) return { kind: "reset", reason: "epoch-changed" };
    if (after.offset > bounds.head.offset) return { kind: "reset", reason: "ahead-of-head" };
  }
  if (after.offset < bounds.trimmedTo) return { kind: "reset", reason: "trimmed" };
  return { kind: "from", afterOffset: after.offset };
};
