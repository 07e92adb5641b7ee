import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";
import type { Json } from "./json.ts";

/** The store could not be asked. Nothing is known about names, holders or tasks: this is never "empty" or "busy". Retryable. */
export class StoreUnavailableError extends HoldfastError {
  override readonly name = "StoreUnavailableError";
  readonly code = "COORDINATION_STORE_UNAVAILABLE";

  constructor(operation: string, init: HoldfastErrorInit = {}) {
    super(`${operation}: the coordination store did not answer`, {
      retryable: true,
      ...init,
      details: { ...init.details, operation },
    });
  }
}

/** The call lost against a concurrent one and was rolled back. Nothing was changed. Retryable. */
export class StoreConflictError extends HoldfastError {
  override readonly name = "StoreConflictError";
  readonly code = "COORDINATION_STORE_CONFLICT";

  constructor(operation: string, init: HoldfastErrorInit = {}) {
    super(`${operation}: lost against a concurrent change and was rolled back: try again`, {
      retryable: true,
      ...init,
      details: { ...init.details, operation },
    });
  }
}

/** The lease ended or was taken over. Do not commit work done under it. Not retryable. */
export class LeaseLostError extends HoldfastError {
  override readonly name = "LeaseLostError";
  readonly code = "COORDINATION_LEASE_LOST";

  constructor(leaseName: string, token: bigint, init: HoldfastErrorInit = {}) {
    super(`lease ${leaseName} (token ${token}) is lost: it expired or was granted to another`, {
      ...init,
      details: { ...init.details, lease: leaseName, token: token.toString() },
    });
  }
}

/** The lock was still held by another when the wait was over. Retryable; nothing is held. */
export class LockTimeoutError extends HoldfastError {
  override readonly name = "LockTimeoutError";
  readonly code = "COORDINATION_LOCK_TIMEOUT";

  constructor(lock: string, waitedMs: number, holder: string, init: HoldfastErrorInit = {}) {
    super(`lock ${lock} was still held by ${holder} after ${waitedMs} ms`, {
      retryable: true,
      ...init,
      details: { ...init.details, lock, waitedMs, holder },
    });
  }
}

/** A worker's claim of a task ended: it lapsed and was taken back, or could not be renewed in time. Stop; another may run it. Not retryable. */
export class ClaimLostError extends HoldfastError {
  override readonly name = "ClaimLostError";
  readonly code = "COORDINATION_CLAIM_LOST";

  constructor(taskId: string, token: bigint, init: HoldfastErrorInit = {}) {
    super(`the claim of task ${taskId} (token ${token}) is lost: stop, another worker may run it`, {
      ...init,
      details: { ...init.details, taskId, token: token.toString() },
    });
  }
}

/** The task was cancelled while it ran. Stop; its result will not be taken. Not retryable. */
export class TaskCancelledError extends HoldfastError {
  override readonly name = "TaskCancelledError";
  readonly code = "COORDINATION_TASK_CANCELLED";

  constructor(taskId: string, init: HoldfastErrorInit = {}) {
    super(`task ${taskId} was cancelled: stop, its result will not be taken`, {
      ...init,
      details: { ...init.details, taskId },
    });
  }
}

/** A payload exceeds the store's limit. Nothing was written. Not retryable. */
export class PayloadTooLargeError extends HoldfastError {
  override readonly name = "PayloadTooLargeError";
  readonly code = "COORDINATION_PAYLOAD_TOO_LARGE";

  constructor(what: string, sizeBytes: number, limitBytes: number, init: HoldfastErrorInit = {}) {
    super(`${what} has ${sizeBytes} bytes; the limit is ${limitBytes}`, {
      ...init,
      details: { ...init.details, what, sizeBytes, limitBytes },
    });
  }
}

/** The store holds a schema that this version does not know. Upgrade this program. Not retryable. */
export class SchemaTooNewError extends HoldfastError {
  override readonly name = "SchemaTooNewError";
  readonly code = "COORDINATION_SCHEMA_TOO_NEW";

