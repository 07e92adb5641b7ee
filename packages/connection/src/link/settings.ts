import { type Clock, InvalidInputError, type Logger, type Random, silentLogger } from "@holdfast/kernel";
import {
  COMPRESSION_MIN_BYTES,
  type Compression,
  FRAME_MAX_BYTES,
  HANDSHAKE_MAX_BYTES,
  PROTOCOL_FEATURES,
} from "@holdfast/protocol";
import type { EndpointOptions } from "../endpoint.ts";
import { type HandlerTable, handlerTableOf } from "../handlers.ts";
import { deflate } from "./deflate.ts";

/** {@link EndpointOptions}, checked and complete. */
export interface EndpointSettings {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly identity: EndpointOptions["identity"];
  /** What we offer in the hello, sorted. */
  readonly features: readonly string[];
  readonly handlers: HandlerTable;
  readonly compression: { readonly method: Compression; readonly minBytes: number } | undefined;
  readonly frameMaxBytes: number;
  readonly heartbeatMs: number;
  readonly requestsMaxCount: number;
  readonly sendBufferMaxBytes: number;
}

const HEARTBEAT_MS = 5_000;
const HEARTBEAT_MIN_MS = 100;
const REQUESTS_MAX_COUNT = 10_000;
const SEND_BUFFER_MAX_BYTES = 16 * 1024 * 1024;
/** The length field has 32 bits, and nobody should hold a gigabyte for one message. */
const FRAME_LIMIT_MAX_BYTES = 1024 * 1024 * 1024;

/** @throws InvalidInputError naming the field that is wrong; nothing was opened. */
export const settingsOf = (options: EndpointOptions): EndpointSettings => {
  const compression = compressionOf(options.compression ?? false);
  return {
    clock: options.clock,
    random: options.random,
    logger: options.logger ?? silentLogger,
    identity: options.identity,
    features: [
      ...new Set([
        ...Object.keys(PROTOCOL_FEATURES),
        ...(compression === undefined ? [] : [deflate.name]),
        ...(options.features ?? []),
      ]),
    ].sort(),
    handlers: handlerTableOf(options.handlers),
    compression,
    frameMaxBytes: whole("frameMaxBytes", options.frameMaxBytes ?? FRAME_MAX_BYTES, {
      min: HANDSHAKE_MAX_BYTES,
      max: FRAME_LIMIT_MAX_BYTES,
    }),
    heartbeatMs: whole("heartbeatMs", options.heartbeatMs ?? HEARTBEAT_MS, { min: HEARTBEAT_MIN_MS }),
    requestsMaxCount: whole("requestsMaxCount", options.requestsMaxCount ?? REQUESTS_MAX_COUNT, { min: 1 }),
    sendBufferMaxBytes: whole("sendBufferMaxBytes", options.sendBufferMaxBytes ?? SEND_BUFFER_MAX_BYTES, {
      min: HANDSHAKE_MAX_BYTES,
    }),
  };
};

const compressionOf = (
  option: NonNullable<EndpointOptions["compression"]>,
): EndpointSettings["compression"] => {
  if (option === false) return undefined;
  const minBytes = option === true ? COMPRESSION_MIN_BYTES : option.minBytes;
  return { method: deflate, minBytes: whole("compression.minBytes", minBytes, { min: 0 }) };
};

/** @throws InvalidInputError when `value` is not a whole number within the range. */
export const whole = (
  field: string,
  value: number,
  { min, max = Number.MAX_SAFE_INTEGER }: { readonly min: number; readonly max?: number },
): number => {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new InvalidInputError(field, value, `a whole number ${range}`);
};

/** @throws InvalidInputError when `value` is not above 0 and up to 1. */
export const share = (field: string, value: number): number => {
  if (value > 0 && value <= 1) return value;
  throw new InvalidInputError(field, value, "a share above 0 and up to 1");
};
