import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../json.ts";
import type { Position } from "../position.ts";

/** A value of a namespace as the store has it. */
export interface StateEntry {
  readonly key: string;
  readonly value: Json;
  /** Whatever its writer put beside the value. */
  readonly metadata: Json;
  /** The namespace's revision that wrote it. Never given twice in one epoch, not even after a delete. */
  readonly revision: bigint;
  /** Milliseconds left by the store's clock; undefined when it has no end. */
  readonly remainingMs: number | undefined;
}

/** A stored value that cannot be read. A write replaces it, a delete removes it. */
export interface CorruptEntry {
  readonly key: string;
  readonly isCorrupt: true;
}

export type StateWrite =
  | {
      readonly kind: "set";
      readonly key: string;
      readonly value: Json;
      /** Default null. */
      readonly metadata?: Json | undefined;
      /** Milliseconds until it ends, 1 ms to a year. Default: it has no end. */
      readonly ttlMs?: number | undefined;
      /** Only if the present entry has this revision; 0 when there must be none. Default: in any case. */
      readonly ifRevision?: bigint | undefined;
    }
  | { readonly kind: "delete"; readonly key: string; readonly ifRevision?: bigint | undefined }
  | {
      readonly kind: "increment";
      readonly key: string;
      /** A safe integer, may be negative. An absent value counts as 0. */
      readonly by: number;
      /** Default: the end that it has stays. */
      readonly ttlMs?: number | undefined;
    };

export type WriteOutcome =
  /** Done. `entry` is what is there now; none after a delete. */
  | { readonly kind: "written"; readonly position: Position; readonly entry: StateEntry | undefined }
  /** A delete of what was not there: no revision was used. */
  | { readonly kind: "unchanged" }
  /** The condition does not hold; `entry` is what is there instead. */
  | { readonly kind: "conflict"; readonly entry: StateEntry | undefined }
  /** An increment of what is no integer, or beyond the safe integers. */
  | { readonly kind: "not-integer"; readonly entry: StateEntry | undefined };

export type StateChange =
  | {
      readonly kind: "set";
      readonly key: string;
      readonly revision: bigint;
      readonly value: Json;
      readonly metadata: Json;
      /** Milliseconds that it had left when it was written. */
      readonly ttlMs: number | undefined;
      /** Whoever wrote it; see `write`. */
      readonly writer: string | undefined;
    }
  | {
      readonly kind: "deleted" | "expired";
      readonly key: string;
      readonly revision: bigint;
      readonly writer: string | undefined;
    }
  /** A change that cannot be read; `key` only where that could be. */
  | { readonly kind: "corrupt"; readonly key: string | undefined; readonly revision: bigint };

export type StateChanges =
  /** In the order of revisions, without gap or repeat, right after the position asked for. Empty: nothing newer. */
  | { readonly kind: "changes"; readonly changes: readonly StateChange[]; readonly head: Position }
  /** They cannot be told any more: take a snapshot. */
  | {
      readonly kind: "reset";
      readonly reason: "trimmed" | "epoch-changed" | "ahead-of-head";
      readonly head: Position;
    };

export interface StateSnapshot {
  /** The entries are those of exactly this position. Epoch 0 for a namespace that was never written. */
  readonly head: Position;
  /** Undefined when there are more than asked for. */
  readonly entries: readonly (StateEntry | CorruptEntry)[] | undefined;
}

export interface StateWriteOptions<Tx> extends Abortable {
  readonly tx?: Tx;
  /** Kept with each change, so that a writer knows its own. Default: none. */
  readonly writer?: string;
}

/** How many changes of a namespace are kept at least; who is further behind takes a snapshot. */
export const STATE_HISTORY_COUNT = 10_000;

/**
 * Keys and values in namespaces, each change with a revision.
 *
 * Guaranteed: each change of a namespace raises its revision by exactly one; deletes and expiries are changes, too.
 * Value, revision and history change together or not at all, so who takes a snapshot and follows from its position
 * has every change once, or is told `reset`. The epoch differs whenever revisions might have been given twice: the
 * store was flushed, or lost acknowledged writes.
 */
export interface States<Tx> {
  /**
   * Applies the writes in order, each under its own condition: one that fails does not stop the others. With
   * `tx` they commit with it; two namespaces written in one transaction must be written in the same order everywhere.
   * @throws InvalidInputError, PayloadTooLargeError before anything was written.
   * @throws StoreUnavailableError; OutcomeUnknownError when the writes were sent and no answer came.
   */
  write(
    namespace: string,
    writes: readonly StateWrite[],
    options?: StateWriteOptions<Tx>,
  ): Promise<readonly WriteOutcome[]>;
  /** The present entries of these keys, in order, undefined where there is none, as of `head`. */
  read(
    namespace: string,
    keys: readonly string[],
    options?: Abortable,
  ): Promise<{
    readonly head: Position;
    readonly entries: readonly (StateEntry | CorruptEntry | undefined)[];
  }>;
  /** All entries as of one instant, unless there are more than `maxCount` (default 100_000). */
  snapshot(namespace: string, options?: Abortable & { readonly maxCount?: number }): Promise<StateSnapshot>;
  /** What changed after this position, at most `limit` (default 500, at most 10_000). */
  changes(
    namespace: string,
    options: Abortable & { readonly after: Position; readonly limit?: number },
  ): Promise<StateChanges>;
  /** Removes values whose time is over, each with a change, and returns how many: at most 1000, so call again. */
  expire(namespace: string, options?: Abortable): Promise<number>;
  /**
   * Calls back when the namespace may have changed, until the returned function is called; with the changes
   * themselves where the backend sends them along. `onInterrupted` is called when such calls may have been missed and
   * may be again.
   */
  onChange(
    namespace: string,
    onChange: (news: StateNews | undefined) => void,
    onInterrupted: () => void,
  ): () => void;
}

/** Changes that came with their announcement. */
export interface StateNews {
  /** The position that they come right after. */
  readonly after: Position;
  readonly changes: readonly StateChange[];
}
