import type { Abortable, Clock } from "@holdfast/kernel";
import { type Json, parseJson } from "../../json.ts";
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
import type { ScriptRunner } from "./script-runner.ts";

export interface RedisLogParts {
  readonly scripts: ScriptRunner;
  readonly notifier: Notifier;
  readonly channel: string;
  readonly slot: string;
  readonly clock: Clock;
  readonly payloadMaxBytes: number;
}

export class RedisLog implements Log<never> {
  readonly #parts: RedisLogParts;

  constructor(parts: RedisLogParts) {
    this.#parts = parts;
  }

  async append(entries: readonly LogAppend[], options: Abortable = {}): Promise<readonly Position[]> {
    const encoded = encodeEntries(entries, this.#parts.payloadMaxBytes);
    if (encoded.length === 0) return [];
    const streams = [...new Set(encoded.map(({ stream }) => stream))];
    const place = new Map(streams.map((stream, index) => [stream, `${index + 1}`]));
    const reply = await this.#parts.scripts.run<readonly string[]>(
      "append-entries",
      [this.#lifeKey, ...streams.flatMap((stream) => this.#keys(stream))],
      [
        this.#parts.channel,
        wakeUpFor(streams),
        ...encoded.flatMap(({ stream, payloadText }) => [place.get(stream) as string, payloadText]),
      ],
      { signal: options.signal, isRepeatable: false },
    );
    return encoded.map((_, index) => ({
      epoch: BigInt(reply[2 * index] as string),
      offset: BigInt(reply[2 * index + 1] as string),
    }));
  }

  async read(stream: string, options: ReadOptions = {}): Promise<LogRead> {
    checkStream(stream);
    const limit = checkReadLimit(options.limit);
    const { after } = options;
    if (after !== undefined) checkPosition(after);
    const reply = await this.#readRaw(stream, after?.offset ?? 0n, limit, options);
    const bounds = toBounds(reply);
    // Entries of an epoch may have been lost before any was read, so here each position is of its own epoch.
    const isOver = after !== undefined && after.epoch !== 0n && after.epoch !== bounds.head.epoch;
    if (isOver) return { kind: "reset", reason: "epoch-changed", bounds };
    const resume = resumePoint(after, bounds);
    if (resume.kind === "reset") return { kind: "reset", reason: resume.reason, bounds };
    const found = toEntries(reply, stream);
    const first = found.findIndex(({ payload }) => payload !== undefined);
    const firstOffset = found[first]?.position.offset ?? (found.at(-1)?.position ?? bounds.head).offset + 1n;
    // Damaged, or evicted behind our back by a server short of memory: that is a loss, not a silence.
    if (firstOffset !== resume.afterOffset + 1n) {
      return { kind: "reset", reason: "trimmed", bounds: { ...bounds, trimmedTo: firstOffset - 1n } };
    }
    const whole = found.findIndex(
      ({ payload, position }, index) =>
        payload === undefined || position.offset !== firstOffset + BigInt(index),
    );
    // What comes after a loss is read next, and then begins with it.
    const entries = (whole < 0 ? found : found.slice(0, whole)) as readonly LogEntry[];
    return { kind: "entries", entries, bounds };
  }

  tail(stream: string, options: ReadOptions & { readonly pollMs?: number }): AsyncIterable<LogTailItem> {
    return followLog((name, read) => this.read(name, read), stream, {
      ...options,
      clock: this.#parts.clock,
      pollMs: options.pollMs ?? TAIL_POLL_DEFAULT_MS,
      subscribe: (wake) => this.#parts.notifier.subscribe(streamKey(stream), wake),
    });
  }

  async bounds(stream: string, options: Abortable = {}): Promise<StreamBounds> {
    checkStream(stream);
    return toBounds(await this.#readRaw(stream, 0n, 0, options));
  }

  async trim(stream: string, options: Abortable & { readonly upTo: bigint }): Promise<void> {
    checkStream(stream);
    checkOffset("upTo", options.upTo);
    await this.#parts.scripts.run(
      "trim-stream",
      this.#keys(stream),
      [options.upTo.toString(), this.#parts.channel, wakeUpFor([stream])],
      { signal: options.signal, isRepeatable: true },
    );
  }

  async delete(streams: readonly string[], options: Abortable = {}): Promise<void> {
    for (const stream of streams) checkStream(stream);
    if (streams.length === 0) return;
    await this.#parts.scripts.run(
      "delete-streams",
      [this.#lifeKey, ...streams.flatMap((stream) => this.#keys(stream))],
      [this.#parts.channel, wakeUpFor(streams)],
      { signal: options.signal, isRepeatable: true },
    );
  }

  #readRaw(stream: string, after: bigint, limit: number, options: Abortable): Promise<readonly string[]> {
    return this.#parts.scripts.run(
      "read-entries",
      [...this.#keys(stream), this.#lifeKey],
      [after.toString(), `${limit}`],
      { signal: options.signal, isRepeatable: true },
    );
  }

  get #lifeKey(): string {
    return `${this.#parts.slot}:life`;
  }

  #keys(stream: string): readonly [string, string] {
    return [`${this.#parts.slot}:head:${stream}`, `${this.#parts.slot}:log:${stream}`];
  }
}

/** The entries of a reply; a payload that cannot be read is undefined. */
const toEntries = (
  reply: readonly string[],
  stream: string,
): readonly (Omit<LogEntry, "payload"> & { readonly payload: Json | undefined })[] => {
  const epoch = BigInt(reply[0] ?? 0);
  const entries = [];
  for (let index = 3; index < reply.length; index += 3) {
    const offset = BigInt(reply[index] as string);
    entries.push({
      stream,
      position: { epoch, offset },
      payload: parseJson(reply[index + 1] as string),
      appendedAt: Number(reply[index + 2]),
    });
  }
  return entries;
};

const wakeUpFor = (streams: readonly string[]): string => encodeWakeUp([...new Set(streams)].map(streamKey));

const toBounds = ([epoch, head, trimmed]: readonly string[]): StreamBounds =>
  epoch === undefined
    ? UNKNOWN_STREAM_BOUNDS
    : { head: { epoch: BigInt(epoch), offset: BigInt(head ?? 0) }, trimmedTo: BigInt(trimmed ?? 0) };
