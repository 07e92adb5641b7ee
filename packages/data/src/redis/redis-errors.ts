import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** Redis cannot be reached, or the server that answers is not the one that takes writes. Retryable. Holds no password. */
export class RedisConnectError extends HoldfastError {
  override readonly name = "RedisConnectError";
  readonly code = "REDIS_CONNECT_FAILED";

  constructor(server: string, init: HoldfastErrorInit = {}) {
    super(`cannot use Redis at ${server}`, {
      retryable: true,
      ...init,
      details: { ...init.details, server },
    });
  }
}
