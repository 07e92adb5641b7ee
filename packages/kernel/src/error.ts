const BRAND = Symbol.for("holdfast.error");

/** What an error may tell a caller beyond its message. Values must survive JSON; secrets must never be among them. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

export interface HoldfastErrorInit {
  readonly cause?: unknown;
  /** Whether the same call may succeed later. Default false. */
  readonly retryable?: boolean;
  /** How long the other side asks us to wait before we try again, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly details?: ErrorDetails;
}

/**
 * The base of every error that Holdfast throws on purpose.
 *
 * `code` is stable and never reused; match on it, not on the message. Wrong arguments of a programmer
 * are {@link InvalidInputError}; an abort is never wrapped: `signal.reason` passes as it is.
 */
export abstract class HoldfastError extends Error {
  abstract readonly code: string;
  /** Survives two loaded copies of this package, where `instanceof` does not. */
  readonly [BRAND] = true;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: ErrorDetails;

  constructor(message: string, init: HoldfastErrorInit = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.retryable = init.retryable ?? false;
    this.retryAfterMs = init.retryAfterMs;
    this.details = init.details ?? {};
  }
}

/** True for every Holdfast error, also one made by another loaded copy of this package. */
export const isHoldfastError = (value: unknown): value is HoldfastError =>
  value instanceof Error && BRAND in value;

/** True when `value` is a Holdfast error with this code. */
export const hasCode = (value: unknown, code: string): value is HoldfastError =>
  isHoldfastError(value) && value.code === code;
