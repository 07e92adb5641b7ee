import type { Clock, HoldfastError } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import type { WorkflowDefinition } from "../model/workflow.ts";
import type { ShardOutcome, ShardUpdate } from "./executor.ts";
import { failureOf } from "./shard-failure.ts";
import { type ShardDatabase, type ShardRun, startShardRun } from "./shard-run.ts";

export interface LocalAttemptOptions {
  readonly definition: WorkflowDefinition;
  readonly assignment: Assignment;
  readonly clock: Clock;
  readonly nodeId: string;
  /** The database for this attempt, whose calls end with `signal`. Undefined: there is none. */
  readonly database: ((signal: AbortSignal) => ShardDatabase) | undefined;
  readonly onUpdate: (update: ShardUpdate) => void;
  /** Asks whoever watches over the attempt for more time; the milliseconds granted. */
  readonly extend: (done: number) => Promise<number>;
}

/** One attempt in this very thread, from its start to its outcome. Watches no clock of its own. */
export class LocalAttempt {
  readonly outcome: Promise<ShardOutcome>;
  readonly #options: LocalAttemptOptions;
  readonly #run: ShardRun;
  readonly #database = new AbortController();
  readonly #startedAt: number;
  #reason: HoldfastError | undefined;
  #resolve: ((outcome: ShardOutcome) => void) | undefined;

  constructor(options: LocalAttemptOptions) {
    this.#options = options;
    this.#startedAt = options.clock.wallNow();
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#run = startShardRun({ ...options, database: options.database?.(this.#database.signal) });
    this.#run.output.then(
      (output) => this.#complete(output),
      (error: unknown) => this.#fail(this.#reason ?? error),
    );
  }

  collect(): void {
    if (this.#resolve === undefined) return;
    const update = this.#run.report.takeUpdate();
    if (update !== undefined) this.#options.onUpdate(update);
  }

  /** Aborts the workflow's signal. The first reason counts. */
  stop(reason: HoldfastError): void {
    if (this.#resolve === undefined || this.#reason !== undefined) return;
    this.#reason = reason;
    this.#run.stop(reason);
    this.#database.abort(reason);
  }

  /** Gives the outcome now, whatever the workflow still does. */
  abandon(reason: HoldfastError): void {
    this.stop(reason);
    this.#fail(reason);
  }

  #complete(output: unknown): void {
    // A workflow that returns early because its signal aborted has not done its work.
    if (this.#reason !== undefined) {
      this.#fail(this.#reason);
      return;
    }
    const { report } = this.#run;
    this.#settle({
      kind: "completed",
      output,
      totals: report.totals(),
      progress: report.progress,
      startedAt: this.#startedAt,
      finishedAt: this.#options.clock.wallNow(),
      lastUpdate: report.takeUpdate(),
    });
  }

  #fail(error: unknown): void {
    if (this.#resolve === undefined) return;
    this.#settle({ kind: "failed", ...failureOf(error), lastUpdate: this.#run.report.takeUpdate() });
  }

  #settle(outcome: ShardOutcome): void {
    this.#resolve?.(outcome);
    this.#resolve = undefined;
  }
}
