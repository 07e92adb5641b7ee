import type { Worker } from "node:worker_threads";
import { type Clock, type Deferred, deferred, type Logger, OverloadedError } from "@holdfast/kernel";
import type { ValidateInputAnswer, WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import { ShardCrashedError, WorkflowModuleError } from "../../errors.ts";
import { thawError } from "../shard-failure.ts";
import { logOutput } from "./output-log.ts";
import { launchThread, type ThreadLaunchOptions } from "./thread-launch.ts";
import type { FromThread, ToThread } from "./thread-messages.ts";

export interface WorkflowThreadOptions extends ThreadLaunchOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onExit: (thread: WorkflowThread) => void;
}

/** What one attempt hears of its thread. */
export interface ThreadListener {
  readonly onMessage: (message: FromThread) => void;
  /** The thread is gone; `why` completes "the attempt ended its thread: …". */
  readonly onExit: (why: string) => void;
}

/** A module that has not loaded by then never will: it waits or loops at its top level. */
const LOAD_LIMIT_MS = 30_000;
/** Most validations that wait for their answer. */
const VALIDATIONS_MAX_COUNT = 1_000;

/**
 * One thread with the workflows loaded. It runs one attempt at a time and any number of validations.
 *
 * States: starting (until `ready` settles), then free or busy, then gone (after its exit, however it came).
 */
export class WorkflowThread {
  /** The workflows that it offers. Rejects when the module does not load or the thread dies before. */
  readonly ready: Promise<readonly WorkflowCatalogEntry[]>;
  readonly #ready = deferred<readonly WorkflowCatalogEntry[]>();
  readonly #worker: Worker;
  readonly #options: WorkflowThreadOptions;
  readonly #validations = new Map<number, Deferred<ValidateInputAnswer>>();
  /** Asked in this turn; they travel together, since each message wakes the thread. */
  #questions: Extract<ToThread, { type: "validate" }>["questions"][number][] = [];
  #lastValidation = 0;
  #listener: ThreadListener | undefined;
  #error: Error | undefined;
  #isReady = false;
  #isEnded = false;
  #isGone = false;

  constructor(options: WorkflowThreadOptions) {
    this.#options = options;
    this.ready = this.#ready.promise;
    this.#worker = launchThread({
      moduleUrl: options.moduleUrl,
      nodeId: options.nodeId,
      hasDatabase: options.hasDatabase,
      memoryMb: options.memoryMb,
    });
    this.#worker.on("message", (message: FromThread) => this.#onMessage(message));
    this.#worker.on("error", (error: unknown) => {
      this.#error = error instanceof Error ? error : new Error(String(error));
    });
    this.#worker.on("exit", (code) => this.#onExit(code));
    const limit = options.clock.schedule(LOAD_LIMIT_MS, () => {
      const path = new URL(options.moduleUrl).pathname;
      this.#ready.reject(
        new WorkflowModuleError(
          path,
          `has not loaded within ${LOAD_LIMIT_MS} ms: it blocks at its top level`,
        ),
      );
      void this.terminate();
    });
    this.ready.then(
      () => limit.cancel(),
      () => limit.cancel(),
    );
    const { clock, logger } = options;
    logOutput(this.#worker.stdout, { name: "stdout", clock, logger });
    logOutput(this.#worker.stderr, { name: "stderr", clock, logger });
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Validations that have no answer yet. */
  get validationCount(): number {
    return this.#validations.size;
  }

  /** Free for an attempt. */
  get isFree(): boolean {
    return !this.#isGone && this.#listener === undefined && this.#validations.size === 0;
  }

  /** Takes the thread for one attempt; `release` gives it back. */
  occupy(listener: ThreadListener): void {
    this.#listener = listener;
  }

  release(): void {
    this.#listener = undefined;
  }

  post(message: ToThread): void {
    if (!this.#isGone) this.#worker.postMessage(message);
  }

  /** Rejects when the thread ends first. @throws OverloadedError when 1000 validations wait; retryable. */
  async validate(request: {
    readonly workflow: string;
    readonly input: unknown;
  }): Promise<ValidateInputAnswer> {
    if (this.#validations.size >= VALIDATIONS_MAX_COUNT) {
      throw new OverloadedError("validations of one worker", VALIDATIONS_MAX_COUNT);
    }
    this.#lastValidation += 1;
    const id = this.#lastValidation;
    const answer = deferred<ValidateInputAnswer>();
    this.#validations.set(id, answer);
    this.#questions.push({ id, ...request });
    if (this.#questions.length === 1) {
      void Promise.resolve().then(() => {
        const questions = this.#questions;
        this.#questions = [];
        this.post({ type: "validate", questions });
      });
    }
    return answer.promise;
  }

  /** Ends the thread by force, also out of an endless loop. Resolves when it is gone. */
  async terminate(): Promise<void> {
    this.#isEnded = true;
    await this.#worker.terminate();
  }

  #onMessage(message: FromThread): void {
    if (message.type === "ready") {
      this.#isReady = true;
      this.#ready.resolve(message.catalog);
    } else if (message.type === "broken") {
      this.#ready.reject(thawError(message.error));
      void this.terminate();
    } else if (message.type === "validated") {
      for (const { id, answer } of message.answers) {
        this.#validations.get(id)?.resolve(answer);
        this.#validations.delete(id);
      }
    } else this.#listener?.onMessage(message);
  }

  #onExit(code: number): void {
    this.#isGone = true;
    const why = this.#isEnded ? "it was ended by force" : whyOf(this.#error, code, this.#options.memoryMb);
    const error = new ShardCrashedError("loading workflows or checking an input", why, {
      cause: this.#error,
    });
    this.#ready.reject(error);
    for (const validation of this.#validations.values()) validation.reject(error);
    this.#validations.clear();
    this.#listener?.onExit(why);
    this.#listener = undefined;
    this.#options.onExit(this);
  }
}

const whyOf = (error: Error | undefined, code: number, memoryMb: number): string => {
  const { code: errorCode } = (error ?? {}) as { readonly code?: unknown };
  if (errorCode === "ERR_WORKER_OUT_OF_MEMORY") {
    return `out of memory: it needed more than ${memoryMb} MiB of heap; work in smaller batches, use more shards, or raise threadMemoryMb`;
  }
  if (error !== undefined) return `uncaught ${error.name}: ${error.message}`;
  return `process.exit(${code}) was called`;
};
