import {
  type Abortable,
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  TaskGroup,
} from "@holdfast/kernel";
import {
  checkInteger,
  checkQueueName,
  checkSchemaName,
  PAYLOAD_MAX_BYTES_DEFAULT,
} from "../../input-checks.ts";
import { LAPSED_KEPT_MS } from "../../lease/grant-checks.ts";
import { Notifier } from "../../notifier.ts";
import type { CoordinationStore } from "../../store.ts";
import { WakeUps } from "../../wake-ups.ts";
import { PostgresLeases } from "./leases.ts";
import { PostgresLog } from "./log.ts";
import { migrate } from "./migrate.ts";
import type { SqlClient, SqlExecutor } from "./sql-client.ts";
import { channelOf, readStatements } from "./sql-files.ts";
import { StatementRunner } from "./statement-runner.ts";
import { PostgresStates } from "./states.ts";
import { PostgresTaskQueue, type QueueParts } from "./task-queue.ts";

export interface PostgresStoreOptions extends Abortable {
  /** Stays the caller's: the store never closes it. */
  readonly sql: SqlClient;
  /** The schema that holds the store's tables; made when missing. Several stores may share a database. Default `holdfast`. */
  readonly schema?: string;
  /** For polls and retries only: leases and due times follow the database's clock. Default: the system's. */
  readonly clock?: Clock;
  /** Makes task ids and jitter. Default: the system's. */
  readonly random?: Random;
  readonly logger?: Logger;
  /** Largest payload of a log entry, task or result as UTF-8 JSON. Default 1 MiB. */
  readonly payloadMaxBytes?: number;
}

const SWEEP_EVERY_MS = 3_600_000;

/**
 * A coordination store in PostgreSQL 15 or newer, embedded or on a server: what it answered for survives
 * crashes as the database's own commits do. Its transactions are the client's, so other tables may join them.
 *
 * Brings the schema up to date first; programs that start together take turns.
 * @throws SchemaTooNewError when a newer program has changed the schema; nothing was touched.
 * @throws StoreUnavailableError when the database does not answer; retryable.
 */
export const createPostgresStore = async (
  options: PostgresStoreOptions,
): Promise<CoordinationStore<SqlExecutor>> => {
  const schema = options.schema ?? "holdfast";
  checkSchemaName(schema);
  const payloadMaxBytes = options.payloadMaxBytes ?? PAYLOAD_MAX_BYTES_DEFAULT;
  checkInteger("payloadMaxBytes", payloadMaxBytes, 1, 2 ** 28);
  const runner = new StatementRunner(options.sql, await readStatements(schema));
  await migrate(runner, schema, { signal: options.signal });
  return new PostgresStore(schema, payloadMaxBytes, runner, options);
};

class PostgresStore implements CoordinationStore<SqlExecutor> {
  readonly leases: PostgresLeases;
  readonly log: PostgresLog;
  readonly states: PostgresStates;
  readonly #statements: StatementRunner;
  readonly #queueParts: QueueParts;
  readonly #queues = new Map<string, PostgresTaskQueue>();
  readonly #wakeUps: WakeUps;
  readonly #loops: TaskGroup;

  constructor(
    schema: string,
    payloadMaxBytes: number,
    statements: StatementRunner,
    options: PostgresStoreOptions,
  ) {
    const { sql, clock = systemClock, random = systemRandom, logger = silentLogger } = options;
    this.#statements = statements;
    this.#loops = new TaskGroup({ logger });
    this.#wakeUps = new WakeUps((err, key) => logger.error({ err, key }, "a wake-up listener threw"));
    const notifier = new Notifier({
      listen: (channel, onPayload, onInterrupted) => sql.listen(channel, onPayload, onInterrupted),
      channel: channelOf(schema),
      wakeUps: this.#wakeUps,
      loops: this.#loops,
      clock,
      logger,
    });
    this.leases = new PostgresLeases(statements, notifier);
    this.log = new PostgresLog({ statements, notifier, clock, payloadMaxBytes });
    this.states = new PostgresStates({ statements, notifier, log: this.log, valueMaxBytes: payloadMaxBytes });
    this.#queueParts = { statements, notifier, clock, random, logger, payloadMaxBytes };
    this.#loops.spawn("sweep", (signal) => this.#sweep(clock, logger, signal));
  }

  queue(name: string): PostgresTaskQueue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      checkQueueName(name);
      queue = new PostgresTaskQueue(name, this.#queueParts);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  transaction<T>(body: (tx: SqlExecutor) => Promise<T>, options: Abortable = {}): Promise<T> {
    return this.#statements.transaction(body, options);
  }

  async now(options: Abortable = {}): Promise<number> {
    const [row] = await this.#statements.run<{ readonly now: number }>("now", [], options);
    return Number(row?.now);
  }

  /** Ends the store's loops and wakes its followers, whose next read throws ClosedError. Idempotent. */
  async close(): Promise<void> {
    this.#statements.close();
    this.#wakeUps.wakeAll();
    await this.#loops.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #sweep(clock: Clock, logger: Logger, signal: AbortSignal): Promise<void> {
    for (;;) {
      await clock.sleep(SWEEP_EVERY_MS, { signal, unref: true });
      try {
        await this.#statements.run("sweep-leases", [LAPSED_KEPT_MS], { signal });
        await this.#statements.run("sweep-queues", [], { signal });
      } catch (err) {
        if (signal.aborted) return;
        logger.warn({ err }, "could not sweep what is over; trying again in an hour");
      }
    }
  }
}
