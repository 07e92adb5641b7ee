import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../json.ts";
import type { Position } from "../position.ts";

export interface LogAppend {
  readonly stream: string;
  readonly payload: Json;
}

export interface LogEntry {
  readonly stream: string;
  readonly position: Position;
  readonly payload: Json;
  /** When the store took it, milliseconds since the epoch, by the store's clock. For people; order comes from the offset. */
  readonly appendedAt: number;
}

/**
 * Where a stream starts and ends now. An unknown stream has head 0, start 0 and epoch 0, or the epoch that it would
 * begin in. A position with offset 0 lies before the first entry of every life of the stream, so it may be continued
 * from in any epoch; not so on Redis, where entries may have been lost before any was read.
 */
export interface StreamBounds {
  /** Position of the newest entry. */
  readonly head: Position;
  /** Offset of the newest entry that was trimmed away; 0 when all are there. Reading from before it is impossible. */
  readonly trimmedTo: bigint;
}

export type LogRead =
  | {
      readonly kind: "entries";
      /** In order, without gap or repeat, starting right after the position asked for. May be empty: nothing newer. */
      readonly entries: readonly LogEntry[];
      readonly bounds: StreamBounds;
    }
  | {
      /** The position cannot be continued from: take a snapshot and go on from `bounds`. */
      readonly kind: "reset";
      readonly reason: "trimmed" | "epoch-changed" | "ahead-of-head";
      readonly bounds: StreamBounds;
    };

export interface ReadOptions extends Abortable {
  /** Continue after this position; undefined reads from the oldest entry that is there. */
  readonly after?: Position | undefined;
  /** Most entries to return, 1 to 10_000. Default 500. */
  readonly limit?: number;
}

/** What a tail yields: entries in order, or the notice that the position was lost. */
export type LogTailItem = LogRead;

/**
 * Many append-only streams, read by position.
 *
 * Guaranteed: offsets of a stream are 1, 2, 3 … without gap, in commit order; a reader that follows from its
 * position sees each entry exactly once, or is told `reset`. An append inside a transaction becomes visible
 * with it or not at all. The epoch changes when a stream is deleted and begins anew, or when the store lost
 * acknowledged entries, so an old position is never mistaken for a new one.
 * Not guaranteed: any order between streams.
 */
export interface Log<Tx> {
  /**
   * Appends all entries, of one or many streams, and returns their positions in the order given.
   * With `tx`, positions are final but visible to readers only when the transaction commits.
   * @throws PayloadTooLargeError above `payloadMaxBytes` (default 1 MiB); nothing is appended.
   * @throws StoreUnavailableError; without `tx` the fate is then unknown (OutcomeUnknownError when it was sent).
   */
  append(
    entries: readonly LogAppend[],
    options?: Abortable & { readonly tx?: Tx },
  ): Promise<readonly Position[]>;
  read(stream: string, options?: ReadOptions): Promise<LogRead>;
  /**
   * Follows a stream: yields everything after `after`, then what comes, until the signal aborts (then it ends
   * by throwing signal.reason). A `reset` is yielded once and the tail goes on from the oldest entry there is.
   * Yields nothing for a read that found nothing. When the store fails or closes, it ends by throwing that
   * error: follow again from the last position.
   * Holds no store connection while idle; wakes by notification and, as a safety net, polls every `pollMs`.
   */
  tail(stream: string, options: ReadOptions & { readonly pollMs?: number }): AsyncIterable<LogTailItem>;
  bounds(stream: string, options?: Abortable): Promise<StreamBounds>;
  /** Forgets entries up to and including `upTo`. Later reads from before it get `reset`. */
  trim(stream: string, options: Abortable & { readonly upTo: bigint; readonly tx?: Tx }): Promise<void>;
  /** Deletes the streams; if one is written again, it starts at offset 1 under a new epoch. */
  delete(streams: readonly string[], options?: Abortable & { readonly tx?: Tx }): Promise<void>;
}
