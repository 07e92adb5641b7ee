import {
  type Abortable,
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemRandom,
} from "@holdfast/kernel";
import { checkInteger, checkQueueName, PAYLOAD_MAX_BYTES_DEFAULT } from "../../input-checks.ts";
import type { CoordinationStore } from "../../store.ts";
import { WakeUps } from "../../wake-ups.ts";
import { MemoryLeases } from "./leases.ts";
import { MemoryLog } from "./log.ts";
import type { MemoryParts } from "./parts.ts";
import { MemoryStates } from "./states.ts";
import { StoreClock } from "./store-clock.ts";
import { MemoryTaskQueue } from "./task-queue.ts";
import { TokenLine } from "./token-line.ts";
import { type MemoryTx, Transactor } from "./transactor.ts";

export interface MemoryStoreOptions {
  /** The only source of time: on a VirtualClock the store is deterministic. It sets no timers itself. */
  readonly clock: Clock;
  /** Makes task ids and jitter. Default: the system's. Give a seeded one for runs that must repeat. */
  readonly random?: Random;
  /** Largest payload of a log entry, task or result as UTF-8 JSON. Default 1 MiB. */
  readonly payloadMaxBytes?: number;
  /** Hears of listeners that throw. Default: none. */
  readonly logger?: Logger;
}

/**
 * A coordination store in this process: same guarantees as the others, except that nothing survives the
 * process. For one-process set-ups whose state may be lost, for tests and for the simulator.
 *
 * One transaction runs at a time and every other call waits for it. After `close` every call throws ClosedError.
 */
export const createMemoryStore = (options: MemoryStoreOptions): CoordinationStore<MemoryTx> =>
  new MemoryStore(options);

class MemoryStore implements CoordinationStore<MemoryTx> {
  readonly leases: MemoryLeases;
  readonly log: MemoryLog;
  readonly states: MemoryStates;
  readonly #parts: MemoryParts;
  readonly #payloadMaxBytes: number;
  readonly #queues = new Map<string, MemoryTaskQueue>();

  constructor(options: MemoryStoreOptions) {
    const logger = options.logger ?? silentLogger;
    this.#payloadMaxBytes = options.payloadMaxBytes ?? PAYLOAD_MAX_BYTES_DEFAULT;
    checkInteger("payloadMaxBytes", this.#payloadMaxBytes, 1, 2 ** 28);
    const wakeUps = new WakeUps((err, key) => logger.error({ err, key }, "a wake-up listener threw"));
    this.#parts = {
      transactor: new Transactor(wakeUps),
      storeClock: new StoreClock(options.clock),
      tokens: new TokenLine(),
      wakeUps,
      random: options.random ?? systemRandom,
    };
    this.leases = new MemoryLeases(this.#parts);
    this.log = new MemoryLog(this.#parts, options.clock, this.#payloadMaxBytes);
    this.states = new MemoryStates(this.#parts, this.log, this.#payloadMaxBytes);
  }

  queue(name: string): MemoryTaskQueue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      checkQueueName(name);
      queue = new MemoryTaskQueue(name, this.#parts, this.#payloadMaxBytes);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  transaction<T>(body: (tx: MemoryTx) => Promise<T>, options: Abortable = {}): Promise<T> {
    return this.#parts.transactor.transaction(body, options);
  }

  async now(options: Abortable = {}): Promise<number> {
    options.signal?.throwIfAborted();
    return this.#parts.storeClock.now();
  }

  async close(): Promise<void> {
    this.#parts.transactor.close();
    // Those who follow a stream find out that the store is closed.
    this.#parts.wakeUps.wakeAll();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
