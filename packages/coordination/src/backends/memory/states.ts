import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../../json.ts";
import type { Position } from "../../position.ts";
import {
  addTo,
  checkKey,
  checkSnapshotCount,
  type EncodedWrite,
  EXPIRE_MAX_COUNT,
  encodeWrites,
  type StoredChange,
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
import { streamKey } from "../../wake-ups.ts";
import type { MemoryLog } from "./log.ts";
import type { MemoryParts } from "./parts.ts";
import type { Change, MemoryTx } from "./transactor.ts";

interface Held {
  readonly revision: bigint;
  readonly valueText: string;
  readonly metadataText: string;
  readonly expiresAt: number | undefined;
}

interface Namespace {
  epoch: bigint;
  values: Map<string, Held>;
}

export class MemoryStates implements States<MemoryTx> {
  readonly #parts: MemoryParts;
  readonly #log: MemoryLog;
  readonly #valueMaxBytes: number;
  readonly #namespaces = new Map<string, Namespace>();

  constructor(parts: MemoryParts, log: MemoryLog, valueMaxBytes: number) {
    this.#parts = parts;
    this.#log = log;
    this.#valueMaxBytes = valueMaxBytes;
  }

  async write(
    namespace: string,
    writes: readonly StateWrite[],
    options: StateWriteOptions<MemoryTx> = {},
  ): Promise<readonly WriteOutcome[]> {
    const stream = stateStream(namespace);
    const encoded = encodeWrites(writes, this.#valueMaxBytes);
    return this.#parts.transactor.run(options, (change) =>
      encoded.map((write) => this.#apply(stream, write, options.writer ?? null, change)),
    );
  }

  async read(namespace: string, keys: readonly string[], options: Abortable = {}) {
    const stream = stateStream(namespace);
    for (const key of keys) checkKey(key);
    return this.#parts.transactor.run({ signal: options.signal }, () => ({
      head: this.#log.boundsNow(stream).head,
      entries: keys.map((key) => this.#entryOf(stream, key)),
    }));
  }

  async snapshot(
    namespace: string,
    options: Abortable & { readonly maxCount?: number } = {},
  ): Promise<StateSnapshot> {
    const stream = stateStream(namespace);
    const maxCount = checkSnapshotCount(options.maxCount);
    return this.#parts.transactor.run({ signal: options.signal }, () => {
      const entries = [...this.#values(stream).keys()]
        .map((key) => this.#entryOf(stream, key))
        .filter((entry) => entry !== undefined);
      const { head } = this.#log.boundsNow(stream);
      return { head, entries: entries.length > maxCount ? undefined : entries };
    });
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
    return this.#parts.transactor.run({ signal: options.signal }, (change) => {
      const now = this.#parts.storeClock.now();
      let count = 0;
      for (const [key, { expiresAt }] of this.#values(stream)) {
        if (expiresAt === undefined || expiresAt > now || count === EXPIRE_MAX_COUNT) continue;
        this.#put(stream, key, undefined, change);
        this.#emit(stream, { k: key, d: "expired" }, change);
        count += 1;
      }
      return count;
    });
  }

  onChange(namespace: string, onChange: (news?: undefined) => void): () => void {
    // In one process no announcement is ever missed.
    return this.#parts.wakeUps.subscribe(streamKey(stateStream(namespace)), () => onChange());
  }

  #apply(stream: string, write: EncodedWrite, writer: string | null, change: Change): WriteOutcome {
    const { kind, key, ifRevision, ttlMs } = write;
    const held = this.#heldOf(stream, key);
    const entry = this.#entryOf(stream, key);
    if (ifRevision !== undefined && ifRevision !== (held?.revision ?? 0n)) return { kind: "conflict", entry };
    if (kind === "delete") {
      if (held === undefined) return { kind: "unchanged" };
      const position = this.#emit(stream, { k: key, d: "deleted", w: writer }, change);
      this.#put(stream, key, undefined, change);
      return { kind: "written", position, entry: undefined };
    }
    const now = this.#parts.storeClock.now();
    const valueText = kind === "set" ? write.valueText : addTo(held?.valueText, Number(write.valueText));
    if (valueText === undefined) return { kind: "not-integer", entry };
    const isIncrement = kind === "increment";
    const metadataText = write.metadataText ?? (isIncrement ? held?.metadataText : undefined) ?? "null";
    const expiresAt = ttlMs === undefined ? (isIncrement ? held?.expiresAt : undefined) : now + ttlMs;
    const stored: StoredChange = {
      k: key,
      v: JSON.parse(valueText) as Json,
      m: JSON.parse(metadataText) as Json,
      x: expiresAt === undefined ? null : expiresAt - now,
      w: writer,
    };
    const position = this.#emit(stream, stored, change);
    this.#put(stream, key, { revision: position.offset, valueText, metadataText, expiresAt }, change);
    return { kind: "written", position, entry: this.#entryOf(stream, key) };
  }

  #emit(stream: string, stored: StoredChange, change: Change): Position {
    const position = this.#log.appendNow(stream, JSON.stringify(stored), change);
    this.#log.keepNewest(stream, STATE_HISTORY_COUNT, change);
    return position;
  }

  #put(stream: string, key: string, held: Held | undefined, change: Change): void {
    const values = this.#values(stream);
    const former = values.get(key);
    if (held === undefined) values.delete(key);
    else values.set(key, held);
    change.onRollback(() => {
      if (former === undefined) values.delete(key);
      else values.set(key, former);
    });
  }

  /** The values of the stream's present life. */
  #values(stream: string): Map<string, Held> {
    const { epoch } = this.#log.boundsNow(stream).head;
    let namespace = this.#namespaces.get(stream);
    if (namespace === undefined || namespace.epoch !== epoch) {
      namespace = { epoch, values: new Map() };
      this.#namespaces.set(stream, namespace);
    }
    return namespace.values;
  }

  #heldOf(stream: string, key: string): Held | undefined {
    const held = this.#values(stream).get(key);
    const isOver = held?.expiresAt !== undefined && held.expiresAt <= this.#parts.storeClock.now();
    return isOver ? undefined : held;
  }

  #entryOf(stream: string, key: string): StateEntry | undefined {
    const held = this.#heldOf(stream, key);
    if (held === undefined) return undefined;
    const { revision, valueText, metadataText, expiresAt } = held;
    return {
      key,
      value: JSON.parse(valueText) as Json,
      metadata: JSON.parse(metadataText) as Json,
      revision,
      remainingMs: expiresAt === undefined ? undefined : expiresAt - this.#parts.storeClock.now(),
    };
  }
}