  constructor(found: number, known: number, init: HoldfastErrorInit = {}) {
    super(
      `the store has schema version ${found}, this program knows up to ${known}: use a newer version of Holdfast`,
      { ...init, details: { ...init.details, found, known } },
    );
  }
}

/** The event bus has no room for the event and does not wait longer. It was not taken in. Retryable. */
export class EventBusFullError extends HoldfastError {
  override readonly name = "EventBusFullError";
  readonly code = "COORDINATION_EVENT_BUS_FULL";

  constructor(type: string, capacity: number, init: HoldfastErrorInit = {}) {
    super(`event ${type} was not taken in: the bus holds ${capacity} events already; publish it later`, {
      retryable: true,
      ...init,
      details: { ...init.details, type, capacity },
    });
  }
}

/** One subscription lost an event because its inbox was full; all others got it. Not retryable. */
export class InboxFullError extends HoldfastError {
  override readonly name = "InboxFullError";
  readonly code = "COORDINATION_INBOX_FULL";

  constructor(subscription: string, inboxMaxCount: number, init: HoldfastErrorInit = {}) {
    super(
      `subscription ${subscription} lost an event: ${inboxMaxCount} wait for it already; make its handler faster, or give it more concurrency or a larger inbox`,
      { ...init, details: { ...init.details, subscription, inboxMaxCount } },
    );
  }
}

/** This backend cannot do what was asked, and says so instead of doing something else. Nothing was changed. Not retryable. */
export class UnsupportedError extends HoldfastError {
  override readonly name = "UnsupportedError";
  readonly code = "COORDINATION_UNSUPPORTED";

  constructor(what: string, reason: string, init: HoldfastErrorInit = {}) {
    super(`${what} is not supported: ${reason}`, { ...init, details: { ...init.details, what, reason } });
  }
}

/** A conditional write of shared state found something else. Nothing was changed. Not retryable as it is: read again. */
export class StateConflictError extends HoldfastError {
  override readonly name = "StateConflictError";
  readonly code = "COORDINATION_STATE_CONFLICT";
  /** What was to be written; undefined for a delete. */
  readonly wanted: Json | undefined;
  /** What is there instead; undefined when there is nothing. */
  readonly present: { readonly value: Json; readonly revision: bigint } | undefined;

  constructor(
    conflict: {
      readonly namespace: string;
      readonly key: string;
      readonly wanted: Json | undefined;
      readonly ifRevision: bigint | undefined;
      readonly entry: { readonly value: Json; readonly revision: bigint } | undefined;
    },
    init: HoldfastErrorInit = {},
  ) {
    const { namespace, key, ifRevision, entry } = conflict;
    const revision = (entry?.revision ?? 0n).toString();
    super(
      `${key} of ${namespace} is at revision ${revision}, not ${ifRevision ?? "as expected"}: read it again and decide anew`,
      { ...init, details: { ...init.details, namespace, key, revision } },
    );
    this.wanted = conflict.wanted;
    this.present = entry === undefined ? undefined : { value: entry.value, revision: entry.revision };
  }
}

/** A value of shared state was to be incremented but is no integer, or the sum is not a safe one. Nothing was changed. Not retryable. */
export class StateNotIntegerError extends HoldfastError {
  override readonly name = "StateNotIntegerError";
  readonly code = "COORDINATION_STATE_NOT_INTEGER";

  constructor(namespace: string, key: string, init: HoldfastErrorInit = {}) {
    super(`${key} of ${namespace} cannot be incremented: it, or the sum, is no safe integer`, {
      ...init,
      details: { ...init.details, namespace, key },
    });
  }
}

/** What is stored under a key of shared state cannot be read. Write or delete it. Not retryable. */
export class StateCorruptError extends HoldfastError {
  override readonly name = "StateCorruptError";
  readonly code = "COORDINATION_STATE_CORRUPT";

  constructor(namespace: string, key: string, init: HoldfastErrorInit = {}) {
    super(`the stored value of ${key} in ${namespace} cannot be read: write it anew or delete it`, {
      ...init,
      details: { ...init.details, namespace, key },
    });
  }
}
