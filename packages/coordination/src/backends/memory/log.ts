import type { Abortable, Clock } from "@holdfast/kernel";
import type { Json } from "../../json.ts";
import { followLog } from "../../log/follow.ts";
import type {
  Log,
  LogAppend,
  LogEntry,
  LogRead,
  LogTailItem,
  ReadOptions,
  StreamBounds,
} from "../../log/log.ts";
import {
  checkOffset,
  checkPosition,
  checkReadLimit,
  checkStream,
  encodeEntries,
  resumePoint,
  UNKNOWN_STREAM_BOUNDS,
} from "../../log/log-checks.ts";
import type { Position } from "../../position.ts";
import { streamKey, type WakeUps } from "../../wake-ups.ts";
import type { MemoryParts } from "./parts.ts";
import type { StoreClock } from "./store-clock.ts";
import type { Change, MemoryTx, Transactor } from "./transactor.ts";

interface Stream {
  readonly name: string;
  readonly epoch: bigint;
  head: bigint;
  trimmedTo: bigint;
  /** Offsets trimmedTo + 1 … head, in order. */
  entries: StoredEntry[];
}

interface StoredEntry {
  readonly offset: bigint;
  readonly payloadText: string;
  readonly appendedAt: number;
}

interface TxOption extends Abortable {
  readonly tx?: MemoryTx;
}

export class MemoryLog implements Log<MemoryTx> {
  readonly #transactor: Transactor;
  readonly #storeClock: StoreClock;
  readonly #clock: Clock;
  readonly #wakeUps: WakeUps;
  readonly #payloadMaxBytes: number;
  readonly #streams = new Map<string, Stream>();
  #lastEpoch = 0n;

  constructor(parts: MemoryParts, clock: Clock, payloadMaxBytes: number) {
    this.#transactor = parts.transactor;
    this.#storeClock = parts.storeClock;
    this.#wakeUps = parts.wakeUps;
    this.#clock = clock;
    this.#payloadMaxBytes = payloadMaxBytes;
  }

  async append(entries: readonly LogAppend[], options: TxOption = {}): Promise<readonly Position[]> {
    const encoded = encodeEntries(entries, this.#payloadMaxBytes);
    return this.#transactor.run(options, (change) =>
      encoded.map(({ stream, payloadText }) => this.appendNow(stream, payloadText, change)),
    );
  }

  /** For parts of the same store, in a step of their own. */
  appendNow(name: string, payloadText: string, change: Change): Position {
    const stream = this.#streams.get(name) ?? this.#begin(name, change);
    stream.head += 1n;
    const { entries: list } = stream;
    list.push({ offset: stream.head, payloadText, appendedAt: this.#storeClock.now() });
    change.onRollback(() => {
      stream.head -= 1n;
      list.pop();
    });
    change.wakeOnCommit(streamKey(name));
    return { epoch: stream.epoch, offset: stream.head };
  }

  /** As `bounds`, in a step of another part of the store. */
  boundsNow(stream: string): StreamBounds {
    return boundsOf(this.#streams.get(stream));
  }

  /** Forgets all but the newest `count` entries, once there are a quarter more. */
  keepNewest(name: string, count: number, change: Change): void {
    const stream = this.#streams.get(name);
    if (stream !== undefined && stream.entries.length > count * 1.25) {
      this.#trimNow(stream, stream.head - BigInt(count), change);
    }
  }

  async read(name: string, options: ReadOptions = {}): Promise<LogRead> {
    checkStream(name);
    const limit = checkReadLimit(options.limit);
    if (options.after !== undefined) checkPosition(options.after);
    return this.#transactor.run({ signal: options.signal }, () => {
      const stream = this.#streams.get(name);
      const bounds = boundsOf(stream);
      const resume = resumePoint(options.after, bounds);
      if (resume.kind === "reset") return { kind: "reset", reason: resume.reason, bounds };
      if (stream === undefined) return { kind: "entries", entries: [], bounds };
      const start = Number(resume.afterOffset - stream.trimmedTo);
      const entries = stream.entries.slice(start, start + limit).map((entry) => toEntry(stream, entry));
      return { kind: "entries", entries, bounds };
    });
  }

  tail(stream: string, options: ReadOptions & { readonly pollMs?: number }): AsyncIterable<LogTailItem> {
    return followLog((name, read) => this.read(name, read), stream, {
      ...options,
      clock: this.#clock,
      // In one process no notification is ever missed, and polls would only be events for the simulator.
      pollMs: undefined,
      subscribe: (wake) => this.#wakeUps.subscribe(streamKey(stream), wake),
    });
  }

  async bounds(stream: string, options: Abortable = {}): Promise<StreamBounds> {
    checkStream(stream);
    return this.#transactor.run({ signal: options.signal }, () => boundsOf(this.#streams.get(stream)));
  }

  async trim(name: string, options: TxOption & { readonly upTo: bigint }): Promise<void> {
    checkStream(name);
    checkOffset("upTo", options.upTo);
    await this.#transactor.run(options, (change) => {
      const stream = this.#streams.get(name);
      if (stream === undefined) return;
      const upTo = options.upTo > stream.head ? stream.head : options.upTo;
      if (upTo > stream.trimmedTo) this.#trimNow(stream, upTo, change);
    });
  }

  #trimNow(stream: Stream, upTo: bigint, change: Change): void {
    const { entries, trimmedTo } = stream;
    stream.entries = entries.slice(Number(upTo - trimmedTo));
    stream.trimmedTo = upTo;
    change.onRollback(() => {
      stream.entries = entries;
      stream.trimmedTo = trimmedTo;
    });
    change.wakeOnCommit(streamKey(stream.name));
  }

  async delete(names: readonly string[], options: TxOption = {}): Promise<void> {
    for (const name of names) checkStream(name);
    await this.#transactor.run(options, (change) => {
      for (const name of names) {
        const stream = this.#streams.get(name);
        if (stream === undefined) continue;
        this.#streams.delete(name);
        change.onRollback(() => this.#streams.set(name, stream));
        change.wakeOnCommit(streamKey(name));
      }
    });
  }

  #begin(name: string, change: Change): Stream {
    this.#lastEpoch += 1n;
    const stream: Stream = { name, epoch: this.#lastEpoch, head: 0n, trimmedTo: 0n, entries: [] };
    this.#streams.set(name, stream);
    change.onRollback(() => this.#streams.delete(name));
    return stream;
  }
}

const boundsOf = (stream: Stream | undefined): StreamBounds =>
  stream === undefined
    ? UNKNOWN_STREAM_BOUNDS
    : { head: { epoch: stream.epoch, offset: stream.head }, trimmedTo: stream.trimmedTo };

const toEntry = (stream: Stream, entry: StoredEntry): LogEntry => ({
  stream: stream.name,
  position: { epoch: stream.epoch, offset: entry.offset },
  payload: JSON.parse(entry.payloadText) as Json,
  appendedAt: entry.appendedAt,
});
