import { type Clock, type HoldfastError, isHoldfastError, toWireError } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import { ShardCrashedError } from "../../errors.ts";
import { AttemptWatch } from "../attempt-watch.ts";
import type { Execution, ShardOutcome, ShardUpdate } from "../executor.ts";
import { attemptName, failureOf } from "../shard-failure.ts";
import type { WorkerDatabase } from "../worker-database.ts";
import { DatabaseBridge } from "./database-bridge.ts";
import type { FromThread } from "./thread-messages.ts";
import type { WorkflowThread } from "./workflow-thread.ts";

export interface ThreadExecutionOptions {
  readonly id: number;
  readonly assignment: Assignment;
  readonly thread: WorkflowThread;
  readonly clock: Clock;
  readonly database: WorkerDatabase | undefined;
  readonly onUpdate: (update: ShardUpdate) => void;
  /** The thread may be used again. */
  readonly onReleased: () => void;
}

/**
 * One attempt in a thread, seen from the node. Ends with the thread's outcome, or with the reason why the
 * thread had to be ended or ended itself.
 */
export class ThreadExecution implements Execution {
  readonly outcome: Promise<ShardOutcome>;
  readonly #options: ThreadExecutionOptions;
  readonly #watch: AttemptWatch;
  readonly #bridge: DatabaseBridge | undefined;
  #isCollecting = false;
  #resolve: ((outcome: ShardOutcome) => void) | undefined;

  constructor(options: ThreadExecutionOptions) {
    const { id, assignment, thread, clock, database } = options;
    this.#options = options;
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#bridge =
      database && new DatabaseBridge(database, { id, assignment }, (message) => thread.post(message));
    this.#watch = new AttemptWatch({
      clock,
      what: attemptName(assignment),
      timeoutMs: assignment.timeoutMs,
      onStop: (reason) => {
        thread.post({ type: "stop", id, reason: toWireError(reason) });
        this.#bridge?.close(reason);
      },
      onForce: (reason) => {
        this.#fail(reason);
        void thread.terminate();
      },
    });
    thread.occupy({
      onMessage: (message) => this.#onMessage(message),
      onExit: (why) => this.#fail(this.#watch.reason ?? new ShardCrashedError(attemptName(assignment), why)),
    });
    thread.post({ type: "run", id, assignment });
    if (thread.isReady) this.#watch.begin();
    else {
      thread.ready.then(
        () => this.#watch.begin(),
        // A module that loaded before may fail to load now. The attempt did not even begin, but it counts: otherwise the
        // shard would come back at once, again and again, and never tell what is wrong.
        (error: unknown) => {
          if (isHoldfastError(error)) this.#fail(error);
        },
      );
    }
  }

  collect(): void {
    // One question at a time: a blocked thread must not find a pile of them.
    if (this.#resolve === undefined || this.#isCollecting) return;
    this.#isCollecting = true;
    this.#options.thread.post({ type: "collect", id: this.#options.id });
  }

  stop(reason: HoldfastError): void {
    this.#watch.stop(reason);
  }

  /** Gives the outcome now; the thread is about to be ended. */
  abandon(reason: HoldfastError): void {
    this.#fail(this.#watch.reason ?? reason);
  }

  #onMessage(message: FromThread): void {
    if (this.#resolve === undefined || !("id" in message) || message.id !== this.#options.id) return;
    if (message.type === "outcome") {
      const { reason } = this.#watch;
      this.#settle(reason === undefined ? message.outcome : stoppedOutcome(message.outcome, reason));
      this.#options.thread.release();
      this.#options.onReleased();
    } else if (message.type === "update") this.#options.onUpdate(message.update);
    else if (message.type === "collected") this.#isCollecting = false;
    else if (message.type === "extend") {
      const { id, call, done } = message;
      this.#options.thread.post({ type: "extended", id, call, grantedMs: this.#watch.extend(done) });
    } else this.#bridge?.onCall(message);
  }

  #fail(error: HoldfastError): void {
    this.#settle({ kind: "failed", ...failureOf(error), lastUpdate: undefined });
  }

  #settle(outcome: ShardOutcome): void {
    if (this.#resolve === undefined) return;
    this.#watch.end();
    this.#bridge?.close(new ShardCrashedError(attemptName(this.#options.assignment), "the attempt is over"));
    this.#resolve(outcome);
    this.#resolve = undefined;
  }
}

/** The attempt ended by itself while the order to stop was on its way. */
const stoppedOutcome = (outcome: ShardOutcome, reason: HoldfastError): ShardOutcome => ({
  kind: "failed",
  ...failureOf(reason),
  lastUpdate: outcome.lastUpdate,
});
