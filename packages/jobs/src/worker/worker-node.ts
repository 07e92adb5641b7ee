import { createHandlers, type Handlers } from "@holdfast/connection";
import { TaskGroup, untilAborted, withTimeout } from "@holdfast/kernel";
import {
  cancelTasks,
  leaderChanged,
  ping,
  type TaskOutcome,
  validateInput,
  validateInputs,
  type WorkerRegistration,
  type WorkflowCatalogEntry,
} from "@holdfast/protocol/contract";
import { ShardCancelledError, WorkerDrainingError } from "../errors.ts";
import { answerEach } from "../node/answer-each.ts";
import { runClaimLoop } from "./claim-loop.ts";
import { type Executor, type ShardOutcome, STOP_GRACE_MS } from "./executor.ts";
import { type HeldShard, HeldShards } from "./held-shards.ts";
import { JobLeaders } from "./job-leaders.ts";
import { ManagerLinks } from "./manager-links.ts";
import { OutcomeReporter } from "./outcome-reporter.ts";
import { ProgressReporter } from "./progress-reporter.ts";
import { runRenewLoop } from "./renew-loop.ts";
import { attemptName } from "./shard-failure.ts";
import type { Worker, WorkerState, WorkerStats } from "./worker.ts";
import type { WorkerOptions } from "./worker-options.ts";

/** Two claims at once: while one waits for work, cores that become free ask with the other. */
const CLAIM_LOOPS = 2;
/** How often claims ahead are looked at: those that wait behind longer shards go back. */
const QUEUE_CHECK_MS = 250;
/** While draining: for managers to answer the claims under way, and to take the last outcomes. */
const LAST_CLAIMS_MS = 1_000;
const LAST_OUTCOMES_MS = 5_000;
const DRAIN_DEFAULT_MS = 30_000;
/** A core that has been busy for so long is told of to managers that hear nothing else of it. */
const LASTING_MS = 1_000;

/** Puts the parts of a worker together and takes them apart again. Each part keeps its own state. */
export class WorkerNode implements Worker {
  readonly nodeId: string;
  readonly datacenter: string;
  readonly workflows: readonly string[];
  readonly #options: WorkerOptions;
  readonly #executor: Executor;
  readonly #catalog: readonly WorkflowCatalogEntry[];
  readonly #refusedEffects: () => number;
  readonly #startedAt: number;
  readonly #links: ManagerLinks;
  readonly #leaders: JobLeaders;
  readonly #held: HeldShards;
  readonly #progress: ProgressReporter;
  readonly #outcomes: OutcomeReporter;
  /** Asking for work; ends first when draining. */
  readonly #claims: TaskGroup;
  readonly #tasks: TaskGroup;
  #phase: "running" | "draining" | "offline" = "running";
  #stopping: Promise<void> | undefined;

