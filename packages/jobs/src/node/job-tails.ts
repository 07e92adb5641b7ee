import type { Log, LogEntry, LogRead } from "@holdfast/coordination";
import type { Clock, Logger, TaskGroup } from "@holdfast/kernel";
import { jobStream } from "../model/job-stream.ts";
import type { FeedSubscription } from "./feed-subscription.ts";
import { JobTail } from "./job-tail.ts";

export interface JobTailsOptions {
  readonly log: Pick<Log<unknown>, "tail">;
  /** Whether this node leads the job now, so that the tail is fed by `take`. */
  readonly leads: (jobId: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tasks: TaskGroup;
  /** Newest events per job kept in memory, at most 256 KiB. */
  readonly entryMaxCount: number;
  /** Newest events of all jobs together. */
  readonly memoryMaxBytes: number;
  /** Jobs led here whose newest events are kept although nobody follows them. */
  readonly idleMaxCount: number;
}

/** A tail and those it serves. */
export interface FollowedTail {
  readonly jobId: string;
  readonly tail: JobTail;
  readonly subscriptions: Set<FeedSubscription>;
  /** Stops reading the log; undefined while the leader feeds the tail. */
  stopLogTail: (() => void) | undefined;
  /** What is counted in `memoryBytes` for it. */
  countedBytes: number;
}

const TAIL_MAX_BYTES = 256 * 1024;
const LOG_RETRY_MIN_MS = 100;
const LOG_RETRY_MAX_MS = 5_000;

/**
 * The tails of all jobs that are followed, or led here and lately written. Bounded in bytes and in unused
 * tails; what falls out is read from the store again.
 */
export class JobTails {
  readonly #options: JobTailsOptions;
  /** Least recently fed first. */
  readonly #tails = new Map<string, FollowedTail>();
  readonly #idle = new Set<FollowedTail>();
  #memoryBytes = 0;

  constructor(options: JobTailsOptions) {
    this.#options = options;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  get followedCount(): number {
    return this.#tails.size - this.#idle.size;
  }

  get(jobId: string): FollowedTail | undefined {
    return this.#tails.get(jobId);
  }

  /** The tail of a job, made when there is none. Call `attach` or `release` in the same turn as the last `open`. */
  open(jobId: string): FollowedTail {
    let followed = this.#tails.get(jobId);
    if (followed === undefined) {
      followed = {
        jobId,
        tail: new JobTail(),
        subscriptions: new Set(),
        stopLogTail: undefined,
        countedBytes: 0,
      };
      this.#tails.set(jobId, followed);
      this.#idle.add(followed);
    }
    return followed;
  }

  attach(followed: FollowedTail, subscription: FeedSubscription): void {
    followed.subscriptions.add(subscription);
    this.#idle.delete(followed);
    this.chooseSource(followed);
  }

  detach(subscription: FeedSubscription): void {
    const followed = this.#tails.get(subscription.jobId);
    if (followed?.subscriptions.delete(subscription)) this.release(followed);
  }

  /** Takes in entries that were just committed and wakes the watchers. */
  publish(jobId: string, entries: readonly LogEntry[]): void {
    let followed = this.#tails.get(jobId);
    if (followed === undefined) {
      if (entries.length === 0 || !this.#options.leads(jobId)) return;
      followed = this.open(jobId);
    } else {
      this.#tails.delete(jobId);
      this.#tails.set(jobId, followed);
    }
    this.#take(followed, entries);
  }

  /** A tail of a job led here stays for the next watcher (bounded); any other goes with its last one. */
  release(followed: FollowedTail, options: { readonly evenIfLed?: boolean } = {}): void {
    if (followed.subscriptions.size > 0) return;
    followed.stopLogTail?.();
    followed.stopLogTail = undefined;
    if (!options.evenIfLed && this.#options.leads(followed.jobId)) {
      this.#idle.add(followed);
      return;
    }
    this.#idle.delete(followed);
    if (this.#tails.get(followed.jobId) === followed) this.#tails.delete(followed.jobId);
    this.#memoryBytes -= followed.countedBytes;
    followed.countedBytes = 0;
    followed.tail.drop();
  }

  /** Feeds the tail from the leader's publications or from the log, whichever is right now. */
  chooseSource(followed: FollowedTail): void {
    if (followed.subscriptions.size === 0) {
      this.release(followed);
      return;
    }
    if (this.#options.leads(followed.jobId) || followed.tail.isEnded) {
      followed.stopLogTail?.();
      followed.stopLogTail = undefined;
      return;
    }
    if (followed.stopLogTail !== undefined) return;
    const controller = new AbortController();
    followed.stopLogTail = () => controller.abort(new Error("the tail is not needed any more"));
    this.#options.tasks.spawn(`tail ${followed.jobId}`, () => this.#followLog(followed, controller.signal));
  }

  chooseSources(): void {
    for (const followed of [...this.#tails.values()]) this.chooseSource(followed);
  }

  /** Stops reading logs. */
  close(): void {
    for (const followed of this.#tails.values()) followed.stopLogTail?.();
    this.#tails.clear();
    this.#idle.clear();
    this.#memoryBytes = 0;
  }

  #take(followed: FollowedTail, entries: readonly LogEntry[]): void {
    followed.tail.append(entries);
    followed.tail.trim({ entryMaxCount: this.#options.entryMaxCount, sizeMaxBytes: TAIL_MAX_BYTES });
    this.#recount(followed);
    this.#freeMemory();
    for (const subscription of [...followed.subscriptions]) subscription.serve();
  }

  #recount(followed: FollowedTail): void {
    this.#memoryBytes += followed.tail.sizeBytes - followed.countedBytes;
    followed.countedBytes = followed.tail.sizeBytes;
  }

  #freeMemory(): void {
    for (const followed of this.#idle) {
      if (this.#idle.size <= this.#options.idleMaxCount) break;
      this.release(followed, { evenIfLed: true });
    }
    if (this.#memoryBytes <= this.#options.memoryMaxBytes) return;
    for (const followed of [...this.#tails.values()]) {
      if (this.#memoryBytes <= this.#options.memoryMaxBytes) break;
      followed.tail.drop();
      this.#recount(followed);
      this.release(followed, { evenIfLed: true });
    }
  }

  async #followLog(followed: FollowedTail, signal: AbortSignal): Promise<void> {
    let delayMs = LOG_RETRY_MIN_MS;
    while (!signal.aborted) {
      try {
        const items = this.#options.log.tail(jobStream(followed.jobId), {
          after: followed.tail.head,
          signal,
        });
        for await (const item of items) {
          delayMs = LOG_RETRY_MIN_MS;
          if (signal.aborted) return;
          this.#onLogItem(followed, item);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#options.logger.warn(
          { err: error, jobId: followed.jobId, retryInMs: delayMs },
          "the log of a followed job could not be read; trying again",
        );
        await this.#options.clock.sleep(delayMs, { signal }).catch(() => undefined);
        delayMs = Math.min(delayMs * 2, LOG_RETRY_MAX_MS);
      }
    }
  }

  #onLogItem(followed: FollowedTail, item: LogRead): void {
    if (item.kind === "entries") {
      this.#take(followed, item.entries);
    } else {
      followed.tail.advance(item.bounds);
      this.#recount(followed);
      for (const subscription of [...followed.subscriptions]) subscription.serve();
    }
    if (followed.tail.isEnded) this.chooseSource(followed);
  }
}
