import { Packr, RESERVE_START_SPACE, REUSE_BUFFER_MODE } from "msgpackr";
import { allocate, newSlab, SHARED_MAX_BYTES, SLAB_BYTES } from "./byte-slabs.ts";
import { SerializationError } from "./errors.ts";
import { checkMessagePack } from "./messagepack-check.ts";
import { findUnsendable } from "./sendable.ts";

/**
 * Records would make the meaning of one message depend on an earlier one, and decoding them compiles code
 * that the other side describes; neither may happen between peers.
 */
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  // Without it an object of more than 65,535 keys cannot be written.
  variableMapSize: true,
  moreTypes: false,
  int64AsType: "bigint",
  // By default it writes an extension that the other side refuses, with all that came in the same message.
  onInvalidDate: () => {
    throw new TypeError("an invalid date");
  },
});

// Its own memory is too small for two messages of 4 KiB, and making it anew for each costs more than writing them.
let current = newSlab();
packr.useBuffer(current);
/** Values in `current`. */
let sharedCount = 0;
/** What {@link encodeValueWithin} gave, if it was the last to be written and was not given back. */
let lastWithin: Uint8Array | undefined;

/** What a message smaller than a slab lets the memory grow to. */
const GROWN_MAX_BYTES = 4 * SLAB_BYTES;

/** Left free behind every value, since so many bytes before the next one in the same memory are nobody's. */
export const BACK_BYTES = 4;

/** The memory that was written to, and where: BACK_BYTES that are nobody's, `frontBytes` of the caller's, the value. */
type Packed = Uint8Array & { readonly start: number; readonly end: number };

/** Lets the next value be the first in `memory`. */
const renew = (memory: Uint8Array): void => {
  current = memory;
  sharedCount = 0;
  packr.useBuffer(memory);
};

/** msgpackr writes something for everything; for a typed array that is not of bytes even what was in memory before. */
const checkSendable = (value: unknown): void => {
  let found: string | undefined;
  try {
    found = findUnsendable(value);
  } catch (error) {
    // Something that throws when it is read.
    throw new SerializationError("holds a value that cannot be sent", { cause: error });
  }
  if (found !== undefined) throw new SerializationError(`holds a value that cannot be sent: it${found}`);
};

const pack = (value: unknown, frontBytes: number): Packed => {
  lastWithin = undefined;
  checkSendable(value);
  try {
    const options = REUSE_BUFFER_MODE | RESERVE_START_SPACE | (BACK_BYTES + frontBytes);
    const memory = packr.pack(value, options) as Uint8Array as Packed;
    sharedCount = memory === current ? sharedCount + 1 : 1;
    current = memory;
    // It grows to four times a message that did not fit; small ones after a large one would keep it all alive.
    const isGrown = memory.length > GROWN_MAX_BYTES;
    if (isGrown && memory.end - memory.start < SLAB_BYTES) renew(newSlab());
    return memory;
  } catch (error) {
    throw new SerializationError("holds a value that cannot be sent", { cause: error });
  }
};

/**
 * The bytes of a value made of null, undefined, booleans, numbers, bigints within 64 bits, strings, dates,
 * byte arrays, arrays and plain objects, nested at most {@link DEPTH_MAX_COUNT} deep. Sets arrive as arrays, maps (with
 * strings as keys) as objects, objects of a class as what their `toJSON` returns.
 * Small results share memory: whoever keeps one for long keeps up to 256 KiB alive with it.
 * @throws SerializationError for anything else, and for values that contain themselves; it says where in the value.
 */
export const encodeValue = (value: unknown): Uint8Array => {
  const memory = pack(value, 0);
  return memory.subarray(memory.start + BACK_BYTES, memory.end);
};

/**
 * The same bytes in one piece with `frontBytes` (at most 251) before and {@link BACK_BYTES} behind them, for the
 * caller to fill: so a value is framed where it was written.
 */
export const encodeValueWithin = (value: unknown, frontBytes: number): Uint8Array => {
  const memory = pack(value, frontBytes);
  const { start, end } = memory;
  if (end - start <= SHARED_MAX_BYTES && end + BACK_BYTES <= memory.length) {
    lastWithin = memory.subarray(start + BACK_BYTES, end + BACK_BYTES);
    return lastWithin;
  }
  const alone = allocate(end - start);
  alone.set(memory.subarray(start + BACK_BYTES, end));
  return alone;
};

/**
 * Says that nobody reads these bytes of `encodeMessage` any more. Where they are all that their memory holds, the next
 * message is written over them: memory that the processor has at hand costs less than the next piece of a slab.
 * Otherwise, a second time and for any other bytes a no-op.
 */
export const giveBack = (bytes: Uint8Array): void => {
  if (bytes !== lastWithin || sharedCount !== 1) return;
  lastWithin = undefined;
  renew(current);
};

/**
 * The value that {@link encodeValue} wrote. The structure is checked first, so that bytes from a stranger
 * cannot make us allocate more than a small multiple of their own length, recurse deeply or run code.
 * Byte arrays in the result are views of `bytes`.
 * @throws SerializationError when the bytes are not exactly one such value.
 */
export const decodeValue = (bytes: Uint8Array): unknown => {
  checkMessagePack(bytes);
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw new SerializationError("cannot be read as MessagePack", { cause: error });
  }
};
