import { HoldfastError, isHoldfastError, toWireError, type WireError } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";

export interface ShardFailure {
  readonly error: WireError;
  /** False: no further attempt can help. */
  readonly retry: boolean;
  /** True: the attempt was not the workflow's fault and does not count. */
  readonly uncounted: boolean;
}

/**
 * Codes after which another attempt would end the same way. A cancelled attempt is not among them: whether its job is
 * over is the leader's to say, and a leader that was told to cancel may lose the job before that is stored.
 */
const FINAL_CODES = ["JOBS_PERMANENT", "JOBS_INVALID_OUTPUT", "JOBS_INVALID_INPUT"];
/** Codes of attempts that ended for a reason outside the workflow. */
const UNCOUNTED_CODES = [
  "JOBS_WORKER_DRAINING",
  "JOBS_SHARD_GIVEN_BACK",
  "JOBS_SHARD_CANCELLED",
  "JOBS_CLAIM_LOST",
];

const MESSAGE_MAX_CHARACTERS = 4_000;
const FRAME_MAX_CHARACTERS = 300;

/**
 * How the end of an attempt is told to its manager: a workflow's own errors may be tried again unless it
 * threw a PermanentError (also one from another loaded copy of this package, or its subclass).
 */
export const failureOf = (error: unknown): ShardFailure => {
  const wire = isHoldfastError(error) ? toWireError(error) : wireOfForeign(error);
  return {
    error: { ...wire, message: shorten(wire.message) },
    retry: !FINAL_CODES.includes(wire.code),
    uncounted: UNCOUNTED_CODES.includes(wire.code),
  };
};

/** An error from user code: its message, its name and code, and the line that threw it. No stack. */
const wireOfForeign = (error: unknown): WireError => {
  if (!(error instanceof Error)) {
    return {
      code: "JOBS_WORKFLOW_FAILED",
      message: `the workflow threw ${describe(error)}`,
      retryable: true,
    };
  }
  const { code } = error as { readonly code?: unknown };
  const at = /^\s*at (.+)$/m.exec(error.stack ?? "")?.[1]?.slice(0, FRAME_MAX_CHARACTERS);
  return {
    code: "JOBS_WORKFLOW_FAILED",
    message: error.message === "" ? error.name : error.message,
    retryable: true,
    details: {
      name: error.name,
      ...(typeof code === "string" ? { code } : {}),
      ...(at === undefined ? {} : { at }),
    },
  };
};

const describe = (value: unknown): string => {
  try {
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    return "a value that is not an Error";
  }
};

const shorten = (text: string): string =>
  text.length > MESSAGE_MAX_CHARACTERS ? `${text.slice(0, MESSAGE_MAX_CHARACTERS - 1)}…` : text;

/** Names an attempt in errors and logs. */
export const attemptName = ({ name, shard, jobId, attempt }: Assignment): string =>
  `attempt ${attempt} of shard ${shard} of workflow ${name} (job ${jobId})`;

/** An error that travelled as data, an error again; its code, details and retryable are kept. */
export const thawError = (wire: WireError): HoldfastError => new ThawedError(wire);

class ThawedError extends HoldfastError {
  override readonly name: string;
  readonly code: string;

  constructor(wire: WireError) {
    super(wire.message, {
      retryable: wire.retryable,
      ...(wire.retryAfterMs === undefined ? {} : { retryAfterMs: wire.retryAfterMs }),
      details: wire.details ?? {},
    });
    this.code = wire.code;
    this.name = "HoldfastError";
  }
}
