import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** Nobody listens at the address. Not retryable by itself: another address, or a later try, may help. */
export class ConnectionRefusedError extends HoldfastError {
  override readonly name = "ConnectionRefusedError";
  readonly code = "CONNECTION_REFUSED";

  constructor(address: string, init: HoldfastErrorInit = {}) {
    super(`Nobody listens at ${address}; check the address and that the node is running`, {
      ...init,
      details: { ...init.details, address },
    });
  }
}

/** The connection was not ready within the limit. Retryable; nothing was sent but the handshake. */
export class ConnectionTimeoutError extends HoldfastError {
  override readonly name = "ConnectionTimeoutError";
  readonly code = "CONNECTION_TIMEOUT";

  constructor(address: string, timeoutMs: number, init: HoldfastErrorInit = {}) {
    super(`Connecting to ${address} took longer than ${timeoutMs} ms; check that the node answers`, {
      retryable: true,
      ...init,
      details: { ...init.details, address, timeoutMs },
    });
  }
}

/**
 * The connection broke. What was in flight may or may not have been carried out; `retryable` is false for a
 * request that must not be repeated for that reason.
 */
export class ConnectionLostError extends HoldfastError {
  override readonly name = "ConnectionLostError";
  readonly code = "CONNECTION_LOST";
  readonly reason: string;

  /** @param reason Why, as the end of "The connection to … was lost: …". */
  constructor(address: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`The connection to ${address} was lost: ${reason}`, {
      retryable: true,
      ...init,
      details: { ...init.details, address },
    });
    this.reason = reason;
  }

  /** Why a connection ended, in words; `error` undefined: nobody cut it. */
  static reasonOf(error: Error | undefined): string {
    if (error === undefined) return "the other side closed it";
    return error instanceof ConnectionLostError ? error.reason : error.message;
  }
}

/** The other side is about to close and takes no new requests; nothing was sent. Retryable elsewhere. */
export class ConnectionDrainingError extends HoldfastError {
  override readonly name = "ConnectionDrainingError";
  readonly code = "CONNECTION_DRAINING";

  constructor(address: string) {
    super(`${address} is shutting down and takes no new requests; ask another node`, {
      retryable: true,
      details: { address },
    });
  }
}

/** The network failed in another way: no route, an unknown host name, a socket error. Retryable. */
export class NetworkError extends HoldfastError {
  override readonly name = "NetworkError";
  readonly code = "CONNECTION_NETWORK";

  constructor(address: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`The network failed at ${address}: ${reason}`, {
      retryable: true,
      ...init,
      details: { ...init.details, address, reason },
    });
  }
}

/** Another program listens there already. Not retryable until it stops. */
export class AddressInUseError extends HoldfastError {
  override readonly name = "AddressInUseError";
  readonly code = "CONNECTION_ADDRESS_IN_USE";

  constructor(address: string, init: HoldfastErrorInit = {}) {
    super(`${address} is in use by another program; choose another port or stop that program`, {
      ...init,
      details: { ...init.details, address },
    });
  }
}

/** TLS was asked for and could not be had: a plain server, a certificate that does not fit. Nothing was sent in the clear. Not retryable. */
export class TlsError extends HoldfastError {
  override readonly name = "TlsError";
  readonly code = "CONNECTION_TLS";

  constructor(address: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`No secure connection to ${address}: ${reason}; check the certificates on both sides`, {
      ...init,
      details: { ...init.details, address, reason },
    });
  }
}

/** The other side does not accept our credential. Never retried by a policy, and no sign of a sick node. */
export class AuthenticationFailedError extends HoldfastError {
  override readonly name = "AuthenticationFailedError";
  readonly code = "AUTHENTICATION_FAILED";

  constructor(address: string, init: HoldfastErrorInit = {}) {
    super(`${address} refused the credential; check the token`, {
      ...init,
      details: { ...init.details, address },
    });
  }
}

/** The credential is good but does not allow this message. Not retryable. */
export class PermissionDeniedError extends HoldfastError {
  override readonly name = "PermissionDeniedError";
  readonly code = "AUTHENTICATION_PERMISSION_DENIED";

  constructor(message: string, scope: string) {
    super(`${message} needs a credential with the scope "${scope}"`, { details: { message, scope } });
  }
}

/** The node has as many connections as it takes. Retryable, best at another node. */
export class ConnectionOverloadedError extends HoldfastError {
  override readonly name = "ConnectionOverloadedError";
  readonly code = "CONNECTION_OVERLOADED";

  constructor(address: string, limit: number, init: HoldfastErrorInit = {}) {
    super(`${address} has ${limit} connections and takes no more; try another node`, {
      retryable: true,
      ...init,
      details: { ...init.details, address, limit },
    });
  }
}

/**
 * No connection became free in time, or the waiting line is full. Not marked retryable: trying again at once
 * adds to the line that was too long.
 */
