import { type Abortable, checkPlainJson, newId, type Random, systemRandom } from "@holdfast/kernel";
import { checkInteger, checkQueueName, checkText } from "../input-checks.ts";
import type { Json } from "../json.ts";
import type { LogEntry } from "../log/log.ts";
import type { CoordinationStore } from "../store.ts";
import type { RelayOptions } from "./relay.ts";
import { relayPartition } from "./relay.ts";

export interface NewOutboxEvent {
  readonly type: string;
  readonly data: Json;
  /** The stable id. Default: a new one. Receivers tell a repeat by it. */
  readonly id?: string;
  /** Events of one key keep their order, whatever the number of partitions. Default: the id. */
  readonly key?: string;
}

/** An event as it is relayed; the same each time it is. */
export interface OutboxEvent {
  readonly id: string;
  readonly type: string;
  readonly data: Json;
  /** When its transaction wrote it, milliseconds since the epoch by the store's clock. */
  readonly appendedAt: number;
}

/** An event that was given up, or an entry that is no event at all. */
export interface DeadOutboxEvent {
  /** What lies in the outbox: id, type and data, where it is an event. */
  readonly entry: Json;
  /** The start of its last error's text; "" where the entry left no room for it. */
  readonly error: string;
  readonly deadAt: number;
}

export interface OutboxOptions<Tx> {
  readonly store: CoordinationStore<Tx>;
  /** 1 to 128 characters of `[A-Za-z0-9_.:-]`. */
  readonly name: string;
  /**
   * Over how many streams the events are spread, 1 to 256, the same in every process. Transactions that write into
   * the same stream commit one after the other; between streams there is no order. Default 1.
   */
  readonly partitionCount?: number;
  /** Makes ids. Default: the system's. */
  readonly random?: Random;
}

export interface OutboxStats {
  /** Committed and not yet delivered. */
  readonly waiting: number;
  /** Given up; see `dead`. */
  readonly dead: number;
}

/**
 * Events that happen exactly if the transaction that tells of them commits, and are then delivered at least once,
 * also when the process dies right after the commit.
 *
 * `append` writes them into streams of the store inside the caller's transaction. One relay per partition, holding a
 * lease, delivers them in order and forgets them in a transaction that asserts its fence, so a relay that was
 * deposed cannot forget what its successor has yet to deliver. Between a delivery and its being forgotten a crash
 * makes a repeat: receivers tell it by the event's id.
 */
export class Outbox<Tx> {
  readonly name: string;
  readonly #store: CoordinationStore<Tx>;
  readonly #partitionCount: number;
  readonly #random: Random;

  constructor(options: OutboxOptions<Tx>) {
    checkQueueName(options.name);
    this.name = options.name;
    this.#store = options.store;
    this.#partitionCount = options.partitionCount ?? 1;
    checkInteger("partitionCount", this.#partitionCount, 1, 256);
    this.#random = options.random ?? systemRandom;
  }

  /**
   * Adds events to the transaction and returns their ids, in order. They are relayed once it has committed.
   * @throws InvalidInputError for an empty or over-long type or id (512 characters), or data that is not JSON.
   * @throws PayloadTooLargeError when one exceeds the store's limit; the transaction is the caller's to roll back.
   */
  async append(tx: Tx, events: readonly NewOutboxEvent[]): Promise<readonly string[]> {
    const entries = events.map(({ type, data, key, id = newId("event", this.#random) }) => {
      checkText("event.type", type, 512);
      checkText("event.id", id, 512);
      checkPlainJson("event.data", data);
      return { id, stream: this.#streamOf(key ?? id), payload: { id, type, data } };
    });
    await this.#store.log.append(entries, { tx });
    return entries.map(({ id }) => id);
  }

  /**
   * Delivers until the signal aborts, then throws signal.reason. Run it in as many processes as you like: each
   * partition is relayed by one of them at a time, and by another within `ttlMs` when that one dies.
   */
  async relay(options: RelayOptions): Promise<never> {
    const partitions = Array.from({ length: this.#partitionCount }, (_, index) => ({
      store: this.#store,
      stream: this.#stream(index),
      deadStream: this.#deadStream,
    }));
    return Promise.all(partitions.map((partition) => relayPartition(partition, options))) as Promise<never>;
  }

  /** What was given up, oldest first, at most `limit` (default 500). It stays until `forgetDead`. */
  async dead(options: Abortable & { readonly limit?: number } = {}): Promise<readonly DeadOutboxEvent[]> {
    const read = await this.#store.log.read(this.#deadStream, options);
    return read.kind === "reset" ? [] : read.entries.map(toDead);
  }

  /** Forgets the oldest `count` dead events. */
  async forgetDead(count: number, options: Abortable = {}): Promise<void> {
    checkInteger("count", count, 0, Number.MAX_SAFE_INTEGER);
    const { trimmedTo } = await this.#store.log.bounds(this.#deadStream, options);
    await this.#store.log.trim(this.#deadStream, { ...options, upTo: trimmedTo + BigInt(count) });
  }

  async stats(options: Abortable = {}): Promise<OutboxStats> {
    const count = async (stream: string): Promise<number> => {
      const { head, trimmedTo } = await this.#store.log.bounds(stream, options);
      return Number(head.offset - trimmedTo);
    };
    const streams = Array.from({ length: this.#partitionCount }, (_, index) => this.#stream(index));
    const waiting = await Promise.all(streams.map(count));
    return { waiting: waiting.reduce((sum, each) => sum + each, 0), dead: await count(this.#deadStream) };
  }

  get #deadStream(): string {
    return `outbox/${this.name}/dead`;
  }

  #stream(partition: number): string {
    return `outbox/${this.name}/${partition}`;
  }

  #streamOf(key: string): string {
    return this.#stream(hash(key) % this.#partitionCount);
  }
}

const toDead = ({ payload, appendedAt }: LogEntry): DeadOutboxEvent => {
  const { entry, error } = payload as { readonly entry?: Json; readonly error?: string };
  // Without room for an error it is the entry itself; see relay.ts.
  if (entry === undefined || error === undefined) return { entry: payload, error: "", deadAt: appendedAt };
  return { entry, error, deadAt: appendedAt };
};

/** FNV-1a, 32 bits: spreads keys evenly and is the same in every process. */
const hash = (text: string): number => {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
};