  constructor(
    options: WorkerOptions,
    parts: {
      readonly executor: Executor;
      readonly catalog: readonly WorkflowCatalogEntry[];
      readonly refusedEffects: () => number;
    },
  ) {
    const { nodeId, datacenter, clock, random, logger } = options;
    this.nodeId = nodeId;
    this.datacenter = datacenter;
    this.workflows = parts.catalog.map(({ name }) => name);
    this.#options = options;
    this.#executor = parts.executor;
    this.#catalog = parts.catalog;
    this.#refusedEffects = parts.refusedEffects;
    this.#startedAt = clock.wallNow();
    this.#claims = new TaskGroup({ logger });
    this.#tasks = new TaskGroup({ logger });
    this.#leaders = new JobLeaders((jobId) => {
      this.#progress.reroute(jobId);
      this.#outcomes.retryNow(jobId);
    });
    this.#links = new ManagerLinks({
      nodeId,
      addresses: options.managers,
      transport: options.transport,
      credential: options.credential,
      clock,
      random,
      logger,
      handlers: this.#handlers(),
      registration: () => this.#registration(),
      onReady: (manager) => {
        this.#outcomes.retryNow();
        this.#progress.kick(manager.nodeId);
      },
    });
    const common = { nodeId, links: this.#links, leaders: this.#leaders, clock, random, logger };
    this.#outcomes = new OutcomeReporter({ ...common, onSettled: (held) => this.#held.forget(held) });
    this.#progress = new ProgressReporter({ ...common, held: () => this.#held });
    this.#held = new HeldShards({
      nodeId,
      cores: options.cores,
      executor: this.#executor,
      clock,
      onTaken: ({ assignment }) => this.#leaders.hold(assignment.jobId, assignment.leader),
      onForgotten: ({ assignment }) => this.#leaders.release(assignment.jobId),
      onUpdate: (held, update) => this.#progress.add(held, update),
      onOutcome: (held, outcome) => this.#onOutcome(held, outcome),
      mayClaim: () => this.#phase === "running" && !this.#outcomes.isFull,
    });
    this.#start();
  }

  get state(): WorkerState {
    if (this.#phase !== "running") return this.#phase;
    return this.#links.ready.length === 0 || this.#outcomes.isFull ? "degraded" : "healthy";
  }

  stats(): WorkerStats {
    return {
      cores: this.#options.cores,
      busyCores: this.#held.runningCount,
      queuedShards: this.#held.queuedCount,
      completedShards: this.#held.completedCount,
      failedShards: this.#held.failedCount,
      undeliveredOutcomes: this.#outcomes.waitingCount,
      droppedUpdates: this.#progress.droppedCount,
      refusedEffects: this.#refusedEffects(),
      managers: this.#links.ready.map(({ nodeId }) => nodeId),
    };
  }

  async whenRegistered({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    while (this.#links.ready.length === 0) {
      await untilAborted(this.#links.whenChanged(signal === undefined ? {} : { signal }), this.#tasks.signal);
    }
  }

  stop(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#stopping ??= this.#drain(options.drainMs ?? DRAIN_DEFAULT_MS);
    return this.#stopping;
  }

  kill(): Promise<void> {
    const killing = this.#close();
    this.#stopping ??= killing;
    return killing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #start(): void {
    const { clock, random, logger, nodeId } = this.#options;
    const parts = { nodeId, links: this.#links, held: this.#held, clock, random, logger };
    this.#links.open();
    for (let index = 1; index <= CLAIM_LOOPS; index += 1) {
      this.#claims.spawn(`claims ${index}`, (signal) =>
        runClaimLoop({ ...parts, claimWaitMs: this.#options.claimWaitMs ?? 5_000 }, signal),
      );
    }
    this.#tasks.spawn("renewals", (signal) =>
      runRenewLoop({ ...parts, orphanGraceMs: this.#options.orphanGraceMs ?? 30_000 }, signal),
    );
    this.#tasks.spawn("progress", (signal) => this.#progress.run(signal));
    this.#tasks.spawn("registration", (signal) => this.#links.keepRegistered(signal));
    this.#tasks.spawn("claims ahead", async (signal) => {
      for (;;) {
        await this.#held.whenBusy({ signal });
        await clock.sleep(QUEUE_CHECK_MS, { signal });
        this.#held.giveBackOverdue();
      }
    });
  }

  #handlers(): Handlers {
    const handlers = createHandlers();
    handlers.onRequest(validateInput, (request) => this.#executor.validate(request));
    handlers.onRequest(validateInputs, async ({ questions }) => {
      const answers = await answerEach(questions, (question) => this.#executor.validate(question));
      return { answers: answers.map(({ value, refused }) => ({ answer: value, refused })) };
    });
    handlers.onRequest(ping, async () => ({
      nodeId: this.nodeId,
      role: "worker" as const,
      state: this.#phase === "running" ? ("active" as const) : this.#phase,
      datacenter: this.datacenter,
      version: this.#options.version ?? "0.1.0",
      isLeader: false,
      wallNow: this.#options.clock.wallNow(),
    }));
    handlers.onPush(cancelTasks, ({ tasks, reason }) => {
      for (const { taskId, token } of tasks) {
        const held = this.#held.find(taskId, token);
        if (held !== undefined) {
          this.#held.stop(held, new ShardCancelledError(attemptName(held.assignment), reason));
        }
      }
    });
    handlers.onPush(leaderChanged, ({ jobs }) => {
      for (const { jobId, leader } of jobs) this.#leaders.update(jobId, leader);
    });
    return handlers;
  }

  #registration(): WorkerRegistration {
    const { cores, host = "", pid = 0 } = this.#options;
    const state = this.#phase === "running" ? "healthy" : "draining";
    return {
      nodeId: this.nodeId,
      datacenter: this.datacenter,
      cores,
      workflows: [...this.#catalog],
      startedAt: this.#startedAt,
      pid,
      host,
      state: state === "healthy" && this.#outcomes.isFull ? "degraded" : state,
      busyCores: this.#lastinglyBusyCores(),
    };
  }

  /** Not those of short shards: they will have ended long before the next registration. */
  #lastinglyBusyCores(): number {
    const latest = this.#options.clock.monotonicNow() - LASTING_MS;
    let count = 0;
    for (const { state, takenAt } of this.#held.all) if (state === "running" && takenAt <= latest) count += 1;
    return count;
  }

  #onOutcome(held: HeldShard, outcome: ShardOutcome): void {
    if (outcome.kind === "failed") {
      const { taskId } = held.assignment;
      const { code, message } = outcome.error;
      this.#options.logger.info(
        { task: taskId, code, retry: outcome.retry },
        `${attemptName(held.assignment)} failed: ${message}`,
      );
    }
    if (outcome.kind === "failed" && outcome.error.code === "JOBS_CLAIM_LOST") {
      this.#held.forget(held);
      return;
    }
    const deliver = (): void => this.#outcomes.add(held, taskOutcomeOf(held, outcome));
    if (outcome.lastUpdate === undefined) deliver();
    else this.#progress.add(held, outcome.lastUpdate, deliver);
  }

  async #drain(drainMs: number): Promise<void> {
    const { logger, nodeId } = this.#options;
    const reason = new WorkerDrainingError(nodeId);
    this.#phase = "draining";
    this.#held.pause();
    logger.info({ running: this.#held.runningCount, drainMs }, "draining: no more work is taken");
    // Managers answer the claims under way once they know; what still comes is given back.
    await this.#within(LAST_CLAIMS_MS, async (signal) => {
      await this.#links.register({ signal });
    });
    await this.#until(LAST_CLAIMS_MS, () => this.#held.reservedCount === 0);
    await this.#claims.stop();
    this.#held.giveBackQueued(reason);
    await this.#until(drainMs, () => this.#held.runningCount === 0);
    for (const held of [...this.#held.all]) this.#held.stop(held, reason);
    await this.#until(STOP_GRACE_MS + LAST_CLAIMS_MS, () => this.#held.runningCount === 0);
    // Also those whose last figures are not yet on their way.
    await this.#until(LAST_OUTCOMES_MS, () => this.#held.reportingCount === 0);
    if (this.#held.reportingCount > 0) {
      logger.warn(
        { count: this.#held.reportingCount },
        "stopping with undelivered outcomes: their claims lapse and the shards run again elsewhere",
      );
    }
    await this.#close();
    logger.info({ nodeId, stats: this.stats() }, "the worker has stopped");
  }

  async #close(): Promise<void> {
    this.#phase = "offline";
    await this.#claims.stop();
    await this.#tasks.stop();
    await Promise.all([this.#progress.close(), this.#outcomes.close()]);
    await this.#links.close();
    await this.#executor.close();
  }

  async #within(limitMs: number, body: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, logger } = this.#options;
    try {
      await withTimeout(clock, { operation: "telling the managers", timeoutMs: limitMs }, body);
    } catch (error) {
      logger.debug({ err: error }, "not every manager knows that this worker drains");
    }
  }

  async #until(limitMs: number, condition: () => boolean): Promise<void> {
    const { clock } = this.#options;
    const endsAt = clock.monotonicNow() + limitMs;
    while (!condition() && clock.monotonicNow() < endsAt) {
      await clock.sleep(Math.min(DRAIN_POLL_MS, endsAt - clock.monotonicNow()));
    }
  }
}

/** Stopping is no hot path; polling needs no hook in every part. */
const DRAIN_POLL_MS = 10;

const taskOutcomeOf = ({ assignment }: HeldShard, outcome: ShardOutcome): TaskOutcome => {
  const { taskId, token, jobId, workflowId, shard } = assignment;
  const { lastUpdate: _told, ...rest } = outcome;
  return { taskId, token, jobId, workflowId, shard, ...rest };
};
