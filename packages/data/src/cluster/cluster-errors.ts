import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** A Patroni did not answer. Retryable, by itself or with another one. */
export class PatroniUnreachableError extends HoldfastError {
  override readonly name = "PatroniUnreachableError";
  readonly code = "DATA_PATRONI_UNREACHABLE";

  constructor(server: string, init: HoldfastErrorInit = {}) {
    super(`Patroni at ${server} does not answer: is it running, and is this its REST address?`, {
      retryable: true,
      ...init,
      details: { ...init.details, server },
    });
  }
}

/** What answers there is no Patroni that we understand. Retryable, because a member may be starting. */
export class PatroniAnswerError extends HoldfastError {
  override readonly name = "PatroniAnswerError";
  readonly code = "DATA_PATRONI_ANSWER";

  constructor(server: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`the answer of Patroni at ${server} cannot be used: ${reason}`, {
      retryable: true,
      ...init,
      details: { ...init.details, server, reason },
    });
  }
}

/** The cluster has no server that may be written to now; nothing was sent. Retryable: it ends with the failover. */
export class NoPrimaryError extends HoldfastError {
  override readonly name = "NoPrimaryError";
  readonly code = "DATA_NO_PRIMARY";

  constructor(reason: string, waitedMs: number, init: HoldfastErrorInit = {}) {
    super(`the cluster takes no writes: ${reason} (waited ${waitedMs} ms)`, {
      retryable: true,
      ...init,
      details: { ...init.details, reason, waitedMs },
    });
  }
}

/** Two servers take themselves for the primary, so none is written to; nothing was sent. Not retryable until somebody stops one of them. */
export class SplitBrainError extends HoldfastError {
  override readonly name = "SplitBrainError";
  readonly code = "DATA_SPLIT_BRAIN";

  constructor(nodes: readonly string[], init: HoldfastErrorInit = {}) {
    super(
      `${nodes.join(" and ")} both take themselves for the primary: stop one of them; nothing was written`,
      {
        ...init,
        details: { ...init.details, nodes },
      },
    );
  }
}

/** No replica may serve this read, and the primary was not allowed or is not there; nothing was read. Retryable. */
export class NoReplicaError extends HoldfastError {
  override readonly name = "NoReplicaError";
  readonly code = "DATA_NO_REPLICA";

  constructor(reason: string, init: HoldfastErrorInit = {}) {
    super(`no server may serve this read: ${reason}`, {
      retryable: true,
      ...init,
      details: { ...init.details, reason },
    });
  }
}

/** A connection led to a server in another role or on another timeline than it was opened for, and was closed. Retryable. */
export class WrongServerError extends HoldfastError {
  override readonly name = "WrongServerError";
  readonly code = "DATA_WRONG_SERVER";

  constructor(server: string, wanted: string, found: string, init: HoldfastErrorInit = {}) {
    super(`${server} is ${found} where ${wanted} was expected`, {
      retryable: true,
      ...init,
      details: { ...init.details, server, wanted, found },
    });
  }
}

/**
 * The session has seen or written something that a failover lost: the new primary's log left the old one before it. Not
 * retryable: tell whoever relies on it, then go on with a new session.
 */
export class PositionLostError extends HoldfastError {
  override readonly name = "PositionLostError";
  readonly code = "DATA_POSITION_LOST";

  constructor(position: string, fork: string, init: HoldfastErrorInit = {}) {
    super(
      `the session stands at ${position}, but that timeline ended at ${fork}: what came after was lost in a failover`,
      { ...init, details: { ...init.details, position, fork } },
    );
  }
}

/** A planned switchover did not happen; the old primary goes on. Retryable when the reason passes. */
export class SwitchoverRefusedError extends HoldfastError {
  override readonly name = "SwitchoverRefusedError";
  readonly code = "DATA_SWITCHOVER_REFUSED";

  constructor(reason: string, init: HoldfastErrorInit = {}) {
    super(`no switchover: ${reason}`, { retryable: true, ...init, details: { ...init.details, reason } });
  }
}
