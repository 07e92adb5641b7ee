import { type LogEntry, type Position, type StreamBounds, toWirePosition } from "@holdfast/coordination";
import type { JobEvent, PositionedEvent } from "@holdfast/protocol/contract";
import { approximateBytes } from "../model/approximate-bytes.ts";

/** One event, made ready for sending once, however many watchers get it. */
export interface TailEntry {
  readonly epoch: bigint;
  readonly offset: bigint;
  readonly event: PositionedEvent;
  readonly sizeBytes: number;
  /** The job's result: nothing comes after it. */
  readonly isLast: boolean;
}

/** What a tail can say to a reader at some position. */
export type TailAnswer =
  | { readonly kind: "entries"; readonly entries: readonly TailEntry[] }
  /** Nothing newer is known. */
  | { readonly kind: "current" }
  /** What follows the position is not in memory: ask the store. */
  | { readonly kind: "stored" };

/**
 * The newest events of one job in memory, one run without a gap, and how far the log is known to reach.
 * It is fed by the leader that committed the events, or by a tail of the log; feeding it twice is harmless.
 */
export class JobTail {
  #entries: TailEntry[] = [];
  #sizeBytes = 0;
  #epoch: bigint | undefined;
  #head = -1n;
  #end: bigint | undefined;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  /** The newest position known, if any is. */
  get head(): Position | undefined {
    return this.#epoch === undefined || this.#head < 0n
      ? undefined
      : { epoch: this.#epoch, offset: this.#head };
  }

  /** Learns where the log ends now. */
  advance(bounds: Pick<StreamBounds, "head">): void {
    const { epoch, offset } = bounds.head;
    if (this.#epoch !== undefined && epoch < this.#epoch) return;
    this.#enterEpoch(epoch);
    if (offset > this.#head) this.#head = offset;
  }

  /** Says that the job has ended and that the log reaches no further than its head. */
  markEnded(head: Position): void {
    this.advance({ head });
    if (head.epoch === this.#epoch) this.#end = this.#head;
  }

  /** Takes in committed entries, in order. What is known already is skipped; after a gap only the newer run is kept. */
  append(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      const { epoch, offset } = entry.position;
      if (this.#epoch !== undefined && epoch < this.#epoch) continue;
      this.#enterEpoch(epoch);
      const newest = this.#entries.at(-1);
      if (newest !== undefined && offset <= newest.offset) continue;
      if (newest !== undefined && offset !== newest.offset + 1n) this.drop();
      const tailEntry = toTailEntry(entry);
      this.#entries.push(tailEntry);
      this.#sizeBytes += tailEntry.sizeBytes;
      if (offset > this.#head) this.#head = offset;
      if (tailEntry.isLast) this.#end = offset;
    }
  }

  /** Forgets the oldest entries beyond the limits; readers that still need them ask the store. */
  trim(limits: { readonly entryMaxCount: number; readonly sizeMaxBytes: number }): void {
    let count = 0;
    while (
      this.#entries.length - count > limits.entryMaxCount ||
      (this.#sizeBytes > limits.sizeMaxBytes && count < this.#entries.length)
    ) {
      this.#sizeBytes -= this.#entries[count]?.sizeBytes ?? 0;
      count += 1;
    }
    if (count > 0) this.#entries.splice(0, count);
  }

  /** Forgets all entries, not the position. */
  drop(): void {
    this.#entries = [];
    this.#sizeBytes = 0;
  }

  /** What follows `position` (undefined: the beginning), up to the limits but at least one entry. */
  after(
    position: Position | undefined,
    limits: { readonly entryMaxCount: number; readonly sizeMaxBytes: number },
  ): TailAnswer {
    if (this.#epoch === undefined || this.#head < 0n) return { kind: "stored" };
    if (position !== undefined && position.epoch !== this.#epoch) return { kind: "stored" };
    const next = (position?.offset ?? 0n) + 1n;
    if (next > this.#head) return next === this.#head + 1n ? { kind: "current" } : { kind: "stored" };
    const first = this.#entries[0];
    if (first === undefined || next < first.offset) return { kind: "stored" };
    const start = Number(next - first.offset);
    if (start >= this.#entries.length) return { kind: "stored" };
    return { kind: "entries", entries: takeChunk(this.#entries, start, limits) };
  }

  /** Whether a reader at `position` has had the last event of a finished job. */
  isPastEnd(position: Position | undefined): boolean {
    if (this.#end === undefined || position === undefined) return false;
    return position.epoch === this.#epoch && position.offset >= this.#end;
  }

  #enterEpoch(epoch: bigint): void {
    if (this.#epoch === epoch) return;
    this.#epoch = epoch;
    this.#head = -1n;
    this.#end = undefined;
    this.drop();
  }
}

export const toTailEntry = (entry: LogEntry): TailEntry => {
  const event = entry.payload as unknown as JobEvent;
  return {
    epoch: entry.position.epoch,
    offset: entry.position.offset,
    event: { position: toWirePosition(entry.position), event },
    sizeBytes: approximateBytes(event) + 48,
    isLast: event.type === "job.result",
  };
};

/** Entries from `start`, as many as fit; always at least one, so that a large event passes too. */
export const takeChunk = (
  entries: readonly TailEntry[],
  start: number,
  limits: { readonly entryMaxCount: number; readonly sizeMaxBytes: number },
): readonly TailEntry[] => {
  let end = start;
  let sizeBytes = 0;
  while (end < entries.length && end - start < limits.entryMaxCount) {
    sizeBytes += entries[end]?.sizeBytes ?? 0;
    if (end > start && sizeBytes > limits.sizeMaxBytes) break;
    end += 1;
  }
  return entries.slice(start, end);
};
