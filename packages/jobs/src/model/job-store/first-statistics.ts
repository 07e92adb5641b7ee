import type { SqlClient } from "@holdfast/coordination/postgres";
import { type Clock, type Deferred, deferred, type Logger, TaskGroup, untilAborted } from "@holdfast/kernel";

/** Analysed when so many jobs were added by this process; from there on the server's own autovacuum is in time. */
const ANALYZE_AT_COUNTS = [200, 1_000, 5_000, 25_000];
/** So that what was just added is committed and counts. */
const SETTLE_MS = 100;

/**
 * Gives a new store the statistics that its statements are planned by.
 *
 * A connection keeps the plan that it made while the tables were empty, and such a plan walks the whole queue for
 * each claim (seen: four times the server's time per job after 8000 jobs) until the tables are analysed.
 * PostgreSQL looks whether to do that once a minute; a store under load cannot wait for it.
 */
export class FirstStatistics implements AsyncDisposable {
  readonly #tasks: TaskGroup;
  #wake: Deferred<void> = deferred();
  #addedCount = 0;
  #doneCount = 0;

  constructor(options: {
    readonly sql: SqlClient;
    readonly schema: string;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    const { sql, schema, clock, logger } = options;
    this.#tasks = new TaskGroup({ logger });
    const tables = ["jobs", "tasks", "streams", "entries"].map((table) => `${schema}.${table}`);
    this.#tasks.spawn("first statistics", async (signal) => {
      while (this.#doneCount < ANALYZE_AT_COUNTS.length) {
        await untilAborted(this.#wake.promise, signal);
        this.#wake = deferred();
        await clock.sleep(SETTLE_MS, { signal });
        try {
          await sql.query(`ANALYZE ${tables.join(", ")}`, undefined, { signal });
        } catch (error) {
          signal.throwIfAborted();
          // Only the owner of a table may; then it is the owner's affair.
          logger.debug({ err: error, schema }, "new tables could not be analysed");
        }
      }
    });
  }

  /** Jobs were added. Never waits. */
  noteAdded(count: number): void {
    this.#addedCount += count;
    const next = ANALYZE_AT_COUNTS[this.#doneCount];
    if (next === undefined || this.#addedCount < next) return;
    this.#doneCount += 1;
    this.#wake.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#tasks.stop();
  }
}
