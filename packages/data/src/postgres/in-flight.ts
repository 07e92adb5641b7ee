import { type Deferred, OutcomeUnknownError } from "@holdfast/kernel";
import type { WireValue } from "../sql/parameter.ts";
import type { ResultFormat, SessionResult } from "../sql/session.ts";
import type { DriverResult } from "./driver-client.ts";

/** A statement whose answer has not come yet. */
export interface InFlight {
  readonly text: string;
  readonly values: readonly WireValue[] | undefined;
  readonly copyData: Uint8Array | undefined;
  readonly format: ResultFormat | undefined;
  readonly isRepeatable: boolean;
  readonly sentAt: number;
  readonly outcome: Deferred<SessionResult<unknown>>;
  /** Sent a second time, because it was prepared for a table that has changed. */
  isSentAgain: boolean;
  isGivenUp: boolean;
  /** The limit that passed, if one did. */
  timedOutAfterMs: number | undefined;
  /** A cancel that was meant for the statement before it may hit it. */
  isExposed: boolean;
  /** The server gave up waiting for a synchronous replica to confirm it. */
  isUnconfirmed: boolean;
  /** Stops its timer and stops listening to its signal. */
  stopWatching: (() => void) | undefined;
}

/** The answer to `text` was lost, and running it again might do it twice. */
export const unknownOutcome = (text: string, cause: unknown): OutcomeUnknownError =>
  new OutcomeUnknownError(/[a-z]+/i.exec(text)?.[0].toUpperCase() ?? "statement", { cause });

export const toSessionResult = (
  { format }: InFlight,
  { rows, rowCount, command, fields }: DriverResult,
): SessionResult<unknown> =>
  format === undefined
    ? { rows, rowCount: rowCount ?? 0, command }
    : { rows, rowCount: rowCount ?? 0, command, fields };
