import { type Clock, type HoldfastError, systemClock } from "@holdfast/kernel";
import type { Assignment, ValidateInputAnswer, WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import { UnknownWorkflowError, WorkerDrainingError } from "../errors.ts";
import type { WorkflowRegistry } from "../model/registry.ts";
import type { WorkflowDefinition } from "../model/workflow.ts";
import { AttemptWatch } from "./attempt-watch.ts";
import type { Execution, Executor, ShardOutcome, ShardUpdate } from "./executor.ts";
import { validateAgainst } from "./input-validation.ts";
import { attemptName, failureOf } from "./shard-failure.ts";
import { type ShardRun, startShardRun } from "./shard-run.ts";
import { databaseOf, type WorkerDatabase } from "./worker-database.ts";

export interface InlineExecutorOptions {
  readonly registry: WorkflowRegistry;
  readonly nodeId: string;
  /** Default the system's. */
  readonly clock?: Clock;
  readonly database?: WorkerDatabase;
  /** Attempts at once. Default 1000. */
  readonly capacity?: number;
}

/**
 * Runs workflows on the event loop of the node itself, driven by nothing but the injected clock: for
 * simulations, tests and programs that trust their workflows.
 *
 * Not isolated: a workflow that blocks stops the whole node. One that ignores its signal is left behind
 * after the grace; its outcome is given, but its code goes on.
 */
export const createInlineExecutor = (options: InlineExecutorOptions): Executor => new InlineExecutor(options);

class InlineExecutor implements Executor {
  readonly capacity: number;
  readonly #options: InlineExecutorOptions & { readonly clock: Clock };
  readonly #running = new Set<InlineExecution>();

  constructor(options: InlineExecutorOptions) {
    this.capacity = options.capacity ?? 1_000;
    this.#options = { ...options, clock: options.clock ?? systemClock };
  }

  async start(): Promise<readonly WorkflowCatalogEntry[]> {
    return this.#options.registry.catalog();
  }

  validate(request: { readonly workflow: string; readonly input: unknown }): Promise<ValidateInputAnswer> {
    return validateAgainst(this.#options.registry, request);
  }

  execute(assignment: Assignment, hooks: { readonly onUpdate: (update: ShardUpdate) => void }): Execution {
    const { registry } = this.#options;
    const definition = registry.get(assignment.workflow);
    if (definition === undefined) {
      return endedExecution(new UnknownWorkflowError(assignment.workflow, registry.names));
    }
    const execution = new InlineExecution({ ...this.#options, definition, assignment, ...hooks });
    this.#running.add(execution);
    void execution.outcome.then(() => this.#running.delete(execution));
    return execution;
  }

  async close(): Promise<void> {
    for (const execution of this.#running) execution.abandon(new WorkerDrainingError(this.#options.nodeId));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** An attempt that could not even start. */
export const endedExecution = (error: HoldfastError): Execution => ({
  outcome: Promise.resolve({ kind: "failed", ...failureOf(error), lastUpdate: undefined }),
  collect: () => undefined,
  stop: () => undefined,
});

interface InlineExecutionOptions {
  readonly clock: Clock;
  readonly nodeId: string;
  readonly database?: WorkerDatabase;
  readonly definition: WorkflowDefinition;
  readonly assignment: Assignment;
  readonly onUpdate: (update: ShardUpdate) => void;
}

class InlineExecution implements Execution {
  readonly outcome: Promise<ShardOutcome>;
  readonly #options: InlineExecutionOptions;
  readonly #run: ShardRun;
  readonly #watch: AttemptWatch;
  readonly #startedAt: number;
  #resolve: ((outcome: ShardOutcome) => void) | undefined;

  constructor(options: InlineExecutionOptions) {
    const { clock, assignment, database } = options;
    this.#options = options;
    this.#startedAt = clock.wallNow();
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const forDatabase = new AbortController();
    this.#run = startShardRun({
      ...options,
      database: database === undefined ? undefined : databaseOf(database, assignment, forDatabase.signal),
    });
    this.#watch = new AttemptWatch({
      clock,
      what: attemptName(assignment),
      timeoutMs: assignment.timeoutMs,
      onStop: (reason) => {
        this.#run.stop(reason);
        forDatabase.abort(reason);
      },
      onForce: (reason) => this.#fail(reason),
    });
    this.#run.output.then(
      (output) => this.#complete(output),
      (error: unknown) => this.#fail(this.#watch.reason ?? error),
    );
  }

  collect(): void {
    if (this.#resolve === undefined) return;
    const update = this.#run.report.takeUpdate();
    if (update !== undefined) this.#options.onUpdate(update);
  }

  stop(reason: HoldfastError): void {
    this.#watch.stop(reason);
  }

  /** Gives the outcome now, whatever the workflow does. */
  abandon(reason: HoldfastError): void {
    this.#watch.stop(reason);
    this.#fail(this.#watch.reason ?? reason);
  }

  #complete(output: unknown): void {
    // A workflow that returns early because its signal aborted has not done its work.
    if (this.#watch.reason !== undefined) {
      this.#fail(this.#watch.reason);
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
    this.#settle({ kind: "failed", ...failureOf(error), lastUpdate: this.#run.report.takeUpdate() });
  }

  #settle(outcome: ShardOutcome): void {
    this.#watch.end();
    this.#resolve?.(outcome);
    this.#resolve = undefined;
  }
}
