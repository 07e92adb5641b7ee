import { type Clock, type HoldfastError, systemClock } from "@holdfast/kernel";
import type { Assignment, ValidateInputAnswer, WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import { UnknownWorkflowError, WorkerDrainingError } from "../errors.ts";
import type { WorkflowRegistry } from "../model/registry.ts";
import { AttemptWatch } from "./attempt-watch.ts";
import { endedExecution } from "./ended-execution.ts";
import type { Execution, Executor, ShardOutcome, ShardUpdate } from "./executor.ts";
import { validateAgainst } from "./input-validation.ts";
import { LocalAttempt, type LocalAttemptOptions } from "./local-attempt.ts";
import { attemptName } from "./shard-failure.ts";
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
    const { clock, nodeId, database } = this.#options;
    const execution = new InlineExecution({
      clock,
      nodeId,
      definition,
      assignment,
      onUpdate: hooks.onUpdate,
      database: database && ((signal) => databaseOf(database, assignment, signal)),
    });
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

class InlineExecution implements Execution {
  readonly outcome: Promise<ShardOutcome>;
  readonly #attempt: LocalAttempt;
  readonly #watch: AttemptWatch;

  constructor(options: Omit<LocalAttemptOptions, "extend">) {
    const { clock, assignment } = options;
    this.#attempt = new LocalAttempt({ ...options, extend: async (done) => this.#watch.extend(done) });
    this.#watch = new AttemptWatch({
      clock,
      what: attemptName(assignment),
      timeoutMs: assignment.timeoutMs,
      onStop: (reason) => this.#attempt.stop(reason),
      onForce: (reason) => this.#attempt.abandon(reason),
    });
    this.#watch.begin();
    this.outcome = this.#attempt.outcome.finally(() => this.#watch.end());
  }

  collect(): void {
    this.#attempt.collect();
  }

  stop(reason: HoldfastError): void {
    this.#watch.stop(reason);
  }

  abandon(reason: HoldfastError): void {
    this.#attempt.abandon(reason);
  }
}
