import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../../json.ts";
import { encodeWakeUp, type Notifier } from "../../notifier.ts";
import type { Position } from "../../position.ts";
import {
  checkKey,
  checkSnapshotCount,
  EXPIRE_MAX_COUNT,
  encodeWrites,
  stateStream,
  toChange,
} from "../../state-sync/state-checks.ts";
import {
  STATE_HISTORY_COUNT,
  type StateChanges,
  type StateEntry,
  type StateSnapshot,
  type States,
  type StateWrite,
  type StateWriteOptions,
  type WriteOutcome,
} from "../../state-sync/states.ts";
import { INTERRUPTED_KEY, streamKey } from "../../wake-ups.ts";
import { arrayLiteral } from "./array-literal.ts";
import type { PostgresLog } from "./log.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";

interface WriteRow {
  readonly outcome: WriteOutcome["kind"];
  readonly epoch: string;
  readonly revision: string;
  readonly entry_revision: string | null;
  readonly value: string;
  readonly metadata: string;
  readonly remaining_ms: number | null;
}

interface ReadRow {
  readonly epoch: string;
  readonly head: string;
  readonly key: string | null;
  readonly revision: string;
  readonly value: string;
  readonly metadata: string;
  readonly remaining_ms: number | null;
}

const NEVER_WRITTEN: Position = { epoch: 0n, offset: 0n };

export class PostgresStates implements States<SqlExecutor> {
  readonly #statements: StatementRunner;
  readonly #notifier: Notifier;
  readonly #log: PostgresLog;
  readonly #valueMaxBytes: number;

  constructor(parts: {
    readonly statements: StatementRunner;
    readonly notifier: Notifier;
    readonly log: PostgresLog;
    readonly valueMaxBytes: number;
  }) {
    this.#statements = parts.statements;
    this.#notifier = parts.notifier;
    this.#log = parts.log;
    this.#valueMaxBytes = parts.valueMaxBytes;
  }

  async write(
    namespace: string,
    writes: readonly StateWrite[],
    options: StateWriteOptions<SqlExecutor> = {},
  ): Promise<readonly WriteOutcome[]> {
    const stream = stateStream(namespace);
    const encoded = encodeWrites(writes, this.#valueMaxBytes);
    if (encoded.length === 0) return [];
    const rows = await this.#statements.run<WriteRow>(
      "write-states",
      [
        stream,
        arrayLiteral(encoded.map(({ kind }) => kind)),
        arrayLiteral(encoded.map(({ key }) => key)),
        arrayLiteral(encoded.map(({ ifRevision }) => ifRevision)),
        arrayLiteral(encoded.map(({ ttlMs }) => ttlMs)),
        arrayLiteral(encoded.map(({ valueText }) => valueText)),
        arrayLiteral(encoded.map(({ metadataText }) => metadataText)),
        options.writer ?? null,
        STATE_HISTORY_COUNT,
        wakeUpFor(stream),
      ],
      options,
    );
    return rows.map((row, index) => toOutcome((encoded[index] as { key: string }).key, row));
  }

  async read(namespace: string, keys: readonly string[], options: Abortable = {}) {
    const stream = stateStream(namespace);
    for (const key of keys) checkKey(key);
    const rows = await this.#read(stream, keys, Math.max(1, keys.length), options);
    const byKey = new Map(rows.map((row) => [row.key, row]));
    return {
      head: headOf(rows),
      entries: keys.map((key) => {
        const row = byKey.get(key);
        return row === undefined ? undefined : toEntry(key, row);
      }),
    };
  }

  async snapshot(
    namespace: string,
    options: Abortable & { readonly maxCount?: number } = {},
  ): Promise<StateSnapshot> {
    const maxCount = checkSnapshotCount(options.maxCount);
    const rows = await this.#read(stateStream(namespace), undefined, maxCount + 1, options);
    if (rows.length > maxCount) return { head: headOf(rows), entries: undefined };
    const entries = rows.flatMap((row) => (row.key === null ? [] : [toEntry(row.key, row)]));
    return { head: headOf(rows), entries };
  }

  async changes(
    namespace: string,
    options: Abortable & { readonly after: Position; readonly limit?: number },
  ): Promise<StateChanges> {
    const read = await this.#log.read(stateStream(namespace), options);
    const { head } = read.bounds;
    if (read.kind === "reset") return { kind: "reset", reason: read.reason, head };
    const changes = read.entries.map(({ position, payload }) => toChange(position.offset, payload));
    return { kind: "changes", changes, head };
  }

  async expire(namespace: string, options: Abortable = {}): Promise<number> {
    const stream = stateStream(namespace);
    const [row] = await this.#statements.run<{ readonly count: number }>(
      "expire-states",
      [stream, EXPIRE_MAX_COUNT, STATE_HISTORY_COUNT, wakeUpFor(stream)],
      options,
      { isRepeatable: true },
    );
    return Number(row?.count ?? 0);
  }

  onChange(namespace: string, onChange: (news?: undefined) => void, onInterrupted: () => void): () => void {
    const stopListening = this.#notifier.subscribe(streamKey(stateStream(namespace)), () => onChange());
    const stopHearing = this.#notifier.subscribe(INTERRUPTED_KEY, onInterrupted);
    return () => {
      stopListening();
      stopHearing();
    };
  }

  #read(
    stream: string,
    keys: readonly string[] | undefined,
    maxCount: number,
    options: Abortable,
  ): Promise<readonly ReadRow[]> {
    const wanted = keys === undefined ? null : arrayLiteral(keys);
    return this.#statements.run<ReadRow>("read-states", [stream, wanted, maxCount], {
      signal: options.signal,
    });
  }
}

const wakeUpFor = (stream: string): string => encodeWakeUp([streamKey(stream)]);

const headOf = ([row]: readonly ReadRow[]): Position =>
  row === undefined ? NEVER_WRITTEN : { epoch: BigInt(row.epoch), offset: BigInt(row.head) };

const toEntry = (key: string, row: Omit<ReadRow, "key" | "epoch" | "head">): StateEntry => ({
  key,
  value: JSON.parse(row.value) as Json,
  metadata: JSON.parse(row.metadata) as Json,
  revision: BigInt(row.revision),
  remainingMs: row.remaining_ms === null ? undefined : Number(row.remaining_ms),
});

const toOutcome = (key: string, row: WriteRow): WriteOutcome => {
  const { outcome, entry_revision } = row;
  if (outcome === "unchanged") return { kind: outcome };
  const entry = entry_revision === null ? undefined : toEntry(key, { ...row, revision: entry_revision });
  if (outcome !== "written") return { kind: outcome, entry };
  return { kind: outcome, position: { epoch: BigInt(row.epoch), offset: BigInt(row.revision) }, entry };
};
