import { type Clock, hasCode, isHoldfastError, type Logger, type TaskGroup } from "@holdfast/kernel";
import { cancelJob, getResult, type JobEvent, submitJob } from "@holdfast/protocol/contract";
import { consumeFeed } from "../caller/consume-feed.ts";
import type { BegunFeed, FollowItem } from "../caller/follow-job.ts";
import { isTransient } from "../caller/transient.ts";
import type { Datacenter } from "./datacenter.ts";
import { applyDatacenterEvent, endPartWith } from "./decide/datacenter-event.ts";
import { endPartAs, replacePart } from "./decide/end-job.ts";
import { type DatacenterPart, type GateJob, newPart } from "./gate-job.ts";
import type { LedJob } from "./led-job.ts";

export interface PartRunnerOptions {
  readonly datacenters: ReadonlyMap<string, Datacenter>;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A manager has seen a newer gate: this one must find out what is true. */
  readonly onStale: (led: LedJob) => void;
}

/** How long one round of dispatching tries the managers of a datacenter before a fallback is looked for. */
const DISPATCH_ROUND_MS = 5_000;
const PAUSE_MS = 500;
/** Events of one job that wait for a commit before its datacenters are read on. */
const PENDING_MAX_COUNT = 500;
/**
 * A submission that got no answer may still be on its way when a cancel finds nothing: only after so many
 * answers of "not found", a pause apart, the datacenter counts as never having had the job.
 */
const NOT_FOUND_COUNT = 5;
const NOT_FOUND_PAUSE_MS = 2_000;

/**
 * Brings each datacenter's part of a job to its end: dispatches it (again and again, the datacenter knows it by
 * its id), follows its log into the job, and tells the datacenter when the job is to be ended.
 */
export class PartRunner {
  readonly #options: PartRunnerOptions;

  constructor(options: PartRunnerOptions) {
    this.#options = options;
  }

  start(led: LedJob): void {
    for (const part of led.job.parts) this.#startPart(led, part);
  }

