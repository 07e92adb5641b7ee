import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/**
 * The circuit breaker refused the call without trying it. Retryable unless the breaker was isolated by hand;
 * while it is open `retryAfterMs` is the time until it lets a probe through.
 */
export class CircuitOpenError extends HoldfastError {
  override readonly name = "CircuitOpenError";
  readonly code = "RESILIENCE_CIRCUIT_OPEN";

  constructor(
    breaker: string,
    init: HoldfastErrorInit & { readonly state: "open" | "half-open" | "isolated" },
  ) {
    const { state, ...rest } = init;
    super(`Circuit breaker is open: ${breaker} is ${state}${hint(rest.retryAfterMs)}`, {
      retryable: state !== "isolated",
      ...rest,
      details: { ...rest.details, breaker, state },
    });
  }
}

/** A rate limit refused the call; nothing was done. Retryable after `retryAfterMs`. */
export class RateLimitedError extends HoldfastError {
  override readonly name = "RateLimitedError";
  readonly code = "RESILIENCE_RATE_LIMITED";

  constructor(limiter: string, init: HoldfastErrorInit = {}) {
    super(`Rate limit ${limiter} is used up${hint(init.retryAfterMs)}`, {
      retryable: true,
      ...init,
      details: { ...init.details, limiter },
    });
  }
}

/** Work of this priority is refused while the node is this loaded; nothing was done. Retryable after `retryAfterMs`. */
export class LoadShedError extends HoldfastError {
  override readonly name = "LoadShedError";
  readonly code = "RESILIENCE_LOAD_SHED";

  constructor(priority: string, level: string, init: HoldfastErrorInit = {}) {
    super(
      `Overload: work of priority ${priority} is shed while the level is ${level}${hint(init.retryAfterMs)}`,
      {
        retryable: true,
        ...init,
        details: { ...init.details, priority, level },
      },
    );
  }
}

const hint = (retryAfterMs: number | undefined): string =>
  retryAfterMs === undefined ? "" : `; try again in ${Math.ceil(retryAfterMs)} ms`;
