export { copyOf } from "./byte-slabs.ts";
export { decodeValue, encodeValue, giveBack } from "./codec.ts";
export type { Compression } from "./compression.ts";
export { crc32, crc32ByTable } from "./crc32.ts";
export {
  ChecksumMismatchError,
  FrameTooLargeError,
  InvalidFrameError,
  InvalidMessageError,
  SerializationError,
  UnexpectedFrameError,
  UnknownFrameTypeError,
  UnknownMessageError,
  VersionMismatchError,
} from "./errors.ts";
export {
  COMPRESSION_MIN_BYTES,
  decodeFrame,
  encodeFrame,
  encodeMessage,
  FRAME_MAX_BYTES,
  FRAME_OVERHEAD_BYTES,
  FRAME_TYPES,
  type Frame,
  type FrameOptions,
  type FrameType,
} from "./frame.ts";
export { FrameSplitter } from "./frame-splitter.ts";
export {
  type Authenticate,
  authenticate,
  checkShape,
  HANDSHAKE_MAX_BYTES,
  type Hello,
  hello,
  type Ready,
  ready,
} from "./hello.ts";
export { DEPTH_MAX_COUNT } from "./messagepack-check.ts";
export {
  type Negotiation,
  negotiate,
  PROTOCOL_FEATURES,
  PROTOCOL_VERSION,
  parseVersion,
  type Version,
} from "./version.ts";