  #startPart(led: LedJob, part: DatacenterPart): void {
    if (part.phase === "ended") return;
    this.#options.tasks.spawn(`job ${led.job.jobId} in ${part.datacenter}`, () => this.#run(led, part));
  }

  async #run(led: LedJob, part: DatacenterPart): Promise<void> {
    const datacenter = this.#options.datacenters.get(part.datacenter);
    if (datacenter === undefined) {
      const reason = `this gate knows no datacenter ${part.datacenter}`;
      led.apply((_job, at) => endPartAs(part, { status: "failed", reason, at }));
      return;
    }
    let begun: BegunFeed | undefined;
    while (!led.isDropped && part.phase !== "ended" && led.job.parts.includes(part)) {
      try {
        if (part.phase === "accepted") {
          const feed = begun;
          begun = undefined;
          await this.#follow(led, part, datacenter, feed);
        } else if (led.isEnding) await this.#endUndelivered(led, part, datacenter);
        else begun = await this.#dispatch(led, part, datacenter);
      } catch (error) {
        if (led.isDropped) return;
        if (hasCode(error, "JOBS_STALE_FENCE")) {
          this.#options.onStale(led);
          return;
        }
        this.#options.logger.warn(
          { err: error, jobId: led.job.jobId, datacenter: part.datacenter, retryInMs: PAUSE_MS },
          "a datacenter's part of a job does not get on; trying again",
        );
        await this.#pause(led, PAUSE_MS);
      }
    }
    // The answer came when nobody wanted the job's events here any more.
    begun?.feed.close();
  }

  /** Returns the feed that the datacenter began with its answer. */
  async #dispatch(led: LedJob, part: DatacenterPart, datacenter: Datacenter): Promise<BegunFeed | undefined> {
    const { job } = led;
    const feed = datacenter.caller.openFeed();
    let begun: BegunFeed | undefined;
    try {
      const { output, peer } = await datacenter.caller.ask(
        submitJob,
        {
          jobId: job.jobId,
          idempotencyKey: job.idempotencyKey,
          spec: job.spec,
          gate: led.leader,
          follow: { subscriptionId: feed.subscriptionId, want: "events" },
        },
        {
          jobId: job.jobId,
          deadlineMs: DISPATCH_ROUND_MS,
          signal: led.stopped,
          onFailedAttempt: (error) => {
            if (mayHaveArrived(error)) part.phase = "uncertain";
          },
        },
      );
      // A part that was read again goes on from its own position.
      if (output.followed === true && part.position === undefined) begun = { feed, peer };
      part.phase = "accepted";
      part.leader = output.leader;
      part.position ??= output.position;
      return begun;
    } catch (error) {
      if (led.isDropped || led.isEnding) return undefined;
      if (hasCode(error, "JOBS_STALE_FENCE")) throw error;
      if (!isTransient(error)) {
        led.apply((_job, at) => endPartAs(part, { status: "failed", reason: error, at }));
        return undefined;
      }
      if (part.phase === "new" && (await this.#useFallback(led, part))) return undefined;
      throw error;
    } finally {
      if (begun === undefined) feed.close();
    }
  }

  /** Gives a part that certainly was not taken to the next datacenter that is well. */
  async #useFallback(led: LedJob, part: DatacenterPart): Promise<boolean> {
    const name = led.job.fallbacks.find((fallback) => {
      const health = this.#options.datacenters.get(fallback)?.health;
      return health === "healthy" || health === "busy" || health === "degraded";
    });
    if (name === undefined) return false;
    const replacement = newPart(name);
    led.apply((job, at) => replacePart(job, part, { replacement, at }));
    this.#options.logger.warn(
      { jobId: led.job.jobId, from: part.datacenter, to: name },
      "a datacenter does not take its part of a job; another one does",
    );
    // Dispatching before this is stored could leave the job in both after a take-over.
    await led.committed();
    this.#startPart(led, replacement);
    return true;
  }

  async #follow(
    led: LedJob,
    part: DatacenterPart,
    datacenter: Datacenter,
    begun: BegunFeed | undefined,
  ): Promise<void> {
    const { job } = led;
    let isTold = false;
    const tell = (): void => {
      if (isTold || !led.isEnding || led.isDropped) return;
      isTold = true;
      this.#options.tasks.spawn(`cancel ${job.jobId} in ${part.datacenter}`, () =>
        this.#cancel(led, part, datacenter),
      );
    };
    tell();
    const stopListening = led.onStopped(tell);
    try {
      if (begun !== undefined && (await this.#consume(led, part, datacenter, begun))) {
        if (part.phase !== "ended" && !led.isDropped) await this.#fetchResult(led, part, datacenter);
        return;
      }
      const batches = datacenter.caller.followBatches(job.jobId, {
        after: part.position,
        signal: led.signal,
        begun,
      });
      for await (const items of batches) {
        this.#take(led, part, items);
        if (part.phase === "ended") return;
        if (led.pendingCount > PENDING_MAX_COUNT) await led.committed();
      }
      await this.#fetchResult(led, part, datacenter);
    } catch (error) {
      if (!hasCode(error, "JOBS_NOT_FOUND")) throw error;
      // The cancel may have heard the same before, and ended the part.
      if (part.phase !== "accepted") return;
      // It lost the job (a store restored from an older copy): it gets it again.
      part.phase = "uncertain";
      part.position = undefined;
    } finally {
      stopListening();
    }
  }

  /** Takes the feed's events as they come. False when it has to be followed on with more care. */
  async #consume(
    led: LedJob,
    part: DatacenterPart,
    datacenter: Datacenter,
    begun: BegunFeed,
  ): Promise<boolean> {
    const consumption = consumeFeed(begun, {
      clock: this.#options.clock,
      silenceMs: datacenter.caller.options.silenceMs,
      onItems: (items) => {
        this.#take(led, part, items);
        return led.pendingCount <= PENDING_MAX_COUNT;
      },
    });
    const stopListening = led.onStopped(() => {
      if (led.isDropped) consumption.stop();
    });
    try {
      const isEnded = await consumption.ended;
      if (isEnded) begun.feed.close();
      return isEnded;
    } catch (error) {
      begun.feed.close();
      throw error;
    } finally {
      stopListening();
    }
  }

  #take(led: LedJob, part: DatacenterPart, items: readonly FollowItem[]): void {
    const take = (job: GateJob): readonly JobEvent[] =>
      items.flatMap((item) => {
        if (item.kind === "event") return applyDatacenterEvent(job, part, item);
        if (item.kind === "reset") {
          this.#options.logger.warn(
            { jobId: job.jobId, datacenter: part.datacenter, reason: item.reason },
            "a datacenter's log cannot be continued; the job goes on from its oldest entry",
          );
          part.position = undefined;
        }
        return [];
      });
    led.apply(take, { mayLinger: true });
  }

  /** The log has ended without the result that we have not seen: it was merged up to its end by a former leader, or trimmed. */
  async #fetchResult(led: LedJob, part: DatacenterPart, datacenter: Datacenter): Promise<void> {
    const { jobId } = led.job;
    const { output } = await datacenter.caller.ask(getResult, { jobId }, { jobId, signal: led.signal });
    const { result } = output;
    if (result !== undefined) led.apply((job) => endPartWith(job, part, result));
    else await this.#pause(led, PAUSE_MS);
  }

  /** Tells a datacenter that has the job to end it, until it has understood. Its log then brings the result. */
  async #cancel(led: LedJob, part: DatacenterPart, datacenter: Datacenter): Promise<void> {
    while (!led.isDropped && part.phase === "accepted") {
      try {
        const outcome = await this.#askToCancel(led, datacenter);
        if (outcome !== "not-found") return;
        led.apply((_job, at) => endPartAs(part, { status: "cancelled", at }));
        return;
      } catch (error) {
        if (led.isDropped) return;
        this.#options.logger.warn(
          { err: error, jobId: led.job.jobId, datacenter: part.datacenter },
          "a datacenter could not be told to end a job; trying again",
        );
        await this.#pause(led, PAUSE_MS);
      }
    }
  }

  /** Ends a part that the datacenter has not confirmed to have. */
  async #endUndelivered(led: LedJob, part: DatacenterPart, datacenter: Datacenter): Promise<void> {
    for (let missing = 0; part.phase === "uncertain" && missing < NOT_FOUND_COUNT; missing += 1) {
      if (missing > 0) await this.#pause(led, NOT_FOUND_PAUSE_MS);
      if (led.isDropped) return;
      if ((await this.#askToCancel(led, datacenter)) !== "not-found") {
        part.phase = "accepted";
        return;
      }
    }
    led.apply((_job, at) => endPartAs(part, { status: "cancelled", at }));
  }

  async #askToCancel(led: LedJob, datacenter: Datacenter): Promise<string> {
    const { jobId, ending } = led.job;
    try {
      const request = { jobId, reason: (ending?.reason ?? "").slice(0, 2_000) };
      const { output } = await datacenter.caller.ask(cancelJob, request, { jobId, signal: led.signal });
      return output.outcome;
    } catch (error) {
      if (hasCode(error, "JOBS_NOT_FOUND")) return "not-found";
      throw error;
    }
  }

  async #pause(led: LedJob, ms: number): Promise<void> {
    await this.#options.clock.sleep(ms, { signal: led.signal }).catch(() => undefined);
  }
}

/** After these the other side may have got the request, or stored the job, although it did not say so. */
const UNCERTAIN_CODES = ["KERNEL_TIMEOUT", "CONNECTION_LOST", "KERNEL_OUTCOME_UNKNOWN"];

const mayHaveArrived = (error: unknown): boolean =>
  !isHoldfastError(error) || UNCERTAIN_CODES.includes(error.code);
