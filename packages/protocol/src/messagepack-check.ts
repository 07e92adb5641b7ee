import { SerializationError } from "./errors.ts";

/** Deeper than any message of ours, and far below what overflows the stack of the reader. */
export const DEPTH_MAX_COUNT = 128;

/** The two extensions that we write: undefined (type 0, one byte) and timestamps (type -1). */
const EXTENSION_UNDEFINED = 0;
const EXTENSION_TIMESTAMP = 255;

/** Values still to come at each open level; a map counts keys and values, keys on even remainders. Of one check at a time. */
const remaining = new Int32Array(DEPTH_MAX_COUNT + 1);
const isMap = new Uint8Array(DEPTH_MAX_COUNT + 1);

/**
 * Proves that `bytes` is exactly one MessagePack value of the kinds that we exchange, without building it:
 * every announced length fits into the bytes that are there, map keys are strings, no extension but
 * undefined and timestamps occurs, and nothing is nested deeper than {@link DEPTH_MAX_COUNT}.
 * Linear in the length; allocates nothing that depends on it.
 * @throws SerializationError otherwise.
 */
export const checkMessagePack = (bytes: Uint8Array): void => {
  const end = bytes.length;
  remaining[0] = 1;
  isMap[0] = 0;
  let depth = 0;
  let at = 0;
  while (depth >= 0) {
    const left = remaining[depth] as number;
    if (left === 0) {
      depth -= 1;
      continue;
    }
    remaining[depth] = left - 1;
    if (at >= end) throw cut();
    const token = bytes[at] as number;
    at += 1;
    if (isMap[depth] === 1 && left % 2 === 0 && !isString(token)) {
      throw new SerializationError("has a map key that is not a string");
    }

    let children = -1;
    let map = false;
    if (token < 0x80 || token >= 0xe0) continue;
    if (token < 0x90) {
      children = token & 0x0f;
      map = true;
    } else if (token < 0xa0) {
      children = token & 0x0f;
    } else if (token < 0xc0) {
      at += token & 0x1f;
    } else {
      switch (token) {
        case 0xc0:
        case 0xc2:
        case 0xc3:
          break;
        case 0xc4:
        case 0xd9:
          at += 1 + unsigned(bytes, at, 1);
          break;
        case 0xc5:
        case 0xda:
          at += 2 + unsigned(bytes, at, 2);
          break;
        case 0xc6:
        case 0xdb:
          at += 4 + unsigned(bytes, at, 4);
          break;
        case 0xcc:
        case 0xd0:
          at += 1;
          break;
        case 0xcd:
        case 0xd1:
          at += 2;
          break;
        case 0xca:
        case 0xce:
        case 0xd2:
          at += 4;
          break;
        case 0xcb:
        case 0xcf:
        case 0xd3:
          at += 8;
          break;
        case 0xd4:
          at += extension(bytes, at, EXTENSION_UNDEFINED, 1);
          break;
        case 0xd6:
          at += extension(bytes, at, EXTENSION_TIMESTAMP, 4);
          break;
        case 0xd7:
          at += extension(bytes, at, EXTENSION_TIMESTAMP, 8);
          break;
        case 0xc7:
          if (unsigned(bytes, at, 1) !== 12) throw foreign();
          at += 1 + extension(bytes, at + 1, EXTENSION_TIMESTAMP, 12);
          break;
        case 0xdc:
        case 0xde:
          children = unsigned(bytes, at, 2);
          map = token === 0xde;
          at += 2;
          break;
        case 0xdd:
        case 0xdf:
          children = unsigned(bytes, at, 4);
          map = token === 0xdf;
          at += 4;
          break;
        default:
          throw foreign();
      }
    }
    if (at > end) throw cut();
    if (children < 0) continue;
    if (map) children *= 2;
    // Every value takes at least one byte, so a larger count is a lie; the reader would allocate for it.
    if (children > end - at) throw cut();
    depth += 1;
    if (depth > DEPTH_MAX_COUNT) {
      throw new SerializationError(`is nested deeper than ${DEPTH_MAX_COUNT} levels`);
    }
    remaining[depth] = children;
    isMap[depth] = map ? 1 : 0;
  }
  if (at !== end) throw new SerializationError(`has ${end - at} bytes after its end`);
};

const isString = (token: number): boolean =>
  (token >= 0xa0 && token < 0xc0) || (token >= 0xd9 && token <= 0xdb);

const unsigned = (bytes: Uint8Array, at: number, size: 1 | 2 | 4): number => {
  if (at + size > bytes.length) throw cut();
  let value = 0;
  for (let index = 0; index < size; index += 1) value = value * 256 + (bytes[at + index] as number);
  return value;
};

/** How many bytes the extension takes after its token, its type byte included. */
const extension = (bytes: Uint8Array, at: number, type: number, size: number): number => {
  if (bytes[at] !== type) throw foreign();
  return 1 + size;
};

const cut = (): SerializationError => new SerializationError("announces more than it holds");
const foreign = (): SerializationError =>
  new SerializationError("uses a MessagePack type that is not allowed");
