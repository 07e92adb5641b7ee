import { type Clock, type Logger, TaskGroup, type Timer } from "@holdfast/kernel";
import type { StatementResult } from "../sql/database.ts";
import { outsideTransactions } from "../sql/transaction-scope.ts";

/**
 * How long after the first statement we look what there is to do. Nothing is scheduled while nobody uses the
 * database, so an idle one costs nothing.
 */
const LOOK_AFTER_MS = 5_000;

/** Log written since the last checkpoint that makes us do the next; a restart replays at most about this much (0.2 s). */
const CHECKPOINT_BYTES = 16 * 1024 * 1024;

/** As autovacuum's defaults: 50 rows and a fifth of the table dead, or that much changed since the last analysis. */
const TABLES_TO_VACUUM = `
  SELECT format('%I.%I', schemaname, relname) AS name
  FROM pg_stat_all_tables
  WHERE schemaname <> 'pg_toast'
    AND (n_dead_tup > 50 + 0.2 * n_live_tup OR n_mod_since_analyze > 50 + 0.1 * n_live_tup)
  ORDER BY n_dead_tup DESC`;

/** As autovacuum_freeze_max_age: PostgreSQL takes no more writes 2^31 transactions after the last freeze. */
const NEEDS_FREEZE = `
  SELECT age(datfrozenxid) > 200000000 AS due FROM pg_database WHERE datname = current_database()`;

const LOG_SINCE_CHECKPOINT = `
  SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn)::float8 AS bytes FROM pg_control_checkpoint()`;

/**
 * Does what a server's background processes do and the embedded engine lacks: without it the log would grow
 * for ever (no checkpointer) and dead rows would never be reused (no autovacuum).
 *
 * Each step takes its turn like any other caller, one table at a time, so callers get in between.
 */
export class Maintenance {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  readonly #run: (text: string) => Promise<StatementResult<Record<string, unknown>>>;
  #timer: Timer | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly run: (text: string) => Promise<StatementResult<Record<string, unknown>>>;
  }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#tasks = new TaskGroup({ logger: options.logger });
    this.#run = options.run;
  }

  /** The database was used: look soon whether something is to be done. */
  noteActivity(): void {
    if (this.#timer !== undefined || this.#tasks.size > 0 || this.#tasks.signal.aborted) return;
    this.#timer = this.#clock.schedule(
      LOOK_AFTER_MS,
      () => {
        this.#timer = undefined;
        outsideTransactions(() =>
          this.#tasks.spawn("database maintenance", (signal) => this.#maintain(signal)),
        );
      },
      { unref: true },
    );
  }

  /** Starts nothing more and waits for the step under way. */
  stop(): Promise<void> {
    this.#timer?.cancel();
    return this.#tasks.stop();
  }

  async #maintain(signal: AbortSignal): Promise<void> {
    try {
      const log = await this.#run(LOG_SINCE_CHECKPOINT);
      if (Number(log.rows[0]?.["bytes"] ?? 0) >= CHECKPOINT_BYTES) await this.#run("CHECKPOINT");
      // Otherwise what happened in the last second is not counted yet.
      await this.#run("SELECT pg_stat_force_next_flush()");
      for (const table of (await this.#run(TABLES_TO_VACUUM)).rows) {
        if (signal.aborted) return;
        await this.#run(`VACUUM (ANALYZE) ${String(table["name"])}`);
      }
      if ((await this.#run(NEEDS_FREEZE)).rows[0]?.["due"] === true) await this.#run("VACUUM (FREEZE)");
    } catch (error) {
      // Nothing is lost: the next look tries again.
      if (!signal.aborted) this.#logger.warn({ err: error }, "maintenance of the embedded database failed");
    }
  }
}
