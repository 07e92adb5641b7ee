import { allocate } from "./byte-slabs.ts";
import { BACK_BYTES, encodeValueWithin } from "./codec.ts";
import type { Compression } from "./compression.ts";
import { crc32 } from "./crc32.ts";
import {
  ChecksumMismatchError,
  FrameTooLargeError,
  InvalidFrameError,
  UnexpectedFrameError,
  UnknownFrameTypeError,
} from "./errors.ts";

// One frame, all numbers big-endian:
//
//   length u32 | flags u8 | type u8 | sequence u64 | payload | CRC-32 u32
//
// `length` counts everything after itself. The checksum covers flags, type, sequence and payload as they
// travel, so every byte after the length is proven. It proves integrity, not who sent it.

/** The place in this list is the number on the wire: append only. */
export const FRAME_TYPES = [
  "hello",
  "authenticate",
  "ready",
  "request",
  "answer",
  "failure",
  "push",
  "cancel",
  "ping",
  "pong",
  "goodbye",
  "item",
  "credit",
] as const;
export type FrameType = (typeof FRAME_TYPES)[number];

export interface Frame {
  readonly type: FrameType;
  /** Unsigned 64 bits. An answer, failure, item, credit, cancel or pong repeats the number of what it belongs to. */
  readonly sequence: bigint;
  readonly payload: Uint8Array;
}

export interface FrameOptions {
  /** Largest value of the length field: everything but the four bytes of the length itself. */
  readonly frameMaxBytes: number;
  /** What the two sides agreed on, if anything. */
  readonly compression?: Compression | undefined;
  /** Payloads above this (not at it) are compressed. Default {@link COMPRESSION_MIN_BYTES}. */
  readonly compressionMinBytes?: number;
  /** Counted up by each encoding that tries to compress. */
  readonly compressionCounts?: { compressedCount: number; incompressibleCount: number };
}

/** 8 MiB: a job of 5 MiB with room for its envelope. */
export const FRAME_MAX_BYTES = 8 * 1024 * 1024;
/** Below this, compressing costs more than the bytes that it saves. */
export const COMPRESSION_MIN_BYTES = 1_024;

export const LENGTH_BYTES = 4;
const HEADER_BYTES = 1 + 1 + 8;
const CHECKSUM_BYTES = BACK_BYTES;
const PAYLOAD_AT = LENGTH_BYTES + HEADER_BYTES;
const BODY_MIN_BYTES = HEADER_BYTES + CHECKSUM_BYTES;
/** Every byte of a frame that is not payload. */
export const FRAME_OVERHEAD_BYTES = LENGTH_BYTES + BODY_MIN_BYTES;
const FLAG_COMPRESSED = 1;
/** In front of a compressed payload: its size once inflated. */
const ORIGINAL_SIZE_BYTES = 4;

const TYPE_NUMBERS = new Map<FrameType, number>(FRAME_TYPES.map((type, index) => [type, index]));

/**
 * The bytes of a frame. Frames up to 16 KiB share memory in slabs of 64 KiB: meant to be sent, not to be kept.
 * @throws FrameTooLargeError when the payload cannot travel under `frameMaxBytes`; nothing is allocated for it.
 */
export const encodeFrame = (frame: Frame, options: FrameOptions): Uint8Array => {
  const { type, sequence, payload } = frame;
  checkPayloadSize(payload.length, options);
  const squeezed = compressed(payload, options);
  const carried = squeezed ?? payload;
  const payloadAt = PAYLOAD_AT + (squeezed === undefined ? 0 : ORIGINAL_SIZE_BYTES);
  const bytes = allocate(payloadAt + carried.length + CHECKSUM_BYTES);
  if (squeezed !== undefined) writeUint32(bytes, PAYLOAD_AT, payload.length);
  bytes.set(carried, payloadAt);
  return sealed(bytes, type, sequence, squeezed === undefined ? 0 : FLAG_COMPRESSED);
};

/**
 * The frame whose payload is {@link encodeValue} of `value`, written in one piece where it is small and plain.
 * Meant to be sent, not to be kept; `giveBack` takes it when it has left.
 * @throws SerializationError, FrameTooLargeError.
 */
export const encodeMessage = (
  type: FrameType,
  sequence: bigint,
  value: unknown,
  options: FrameOptions,
): Uint8Array => {
  const bytes = encodeValueWithin(value, PAYLOAD_AT);
  const payloadBytes = bytes.length - FRAME_OVERHEAD_BYTES;
  if (isWorthCompressing(payloadBytes, options)) {
    const payload = bytes.subarray(PAYLOAD_AT, PAYLOAD_AT + payloadBytes);
    return encodeFrame({ type, sequence, payload }, options);
  }
  checkPayloadSize(payloadBytes, options);
  return sealed(bytes, type, sequence, 0);
};

/** Measured before compression: the other side refuses an original size above its limit. */
const checkPayloadSize = (payloadBytes: number, { frameMaxBytes }: FrameOptions): void => {
  if (payloadBytes > frameMaxBytes - BODY_MIN_BYTES) {
    throw new FrameTooLargeError(payloadBytes + BODY_MIN_BYTES, frameMaxBytes);
  }
};

/** Writes around what is carried. */
const sealed = (bytes: Uint8Array, type: FrameType, sequence: bigint, flags: number): Uint8Array => {
  writeUint32(bytes, 0, bytes.length - LENGTH_BYTES);
  bytes[4] = flags;
  bytes[5] = TYPE_NUMBERS.get(type) as number;
  writeUint64(bytes, 6, sequence);
  const checksumAt = bytes.length - CHECKSUM_BYTES;
  writeUint32(bytes, checksumAt, crc32(bytes, LENGTH_BYTES, checksumAt));
  return bytes;
};

