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
  TAIL_POLL_DEFAULT_MS,
  UNKNOWN_STREAM_BOUNDS,
} from "../../log/log-checks.ts";
import { encodeWakeUp, type Notifier } from "../../notifier.ts";
import type { Position } from "../../position.ts";
import { streamKey } from "../../wake-ups.ts";
import { arrayLiteral } from "./array-literal.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";

interface TxOption extends Abortable {
  readonly tx?: SqlExecutor;
}

interface BoundsRow {
  readonly epoch: string;
  readonly head: string;
  readonly trimmed_to: string;
}

interface EntryRow extends BoundsRow {
  readonly entry_offset: string | null;
  readonly payload: string;
  readonly appended_at: number;
}

export class PostgresLog implements Log<SqlExecutor> {
  readonly #statements: StatementRunner;
  readonly #notifier: Notifier;
  readonly #clock: Clock;
  readonly #payloadMaxBytes: number;

  constructor(parts: {
    readonly statements: StatementRunner;
    readonly notifier: Notifier;
    readonly clock: Clock;
    readonly payloadMaxBytes: number;
  }) {
    this.#statements = parts.statements;
    this.#notifier = parts.notifier;
    this.#clock = parts.clock;
    this.#payloadMaxBytes = parts.payloadMaxBytes;
  }

  async append(entries: readonly LogAppend[], options: TxOption = {}): Promise<readonly Position[]> {
    const encoded = encodeEntries(entries, this.#payloadMaxBytes);
    if (encoded.length === 0) return [];
    const streams = encoded.map(({ stream }) => stream);
    const rows = await this.#statements.run<{ readonly epoch: string; readonly entry_offset: string }>(
      "append-entries",
      [
        arrayLiteral(streams),
        arrayLiteral(encoded.map(({ payloadText }) => payloadText)),
        wakeUpFor(streams),
      ],
      options,
    );
    return rows.map((row) => ({ epoch: BigInt(row.epoch), offset: BigInt(row.entry_offset) }));
  }

  async read(stream: string, options: ReadOptions = {}): Promise<LogRead> {
    checkStream(stream);
    const limit = checkReadLimit(options.limit);
    const { after } = options;
    if (after !== undefined) checkPosition(after);
    const rows = await this.#statements.run<EntryRow>(
      "read-entries",
      [stream, (after?.offset ?? 0n).toString(), limit],
      { signal: options.signal },
    );
    const [first] = rows;
    const bounds = first === undefined ? UNKNOWN_STREAM_BOUNDS : toBounds(first);
    const resume = resumePoint(after, bounds);
    if (resume.kind === "reset") return { kind: "reset", reason: resume.reason, bounds };
    const entries = rows
      .filter(({ entry_offset }) => entry_offset !== null)
      .map((row) => toEntry(stream, row));
    return { kind: "entries", entries, bounds };
  }

  tail(stream: string, options: ReadOptions & { readonly pollMs?: number }): AsyncIterable<LogTailItem> {
    return followLog((name, read) => this.read(name, read), stream, {
      ...options,
      clock: this.#clock,
      pollMs: options.pollMs ?? TAIL_POLL_DEFAULT_MS,
      subscribe: (wake) => this.#notifier.subscribe(streamKey(stream), wake),
    });
  }

  async bounds(stream: string, options: Abortable = {}): Promise<StreamBounds> {
    checkStream(stream);
    const [row] = await this.#statements.run<BoundsRow>("read-bounds", [arrayLiteral([stream])], options);
    return row === undefined ? UNKNOWN_STREAM_BOUNDS : toBounds(row);
  }

  async trim(stream: string, options: TxOption & { readonly upTo: bigint }): Promise<void> {
    checkStream(stream);
    checkOffset("upTo", options.upTo);
    await this.#statements.run(
      "trim-stream",
      [stream, options.upTo.toString(), wakeUpFor([stream])],
      options,
      { isRepeatable: true },
    );
  }

  async delete(streams: readonly string[], options: TxOption = {}): Promise<void> {
    for (const stream of streams) checkStream(stream);
    if (streams.length === 0) return;
    if (options.tx !== undefined) await this.#deleteIn(streams, options.tx);
    else
      await this.#statements.ownTransaction("delete-streams", (tx) => this.#deleteIn(streams, tx), options);
  }

  async #deleteIn(streams: readonly string[], tx: SqlExecutor): Promise<void> {
    const locked = await this.#statements.run<{ readonly epoch: string }>(
      "lock-streams",
      [arrayLiteral(streams)],
      { tx },
    );
    if (locked.length === 0) return;
    await this.#statements.run(
      "delete-streams",
      [arrayLiteral(locked.map(({ epoch }) => epoch)), wakeUpFor(streams)],
      { tx },
    );
  }
}

const wakeUpFor = (streams: readonly string[]): string => encodeWakeUp([...new Set(streams)].map(streamKey));

const toBounds = (row: BoundsRow): StreamBounds => ({
  head: { epoch: BigInt(row.epoch), offset: BigInt(row.head) },
  trimmedTo: BigInt(row.trimmed_to),
});

const toEntry = (stream: string, row: EntryRow): LogEntry => ({
  stream,
  position: { epoch: BigInt(row.epoch), offset: BigInt(row.entry_offset ?? 0) },
  payload: JSON.parse(row.payload) as Json,
  appendedAt: Number(row.appended_at),
});
