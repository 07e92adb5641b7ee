import type { Abortable } from "@holdfast/kernel";
import { type Json, parseJson } from "../../json.ts";
import { checkPosition, checkReadLimit, resumePoint } from "../../log/log-checks.ts";
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
  type CorruptEntry,
  STATE_HISTORY_COUNT,
  type StateChange,
  type StateChanges,
  type StateEntry,
  type StateNews,
  type StateSnapshot,
  type States,
  type StateWrite,
  type StateWriteOptions,
  type WriteOutcome,
} from "../../state-sync/states.ts";
import { INTERRUPTED_KEY, streamKey } from "../../wake-ups.ts";
import type { ScriptRunner } from "./script-runner.ts";

const NEVER_WRITTEN: Position = { epoch: 0n, offset: 0n };

export interface RedisStatesParts {
  readonly scripts: ScriptRunner;
  readonly notifier: Notifier;
  readonly channel: string;
  readonly slot: string;
  readonly valueMaxBytes: number;
}

export class RedisStates implements States<never> {
  readonly #parts: RedisStatesParts;

  constructor(parts: RedisStatesParts) {
    this.#parts = parts;
  }

  async write(
    namespace: string,
    writes: readonly StateWrite[],
    options: StateWriteOptions<never> = {},
  ): Promise<readonly WriteOutcome[]> {
    const keys = this.#keys(namespace);
    const encoded = encodeWrites(writes, this.#parts.valueMaxBytes);
    if (encoded.length === 0) return [];
    const [epoch = "0", ...reply] = await this.#parts.scripts.run<readonly string[]>(
      "write-states",
      [`${this.#parts.slot}:epoch`, keys.head, keys.changes, keys.values, keys.ends],
      [
        ...this.#notice(namespace),
        JSON.stringify(options.writer ?? null),
        `${STATE_HISTORY_COUNT}`,
        ...encoded.flatMap(({ kind, key, ifRevision, ttlMs, valueText, metadataText }) => [
          kind,
          key,
          ifRevision?.toString() ?? "",
          ttlMs?.toString() ?? "",
          valueText ?? "",
          metadataText ?? "",
        ]),
      ],
      { signal: options.signal, isRepeatable: false },
    );
    return encoded.map(({ key }, index) => {
      const [outcome = "", revision = "0", stored = "", remaining = ""] = reply.slice(
        4 * index,
        4 * index + 4,
      );
      const kind = outcome as WriteOutcome["kind"];
      if (kind === "unchanged") return { kind };
      const found = stored === "" ? undefined : decode(key, stored, remaining);
      const entry = found === undefined || "isCorrupt" in found ? undefined : found;
      if (kind !== "written") return { kind, entry };
      return { kind, position: { epoch: BigInt(epoch), offset: BigInt(revision) }, entry };
    });
  }

  async read(namespace: string, keys: readonly string[], options: Abortable = {}) {
    for (const key of keys) checkKey(key);
    const { head, entries } = await this.#read(namespace, Math.max(1, keys.length), keys, options);
    const byKey = new Map(entries?.map((entry) => [entry.key, entry]));
    return { head, entries: keys.map((key) => byKey.get(key)) };
  }

  snapshot(
    namespace: string,
    options: Abortable & { readonly maxCount?: number } = {},
  ): Promise<StateSnapshot> {
    return this.#read(namespace, checkSnapshotCount(options.maxCount), [], options);
  }

