import { PASSED_OVER_MAX_COUNT } from "../../queue/queue-limits.ts";
import type { Limits, QueueLimits, QueueSettings } from "../../queue/task-queue.ts";
import { refilled, type TokenBucket, waitForTokenMs } from "../../queue/token-bucket.ts";
import type { Task } from "./task.ts";
import type { Lanes, TaskIndex } from "./task-index.ts";
import type { Change } from "./transactor.ts";

const OPEN: QueueSettings = { paused: false, limits: undefined };
/** Keys whose full bucket is remembered. Beyond that the full ones are forgotten, which changes nothing. */
const BUCKETS_SWEPT_ABOVE = 10_000;

/** What a queue lets through: whether it is paused, and its limits with what is left of them. */
export class QueueGate {
  readonly #index: TaskIndex;
  #settings = OPEN;
  #bucket: TokenBucket | undefined;
  #buckets = new Map<string, TokenBucket>();

  constructor(index: TaskIndex) {
    this.#index = index;
  }

  get settings(): QueueSettings {
    return this.#settings;
  }

  change(settings: QueueSettings, change: Change): void {
    const before = this.#settings;
    const bucket = this.#bucket;
    const buckets = this.#buckets;
    this.#settings = settings;
    // New limits begin with all of their rates unspent; a pause gives nothing back.
    if (settings.limits !== before.limits) {
      this.#bucket = undefined;
      this.#buckets = new Map();
    }
    change.onRollback(() => {
      this.#settings = before;
      this.#bucket = bucket;
      this.#buckets = buckets;
    });
  }

  /** Takes the next task that may start now off the index; the caller must claim it. */
  take(lanes: Lanes, now: number, change: Change): Task | undefined {
    const { paused, limits } = this.#settings;
    if (paused) return undefined;
    if (limits === undefined) return this.#index.takeReady(lanes, now);
    if (!this.#hasRoom(now)) return undefined;
    const passedOver: Task[] = [];
    let found: Task | undefined;
    while (passedOver.length < PASSED_OVER_MAX_COUNT) {
      const task = this.#index.takeReady(lanes, now);
      if (task === undefined) break;
      if (this.#keyHasRoom(task, now)) {
        found = task;
        break;
      }
      passedOver.push(task);
    }
    for (const task of passedOver) this.#index.putBack(task);
    if (found !== undefined) this.#spend(found, limits, now, change);
    return found;
  }

  /** When a pending task may be claimed, given when the next is due; undefined while nothing can. */
  opensAt(dueAt: number, now: number): number | undefined {
    const { paused, limits } = this.#settings;
    if (paused) return undefined;
    if (limits === undefined) return dueAt;
    if (isFull(this.#index.claimedCount, limits)) return undefined;
    if (limits.rate === undefined) return dueAt;
    return Math.max(dueAt, now + waitForTokenMs(refilled(this.#bucket, limits.rate, now), limits.rate));
  }

  #hasRoom(now: number): boolean {
    const limits = this.#settings.limits as QueueLimits;
    return !isFull(this.#index.claimedCount, limits) && hasToken(this.#bucket, limits, now);
  }

  #keyHasRoom({ limitKey }: Task, now: number): boolean {
    const { perKey } = this.#settings.limits as QueueLimits;
    if (perKey === undefined || limitKey === undefined) return true;
    return (
      !isFull(this.#index.claimedCountOf(limitKey), perKey) &&
      hasToken(this.#buckets.get(limitKey), perKey, now)
    );
  }

  #spend({ limitKey }: Task, { rate, perKey }: QueueLimits, now: number, change: Change): void {
    if (rate !== undefined) {
      const before = this.#bucket;
      const bucket = refilled(before, rate, now);
      this.#bucket = { ...bucket, tokens: bucket.tokens - 1 };
      change.onRollback(() => {
        this.#bucket = before;
      });
    }
    if (limitKey === undefined || perKey?.rate === undefined) return;
    const before = this.#buckets.get(limitKey);
    const bucket = refilled(before, perKey.rate, now);
    this.#buckets.set(limitKey, { ...bucket, tokens: bucket.tokens - 1 });
    change.onRollback(() => {
      if (before === undefined) this.#buckets.delete(limitKey);
      else this.#buckets.set(limitKey, before);
    });
    if (this.#buckets.size <= BUCKETS_SWEPT_ABOVE) return;
    for (const [key, known] of this.#buckets) {
      if (refilled(known, perKey.rate, now).tokens >= perKey.rate.count) this.#buckets.delete(key);
    }
  }
}

const isFull = (claimedCount: number, { concurrency }: Limits): boolean =>
  concurrency !== undefined && claimedCount >= concurrency;

const hasToken = (bucket: TokenBucket | undefined, { rate }: Limits, now: number): boolean =>
  rate === undefined || refilled(bucket, rate, now).tokens >= 1;