export class PoolExhaustedError extends HoldfastError {
  override readonly name = "PoolExhaustedError";
  readonly code = "CONNECTION_POOL_EXHAUSTED";
  readonly waitedMs: number;
  readonly maxCount: number;

  constructor(pool: string, waitedMs: number, maxCount: number, init: HoldfastErrorInit = {}) {
    const waited = Math.round(waitedMs);
    super(
      `Connection pool exhausted: all ${maxCount} of ${pool} were in use after waiting ${waited} ms; release sooner or raise maxCount`,
      { ...init, details: { ...init.details, pool, waitedMs: waited, max: maxCount } },
    );
    this.waitedMs = waited;
    this.maxCount = maxCount;
  }
}

/** The pool was closed before or during the wait. Not retryable on this pool. */
export class PoolClosedError extends HoldfastError {
  override readonly name = "PoolClosedError";
  readonly code = "CONNECTION_POOL_CLOSED";

  constructor(pool: string) {
    super(`Pool ${pool} is closed`, { details: { pool } });
  }
}

/** A lease was used after it was given back, or given back twice. A mistake of the program; nothing was changed. */
export class LeaseReleasedError extends HoldfastError {
  override readonly name = "LeaseReleasedError";
  readonly code = "CONNECTION_LEASE_RELEASED";

  constructor(pool: string, id: number) {
    super(`The lease of connection ${id} of pool ${pool} was given back already; release each lease once`, {
      details: { pool, id },
    });
  }
}

/** A pool of this name exists already. Not retryable. */
export class PoolExistsError extends HoldfastError {
  override readonly name = "PoolExistsError";
  readonly code = "CONNECTION_POOL_EXISTS";

  constructor(pool: string) {
    super(`Pool ${pool} already exists; choose another name or close that pool first`, { details: { pool } });
  }
}

/** There is no pool of this name. Not retryable. */
export class PoolNotFoundError extends HoldfastError {
  override readonly name = "PoolNotFoundError";
  readonly code = "CONNECTION_POOL_NOT_FOUND";

  constructor(pool: string) {
    super(`Pool ${pool} not found; create it first`, { details: { pool } });
  }
}

/** No node may be asked: all are held back by the caller, or there is none. Not retryable until one is released. */
export class NoHealthyNodesError extends HoldfastError {
  override readonly name = "NoHealthyNodesError";
  readonly code = "CONNECTION_NO_HEALTHY_NODES";

  constructor(nodes: readonly string[]) {
    super(`No node may be asked: all of [${nodes.join(", ")}] are held back; release one or add another`, {
      details: { nodes },
    });
  }
}

/** There is no node of this number. Not retryable. */
export class NodeNotFoundError extends HoldfastError {
  override readonly name = "NodeNotFoundError";
  readonly code = "CONNECTION_NODE_NOT_FOUND";

  constructor(nodeId: number) {
    super(`There is no node ${nodeId}; nodes are numbered from 1 in the order of the hosts`, {
      details: { nodeId },
    });
  }
}

/** The token's time is over. Authenticate again; never retried by a policy as it is. */
export class TokenExpiredError extends HoldfastError {
  override readonly name = "TokenExpiredError";
  readonly code = "AUTHENTICATION_TOKEN_EXPIRED";

  /** @param expiredAt Milliseconds since the epoch. */
  constructor(expiredAt: number) {
    super(`The token expired at ${new Date(expiredAt).toISOString()}; authenticate again`, {
      details: { expiredAt },
    });
  }
}

/** A token or password that nobody issued, or that was made worthless by a logout. Never retried. */
export class InvalidCredentialsError extends HoldfastError {
  override readonly name = "InvalidCredentialsError";
  readonly code = "AUTHENTICATION_INVALID_CREDENTIALS";

  /** @param reason Why, without the secret itself. */
  constructor(reason: string) {
    super(`The credentials are not valid: ${reason}`, { details: { reason } });
  }
}

/** The other side is of a version that cannot do what was asked; nothing was sent. Not retryable there. */
export class UnsupportedFeatureError extends HoldfastError {
  override readonly name = "UnsupportedFeatureError";
  readonly code = "CONNECTION_UNSUPPORTED_FEATURE";

  constructor(address: string, feature: string) {
    super(`${address} does not know ${feature}; upgrade it`, { details: { address, feature } });
  }
}

/** The protocol can be chosen but not dialled. Not retryable. */
export class UnsupportedProtocolError extends HoldfastError {
  override readonly name = "UnsupportedProtocolError";
  readonly code = "CONNECTION_UNSUPPORTED_PROTOCOL";

  constructor(protocol: string) {
    super(`Nodes cannot be reached over ${protocol}; allow tcp or tls on both sides`, {
      details: { protocol },
    });
  }
}
