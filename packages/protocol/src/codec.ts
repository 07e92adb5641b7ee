import { Packr } from "msgpackr";
import { newSlab, SLAB_BYTES } from "./byte-slabs.ts";
import { SerializationError } from "./errors.ts";
import { checkMessagePack } from "./messagepack-check.ts";

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
});

// Its own memory is too small for two messages of 4 KiB, and making it anew for each costs more than writing them.
packr.useBuffer(newSlab());

/** What a message smaller than a slab lets the memory grow to. */
const GROWN_MAX_BYTES = 4 * SLAB_BYTES;

/**
 * The bytes of a value made of null, undefined, booleans, numbers, bigints within 64 bits, strings, dates,
 * byte arrays, arrays and plain objects. Sets and maps arrive as arrays and objects.
 * Small results share memory: whoever keeps one for long keeps up to 256 KiB alive with it.
 * @throws SerializationError for anything else, and for values that contain themselves.
 */
export const encodeValue = (value: unknown): Uint8Array => {
  try {
    const bytes = packr.pack(value);
    // The memory grows to four times a message that did not fit; small ones after a large one would keep it all alive.
    if (bytes.length < SLAB_BYTES && bytes.buffer.byteLength > GROWN_MAX_BYTES) packr.useBuffer(newSlab());
    return bytes;
  } catch (error) {
    throw new SerializationError("holds a value that cannot be sent", { cause: error });
  }
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