  /** Reads the stream itself, so that an entry that is no JSON is reported instead of stopping the reader. */
  async changes(
    namespace: string,
    options: Abortable & { readonly after: Position; readonly limit?: number },
  ): Promise<StateChanges> {
    const keys = this.#keys(namespace);
    const { after } = options;
    checkPosition(after);
    const [epoch, head = "0", trimmed = "0", ...reply] = await this.#parts.scripts.run<readonly string[]>(
      "read-entries",
      [keys.head, keys.changes],
      [after.offset.toString(), `${checkReadLimit(options.limit)}`],
      { signal: options.signal, isRepeatable: true },
    );
    const position = epoch === undefined ? NEVER_WRITTEN : { epoch: BigInt(epoch), offset: BigInt(head) };
    const resume = resumePoint(after, { head: position, trimmedTo: BigInt(trimmed) });
    if (resume.kind === "reset") return { kind: "reset", reason: resume.reason, head: position };
    const changes: StateChange[] = [];
    for (let index = 0; index < reply.length; index += 3) {
      changes.push(toChange(BigInt(reply[index] as string), parseJson(reply[index + 1] as string)));
    }
    // A server short of memory may have evicted some behind our back.
    if ((changes[0]?.revision ?? position.offset + 1n) !== resume.afterOffset + 1n) {
      return { kind: "reset", reason: "trimmed", head: position };
    }
    return { kind: "changes", changes, head: position };
  }

  async expire(namespace: string, options: Abortable = {}): Promise<number> {
    const keys = this.#keys(namespace);
    const reply = await this.#parts.scripts.run<string>(
      "expire-states",
      [keys.head, keys.changes, keys.values, keys.ends, `${this.#parts.slot}:epoch`],
      [...this.#notice(namespace), `${EXPIRE_MAX_COUNT}`],
      { signal: options.signal, isRepeatable: true },
    );
    return Number(reply);
  }

  onChange(
    namespace: string,
    onChange: (news: StateNews | undefined) => void,
    onInterrupted: () => void,
  ): () => void {
    const { notifier } = this.#parts;
    const stopListening = notifier.subscribe(streamKey(stateStream(namespace)), (news) =>
      onChange(toNews(news)),
    );
    const stopHearing = notifier.subscribe(INTERRUPTED_KEY, onInterrupted);
    return () => {
      stopListening();
      stopHearing();
    };
  }

  async #read(
    namespace: string,
    maxCount: number,
    wanted: readonly string[],
    options: Abortable,
  ): Promise<StateSnapshot> {
    const keys = this.#keys(namespace);
    const [epoch, head = "0", hasMore, ...reply] = await this.#parts.scripts.run<readonly string[]>(
      "read-states",
      [keys.head, keys.values, keys.ends],
      [`${maxCount}`, ...wanted],
      { signal: options.signal, isRepeatable: true },
    );
    if (epoch === undefined) return { head: NEVER_WRITTEN, entries: [] };
    const position = { epoch: BigInt(epoch), offset: BigInt(head) };
    if (hasMore === "1") return { head: position, entries: undefined };
    const entries: (StateEntry | CorruptEntry)[] = [];
    for (let index = 0; index < reply.length; index += 3) {
      const [key = "", stored = "", remaining = ""] = reply.slice(index, index + 3);
      entries.push(decode(key, stored, remaining));
    }
    return { head: position, entries };
  }

  #notice(namespace: string): readonly [string, string] {
    return [this.#parts.channel, encodeWakeUp([streamKey(stateStream(namespace))])];
  }

  /** The stream is one of the log's, so its keys are those of the log. */
  #keys(namespace: string) {
    const stream = stateStream(namespace);
    const { slot } = this.#parts;
    return {
      head: `${slot}:head:${stream}`,
      changes: `${slot}:log:${stream}`,
      values: `${slot}:values:${stream}`,
      ends: `${slot}:ends:${stream}`,
    };
  }
}

/** What write-states.lua publishes. */
const toNews = (message: unknown): StateNews | undefined => {
  if (typeof message !== "object" || message === null) return undefined;
  const {
    e: epoch,
    a: after,
    c: changes,
  } = message as {
    readonly e?: string;
    readonly a?: string;
    readonly c?: readonly unknown[];
  };
  if (epoch === undefined || after === undefined || changes === undefined) return undefined;
  const offset = BigInt(after);
  return {
    after: { epoch: BigInt(epoch), offset },
    changes: changes.map((change, index) => toChange(offset + BigInt(index + 1), change)),
  };
};

/** A value lies as `revision size metadata value`, size being that of the metadata in bytes. */
const decode = (key: string, stored: string, remaining: string): StateEntry | CorruptEntry => {
  const match = /^(\d+) (\d+) /.exec(stored);
  if (match === null) return { key, isCorrupt: true };
  const body = Buffer.from(stored.slice(match[0].length));
  const size = Number(match[2]);
  const metadata = parseJson(body.toString("utf8", 0, size));
  const value = parseJson(body.toString("utf8", size));
  if (metadata === undefined || value === undefined) return { key, isCorrupt: true };
  return {
    key,
    value: value as Json,
    metadata: metadata as Json,
    revision: BigInt(match[1] as string),
    remainingMs: remaining === "" ? undefined : Number(remaining),
  };
};
