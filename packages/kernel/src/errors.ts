import { type ErrorDetails, HoldfastError, type HoldfastErrorInit, isHoldfastError } from "./error.ts";
import { isSurelyPlain } from "./surely-plain.ts";

/** A value that the caller gave is not acceptable; nothing was changed. Not retryable. */
export class InvalidInputError extends HoldfastError {
  override readonly name = "InvalidInputError";
  readonly code = "KERNEL_INVALID_INPUT";
  readonly field: string;

  /**
   * @param field The path of the field, for example `retry.maxAttempts`.
   * @param value What was given; shown shortened in the message.
   * @param expected What would have been accepted, as the end of "must be …".
   */
  constructor(field: string, value: unknown, expected: string, init: HoldfastErrorInit = {}) {
    super(`${field} must be ${expected}; got ${show(value)}`, {
      ...init,
      details: { ...init.details, field, value: show(value), expected },
    });
    this.field = field;
  }
}

/** A wait took longer than its limit. Retryable; whether the work happened is not known unless the thrower says so. */
export class TimeoutError extends HoldfastError {
  override readonly name = "TimeoutError";
  readonly code = "KERNEL_TIMEOUT";
  readonly operation: string;
  readonly timeoutMs: number;

  constructor(operation: string, timeoutMs: number, init: HoldfastErrorInit = {}) {
    super(`${operation} took longer than ${timeoutMs} ms`, {
      retryable: true,
      ...init,
      details: { ...init.details, operation, timeoutMs },
    });
    this.operation = operation;
    this.timeoutMs = timeoutMs;
  }
}

/** The object was closed before or during the call. Not retryable on this object. */
export class ClosedError extends HoldfastError {
  override readonly name = "ClosedError";
  readonly code = "KERNEL_CLOSED";

  constructor(what: string, init: HoldfastErrorInit = {}) {
    super(`${what} is closed`, { ...init, details: { ...init.details, what } });
  }
}

/** A bounded queue, pool or buffer is full. Retryable; nothing was taken in. */
export class OverloadedError extends HoldfastError {
  override readonly name = "OverloadedError";
  readonly code = "KERNEL_OVERLOADED";

  constructor(what: string, limit: number, init: HoldfastErrorInit = {}) {
    super(`${what} is full (limit ${limit})`, {
      retryable: true,
      ...init,
      details: { ...init.details, what, limit },
    });
  }
}

/**
 * The request may or may not have taken effect: its answer was lost.
 * Retryable only when the call carried an idempotency key, which the thrower states by `retryable`.
 */
export class OutcomeUnknownError extends HoldfastError {
  override readonly name = "OutcomeUnknownError";
  readonly code = "KERNEL_OUTCOME_UNKNOWN";

  constructor(operation: string, init: HoldfastErrorInit = {}) {
    super(`${operation}: the outcome is unknown because the answer was lost`, {
      ...init,
      details: { ...init.details, operation },
    });
  }
}

/** An error that another node reported; `code`, `retryable` and `details` are the remote ones. */
export class RemoteError extends HoldfastError {
  override readonly name = "RemoteError";
  readonly code: string;

  constructor(wire: WireError) {
    super(wire.message, {
      retryable: wire.retryable,
      ...(wire.retryAfterMs === undefined ? {} : { retryAfterMs: wire.retryAfterMs }),
      details: wire.details ?? {},
    });
    this.code = wire.code;
  }
}

/** How an error crosses the wire: no stack, no cause, no secrets. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  readonly details?: ErrorDetails;
}

/**
 * The wire form of any thrown value. What is not ours becomes `KERNEL_INTERNAL` with its message only. Details that
 * JSON cannot hold are sent as far as it can.
 */
export const toWireError = (error: unknown): WireError => {
  if (isHoldfastError(error)) {
    return {
      code: error.code,
      message: error.message,
      retryable: error.retryable,
      ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
      details: wireDetails(error.details),
    };
  }
  return { code: "KERNEL_INTERNAL", message: textOf(error), retryable: false };
};

/** Who receives an error may have to store it: a detail that no store takes must not cost the whole of it. */
const wireDetails = (details: ErrorDetails): ErrorDetails => {
  if (isSurelyPlain(details)) return details;
  try {
    return (JSON.parse(JSON.stringify(details)) as ErrorDetails | null) ?? {};
  } catch {
    return {};
  }
};

const textOf = (error: unknown): string => {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "an error that has no text";
  }
};

/** Fails loudly when an invariant of our own code does not hold. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${message}`);
}

const show = (value: unknown): string => {
  const text = textToShow(value);
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
};

/** Never throws: what cannot be shown as JSON, or would be null as JSON, is named by its kind. */
const textToShow = (value: unknown): string => {
  switch (typeof value) {
    case "bigint":
      return `${value}n`;
    case "function":
      return "[function]";
    case "object":
      try {
        return JSON.stringify(value) ?? "[object]";
      } catch {
        return "[object]";
      }
    case "string":
      return JSON.stringify(value);
    default:
      return String(value);
  }
};