/**
 * The frame in `bytes`, which must hold exactly one. A plain payload is a view of `bytes`, not a copy.
 * @throws InvalidFrameError, FrameTooLargeError, ChecksumMismatchError, UnknownFrameTypeError; after any of
 * them nothing that follows on the same path can be trusted.
 */
export const decodeFrame = (bytes: Uint8Array, options: FrameOptions): Frame => {
  if (bytes.length < LENGTH_BYTES) throw new InvalidFrameError("is cut short");
  const length = readFrameLength(bytes, 0, options.frameMaxBytes);
  if (bytes.length < LENGTH_BYTES + length) throw new InvalidFrameError("is cut short");
  if (bytes.length > LENGTH_BYTES + length)
    throw new InvalidFrameError("is followed by bytes that belong to nothing");
  const checksumAt = bytes.length - CHECKSUM_BYTES;
  const expected = crc32(bytes, LENGTH_BYTES, checksumAt);
  const actual = readUint32(bytes, checksumAt);
  if (expected !== actual) throw new ChecksumMismatchError(expected, actual);

  const flags = bytes[4] as number;
  if (flags > FLAG_COMPRESSED) throw new InvalidFrameError(`has unknown flags 0x${flags.toString(16)}`);
  const typeNumber = bytes[5] as number;
  const type = FRAME_TYPES[typeNumber];
  if (type === undefined) throw new UnknownFrameTypeError(typeNumber);
  const sequence = readUint64(bytes, 6);
  const carried = bytes.subarray(LENGTH_BYTES + HEADER_BYTES, checksumAt);
  const payload = flags === FLAG_COMPRESSED ? inflate(carried, type, options) : carried;
  return { type, sequence, payload };
};

/**
 * The length field at `at`, checked against both limits before anyone allocates for it.
 * @throws InvalidFrameError when it is too small to be a frame, FrameTooLargeError when above `frameMaxBytes`.
 */
export const readFrameLength = (bytes: Uint8Array, at: number, frameMaxBytes: number): number => {
  const length = readUint32(bytes, at);
  if (length > frameMaxBytes) throw new FrameTooLargeError(length, frameMaxBytes);
  if (length < BODY_MIN_BYTES)
    throw new InvalidFrameError(`announces ${length} bytes, fewer than a frame has`);
  return length;
};

const isWorthCompressing = (payloadBytes: number, options: FrameOptions): boolean =>
  options.compression !== undefined && payloadBytes > (options.compressionMinBytes ?? COMPRESSION_MIN_BYTES);

/** The payload made smaller, where that was agreed on, is worth trying, and works. */
const compressed = (payload: Uint8Array, options: FrameOptions): Uint8Array | undefined => {
  const { compression, compressionCounts } = options;
  if (compression === undefined || !isWorthCompressing(payload.length, options)) return undefined;
  const squeezed = compression.compress(payload);
  const isSmaller = squeezed.length + ORIGINAL_SIZE_BYTES < payload.length;
  if (compressionCounts !== undefined) {
    compressionCounts[isSmaller ? "compressedCount" : "incompressibleCount"] += 1;
  }
  return isSmaller ? squeezed : undefined;
};

const inflate = (carried: Uint8Array, type: FrameType, options: FrameOptions): Uint8Array => {
  if (options.compression === undefined) {
    throw new UnexpectedFrameError(`compressed ${type}`, "on a connection that did not agree on compression");
  }
  if (carried.length < ORIGINAL_SIZE_BYTES)
    throw new InvalidFrameError("is compressed but has no original size");
  const originalBytes = readUint32(carried, 0);
  if (originalBytes > options.frameMaxBytes - BODY_MIN_BYTES) {
    throw new FrameTooLargeError(originalBytes + BODY_MIN_BYTES, options.frameMaxBytes);
  }
  let payload: Uint8Array;
  try {
    payload = options.compression.decompress(carried.subarray(ORIGINAL_SIZE_BYTES), originalBytes);
  } catch (error) {
    throw new InvalidFrameError("has a payload that cannot be inflated", { cause: error });
  }
  if (payload.length !== originalBytes) {
    throw new InvalidFrameError(
      `inflates to ${payload.length} bytes, not to the ${originalBytes} that it announces`,
    );
  }
  return payload;
};

const writeUint32 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
};

const readUint32 = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0;

const writeUint64 = (bytes: Uint8Array, at: number, value: bigint): void => {
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
    throw new RangeError(`a sequence is 64 bits, got ${value}`);
  const number = Number(value);
  // The division is exact below 2^53; above it only the slow way keeps every bit.
  if (number <= Number.MAX_SAFE_INTEGER) {
    writeUint32(bytes, at, Math.floor(number / 0x1_0000_0000));
    writeUint32(bytes, at + 4, number % 0x1_0000_0000);
  } else {
    writeUint32(bytes, at, Number(value >> 32n));
    writeUint32(bytes, at + 4, Number(value & 0xffff_ffffn));
  }
};

const readUint64 = (bytes: Uint8Array, at: number): bigint => {
  const high = readUint32(bytes, at);
  const low = readUint32(bytes, at + 4);
  return high === 0 ? BigInt(low) : (BigInt(high) << 32n) | BigInt(low);
};
