import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** Bytes that are not a frame of this protocol. The connection that carried them is closed. Not retryable. */
export class InvalidFrameError extends HoldfastError {
  override readonly name = "InvalidFrameError";
  readonly code = "PROTOCOL_INVALID_FRAME";

  /** @param problem What is wrong, as the end of "The frame …". */
  constructor(problem: string, init: HoldfastErrorInit = {}) {
    super(`The frame ${problem}; check that the other side speaks the Holdfast protocol on this port`, init);
  }
}

/** A frame names a type that this version does not know. The connection that carried it is closed. Not retryable. */
export class UnknownFrameTypeError extends HoldfastError {
  override readonly name = "UnknownFrameTypeError";
  readonly code = "PROTOCOL_UNKNOWN_TYPE";

  constructor(type: number) {
    super(
      `Frame type ${type} is unknown; check that the other side speaks the Holdfast protocol on this port`,
      {
        details: { type },
      },
    );
  }
}

/** A frame was changed on its way. The connection that carried it is closed. Not retryable on that connection. */
export class ChecksumMismatchError extends HoldfastError {
  override readonly name = "ChecksumMismatchError";
  readonly code = "PROTOCOL_CHECKSUM_MISMATCH";

  constructor(expected: number, actual: number) {
    super(`The frame was damaged on its way: its checksum is ${hex(actual)}, not ${hex(expected)}`, {
      details: { expected, actual },
    });
  }
}

/**
 * A frame is larger than the limit, on either side. Raised before anything of that size is allocated.
 * Not retryable: send less, or raise `frameMaxBytes` on both sides.
 */
export class FrameTooLargeError extends HoldfastError {
  override readonly name = "FrameTooLargeError";
  readonly code = "PROTOCOL_FRAME_TOO_LARGE";

  constructor(size: number, limit: number) {
    super(
      `A frame of ${size} bytes is over the limit of ${limit}; send less or raise frameMaxBytes on both sides`,
      {
        details: { size, limit },
      },
    );
  }
}

/** The two sides speak different major versions. Not retryable until one of them is upgraded. */
export class VersionMismatchError extends HoldfastError {
  override readonly name = "VersionMismatchError";
  readonly code = "PROTOCOL_VERSION_MISMATCH";

  constructor(local: string, remote: string, requiredMajor: number) {
    super(
      `Protocol version ${remote} cannot talk to ${local}; major version ${requiredMajor} is required, so upgrade the older side`,
      { details: { local, remote, requiredMajor } },
    );
  }
}

/** A message does not fit its schema; `details.issues` names the fields. Costs only that message. Not retryable. */
export class InvalidMessageError extends HoldfastError {
  override readonly name = "InvalidMessageError";
  readonly code = "PROTOCOL_INVALID_MESSAGE";

  /** @param message The message's name. @param part Which part of it, for example `input`. */
  constructor(
    message: string,
    part: string,
    issues: readonly { readonly path: string; readonly message: string }[],
    init: HoldfastErrorInit = {},
  ) {
    const shown = issues.slice(0, ISSUES_MAX_COUNT);
    const first = shown
      .map(({ path, message: text }) => (path === "" ? text : `${path}: ${text}`))
      .join("; ");
    super(`The ${part} of ${message} does not fit its schema (${first})`, {
      ...init,
      details: { ...init.details, message, part, issues: shown },
    });
  }
}

/** The other side has no handler for a message of this name. Costs only that message. Not retryable there. */
export class UnknownMessageError extends HoldfastError {
  override readonly name = "UnknownMessageError";
  readonly code = "PROTOCOL_UNKNOWN_MESSAGE";

  constructor(message: string) {
    super(`Nobody answers ${message} here; check the role and the version of this node`, {
      details: { message },
    });
  }
}

/** A well-formed frame at a moment where the protocol does not allow it. The connection is closed. Not retryable. */
export class UnexpectedFrameError extends HoldfastError {
  override readonly name = "UnexpectedFrameError";
  readonly code = "PROTOCOL_UNEXPECTED_FRAME";

  constructor(type: string, moment: string) {
    super(`A ${type} frame is not allowed ${moment}; the connection is closed`, {
      details: { type, moment },
    });
  }
}

/** A value cannot be written as bytes, or bytes cannot be read as a value. Not retryable. */
export class SerializationError extends HoldfastError {
  override readonly name = "SerializationError";
  readonly code = "PROTOCOL_SERIALIZATION";

  constructor(problem: string, init: HoldfastErrorInit = {}) {
    super(`The payload ${problem}`, init);
  }
}

/** Enough to find the fault; a message with thousands of wrong fields must not become an answer of megabytes. */
const ISSUES_MAX_COUNT = 8;

const hex = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;
