import { type Clock, type Logger, TaskGroup } from "@holdfast/kernel";
import { SHARD_QUEUE } from "../model/shard-task.ts";
import type { EventFeed } from "../node/event-feed.ts";
import type { LapsedClaims } from "./lapsed-claims.ts";
import type { LedJobs } from "./led-jobs.ts";
import type { LiveFigures } from "./live-figures.ts";
import type { ManagerSettings } from "./manager-options.ts";
import { purgeEnded } from "./retention.ts";
import type { TakeOver } from "./take-over.ts";
import type { WorkerRegistry } from "./worker-registry.ts";

export interface SweepsOptions {
  readonly settings: ManagerSettings;
  readonly logger: Logger;
  readonly led: LedJobs;
  readonly takeOver: TakeOver;
  readonly lapsed: LapsedClaims;
  readonly figures: LiveFigures;
  readonly registry: WorkerRegistry;
  readonly feed: EventFeed;
  /** How long to wait before the next sweep, at most so long. */
  readonly nextLookMs: (everyMs: number) => number;
  /** Whether the node holds its lease, and leads its datacenter. */
  /** No other manager of the datacenter is known: nobody else hands out shards. */
  readonly isAlone: () => boolean;
  readonly isActive: () => boolean;
  readonly isLeader: () => boolean;
}

/** Workflows without news that are looked at in one sweep, and shards of each. */
const PROBED_WORKFLOWS_MAX_COUNT = 50;
const PROBED_SHARDS_MAX_COUNT = 100;
/** A manager that leads no job looks for lapsed claims in every so many sweeps. */
const RECOVER_ANYWAY_EVERY = 10;

/**
 * What a manager looks after again and again: jobs that nobody leads, claims that lapsed, workers that fell
 * silent, and on the datacenter's leader jobs that are kept no longer. A step that fails is logged and tried
 * again with the next sweep.
 */
export class Sweeps implements AsyncDisposable {
  readonly #options: SweepsOptions;
  readonly #tasks: TaskGroup;
  readonly #clock: Clock;
  #restedCount = 0;

  constructor(options: SweepsOptions) {
    this.#options = options;
    this.#clock = options.settings.clock;
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  start(): void {
    this.#tasks.spawn("sweep", (signal) => this.#runSweeps(signal));
    this.#tasks.spawn("retention", (signal) => this.#runRetention(signal));
  }

  close(): Promise<void> {
    return this.#tasks.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #runSweeps(signal: AbortSignal): Promise<void> {
    const { settings, led, takeOver, isActive, nextLookMs } = this.#options;
    const steps: readonly (readonly [what: string, run: () => Promise<void>])[] = [
      ["read jobs in doubt again", () => led.settle()],
      ["take over jobs of dead managers", () => takeOver.sweep()],
      ["recover lapsed claims", () => this.#recoverLapsed()],
      ["look at workflows without news", () => this.#probe()],
    ];
    let waitMs = settings.sweepEveryMs;
    for (;;) {
      await this.#clock.sleep(waitMs, { signal });
      this.#forgetSilentWorkers();
      for (const [what, run] of steps) {
        if (!isActive()) break;
        await this.#try(what, run, signal);
      }
      waitMs = nextLookMs(settings.sweepEveryMs);
    }
  }

  async #runRetention(signal: AbortSignal): Promise<void> {
    const { settings, lapsed, feed, isLeader, logger } = this.#options;
    for (;;) {
      await this.#clock.sleep(settings.retention.sweepEveryMs, { signal });
      if (!isLeader()) continue;
      const purge = async (): Promise<void> => {
        const gone = await purgeEnded(settings.store, settings.retention, signal);
        for (const jobId of gone) feed.forget(jobId);
        if (gone.length > 0) logger.info({ jobs: gone.length }, "ended jobs were deleted");
      };
      await this.#try("delete ended jobs", purge, signal);
      await this.#try("trim notices of lapsed claims", () => lapsed.trim({ signal }), signal);
    }
  }

  async #try(what: string, run: () => Promise<void>, signal: AbortSignal): Promise<void> {
    try {
      await run();
    } catch (error) {
      if (signal.aborted) return;
      this.#options.logger.warn({ err: error }, `could not ${what}; the next sweep tries again`);
    }
  }

  #forgetSilentWorkers(): void {
    const { registry, settings, logger } = this.#options;
    for (const { registration } of registry.sweep(settings.taskLeaseMs * 2)) {
      const worker = registration.nodeId;
      logger.warn(
        { worker },
        "nothing was heard from the worker; its shards go to others as their leases end",
      );
    }
  }

  /** Claims of a job lapse while somebody leads it; if nobody does, it is taken over first. So an idle manager rests. */
  async #recoverLapsed(): Promise<void> {
    const { led, lapsed } = this.#options;
    this.#restedCount += 1;
    if (led.size === 0 && this.#restedCount < RECOVER_ANYWAY_EVERY) return;
    this.#restedCount = 0;
    await lapsed.recover();
  }

  /** A shard that another manager handed out, and that says nothing, is known from the queue alone. */
  async #probe(): Promise<void> {
    const { led, figures, settings, isAlone } = this.#options;
    if (isAlone()) return;
    const queue = settings.store.coordination.queue(SHARD_QUEUE);
    const silent = [...led.values()].flatMap((job) =>
      job.state.workflows
        .filter(({ status, index }) => status === "assigned" && !job.begun.has(index))
        .map(({ index }) => ({ job, index })),
    );
    for (const { job, index } of silent.slice(0, PROBED_WORKFLOWS_MAX_COUNT)) {
      const group = job.groups[index] as string;
      const limit = PROBED_SHARDS_MAX_COUNT;
      for (const record of await queue.list({ group, states: ["claimed"], limit })) {
        const shard = Number(record.id.slice(group.length + 1));
        const worker = record.worker ?? "";
        // Its token is not shown; what the worker reports itself is newer than this.
        figures.started(job, { taskId: record.id, workflowIndex: index, shard, worker, token: 0n });
      }
    }
  }
}
