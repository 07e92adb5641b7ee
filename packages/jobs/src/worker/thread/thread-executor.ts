import {
  type Clock,
  type Logger,
  silentLogger,
  systemClock,
  TimeoutError,
  withTimeout,
} from "@holdfast/kernel";
import type { Assignment, ValidateInputAnswer, WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import { WorkerDrainingError } from "../../errors.ts";
import type { Execution, Executor, ShardUpdate } from "../executor.ts";
import type { WorkerDatabase } from "../worker-database.ts";
import { moduleUrl } from "../workflow-module.ts";
import { FreeThreads } from "./free-threads.ts";
import { ThreadExecution } from "./thread-execution.ts";
import { WorkflowThread } from "./workflow-thread.ts";

export interface ThreadExecutorOptions {
  /** The file that exports workflows; loaded inside each thread, never by the node itself. */
  readonly modulePath: string;
  readonly nodeId: string;
  /** Attempts at once; as many threads, and one more for validations while all are busy. */
  readonly cores: number;
  readonly database?: WorkerDatabase;
  /** Default the system's. Watches over timeouts; inside the threads it is always the system's. */
  readonly clock?: Clock;
  readonly logger?: Logger;
  /**
   * Heap of one thread, MiB. Default 1024, at least 16. Typed arrays and buffers do not count: that memory is
   * the process's.
   */
  readonly memoryMb?: number;
}

/** A schema that takes longer than this blocks its thread; the thread is replaced. */
const VALIDATION_TIMEOUT_MS = 5_000;

/**
 * Runs workflows in threads of their own: one attempt at a time in each, started when first needed, used again.
 *
 * Guaranteed: a workflow that blocks, loops for ever, runs out of heap, calls process.exit or throws outside
 * its promise ends at most its own attempt, with a failure that says why; the node goes on. A thread that was
 * ended is replaced. A thread that idles for 30 s after an attempt is ended too, and with it what the attempt left
 * in memory; one fresh thread stays ready. Not isolated: the environment, the file system, and memory outside the
 * heap.
 */
export const createThreadExecutor = (options: ThreadExecutorOptions): Executor => new ThreadExecutor(options);

class ThreadExecutor implements Executor {
  readonly capacity: number;
  readonly #options: ThreadExecutorOptions & { readonly clock: Clock; readonly logger: Logger };
  readonly #moduleUrl: string;
  readonly #threads = new Set<WorkflowThread>();
  readonly #executions = new Set<ThreadExecution>();
  readonly #free: FreeThreads;
  #checker: WorkflowThread | undefined;
  #lastId = 0;
  #isClosed = false;

  constructor(options: ThreadExecutorOptions) {
    this.capacity = options.cores;
    this.#options = {
      ...options,
      clock: options.clock ?? systemClock,
      logger: options.logger ?? silentLogger,
    };
    this.#moduleUrl = moduleUrl(options.modulePath).href;
    this.#free = new FreeThreads({
      clock: this.#options.clock,
      onIdle: (thread) => this.#renew(thread),
    });
  }

  async start(): Promise<readonly WorkflowCatalogEntry[]> {
    const thread = this.#launch();
    const catalog = await thread.ready;
    this.#free.giveFresh(thread);
    return catalog;
  }

  async validate(request: {
    readonly workflow: string;
    readonly input: unknown;
  }): Promise<ValidateInputAnswer> {
    const { clock } = this.#options;
    // Validations share one thread, which runs no attempt meanwhile.
    if (this.#checker === undefined || this.#checker.isGone) this.#checker = this.#takeFree();
    const thread = this.#checker;
    try {
      const operation = `validating the input of ${request.workflow}`;
      return await withTimeout(clock, { operation, timeoutMs: VALIDATION_TIMEOUT_MS }, () =>
        thread.validate(request),
      );
    } catch (error) {
      if (error instanceof TimeoutError) {
        if (this.#checker === thread) this.#checker = undefined;
        void thread.terminate();
      }
      throw error;
    } finally {
      if (thread === this.#checker && thread.validationCount === 0) {
        this.#checker = undefined;
        this.#giveFree(thread);
      }
    }
  }

  execute(assignment: Assignment, hooks: { readonly onUpdate: (update: ShardUpdate) => void }): Execution {
    const thread = this.#takeFree();
    this.#lastId += 1;
    const execution = new ThreadExecution({
      id: this.#lastId,
      assignment,
      thread,
      clock: this.#options.clock,
      database: this.#options.database,
      onUpdate: hooks.onUpdate,
      onReleased: () => this.#giveFree(thread),
    });
    this.#executions.add(execution);
    void execution.outcome.then(() => this.#executions.delete(execution));
    return execution;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#free.close();
    for (const execution of this.#executions)
      execution.abandon(new WorkerDrainingError(this.#options.nodeId));
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #takeFree(): WorkflowThread {
    return this.#free.take() ?? this.#launch();
  }

  /** Keeps at most a thread per core and one for validations. */
  #giveFree(thread: WorkflowThread): void {
    if (!thread.isFree || this.#isClosed) return;
    if (this.#free.count > this.capacity) void thread.terminate();
    else this.#free.giveUsed(thread);
  }

  /** Ends a thread that idles, with all that its workflows left; the last one leaves a fresh one in its place. */
  #renew(idle: WorkflowThread): void {
    const { logger } = this.#options;
    idle
      .terminate()
      .then(() => {
        if (this.#threads.size === 0 && !this.#isClosed) this.#free.giveFresh(this.#launch());
      })
      .catch((error: unknown) =>
        logger.warn({ err: error }, "no fresh thread could be started; the next attempt tries again"),
      );
  }

  #launch(): WorkflowThread {
    const { nodeId, clock, logger, memoryMb = 1_024, database } = this.#options;
    const thread = new WorkflowThread({
      moduleUrl: this.#moduleUrl,
      nodeId,
      hasDatabase: database !== undefined,
      memoryMb,
      clock,
      logger,
      onExit: (gone) => {
        this.#threads.delete(gone);
        this.#free.delete(gone);
      },
    });
    this.#threads.add(thread);
    return thread;
  }
}
