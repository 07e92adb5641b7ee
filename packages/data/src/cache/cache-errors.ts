import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** The shared part of the cache cannot be reached, so what was asked of it did not happen, or nobody knows. Retryable: every call of the cache may be repeated. */
export class CacheUnavailableError extends HoldfastError {
  override readonly name = "CacheUnavailableError";
  readonly code = "CACHE_UNAVAILABLE";

  constructor(operation: string, init: HoldfastErrorInit = {}) {
    super(`the shared cache cannot be reached (${operation})`, {
      retryable: true,
      ...init,
      details: { ...init.details, operation },
    });
  }
}

/**
 * The transaction is committed, but the shared cache could not be told in time: until the relay has told it, other
 * processes may read the values from before. Not retryable: the change is made.
 */
export class InvalidationPendingError extends HoldfastError {
  override readonly name = "InvalidationPendingError";
  readonly code = "CACHE_INVALIDATION_PENDING";

  constructor(waitedMs: number, init: HoldfastErrorInit = {}) {
    super(
      `the change is committed, but the shared cache could not be told within ${waitedMs} ms; the relay will tell it`,
      { ...init, details: { ...init.details, waitedMs } },
    );
  }
}
