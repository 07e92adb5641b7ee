import type { Clock, Timer } from "@holdfast/kernel";

/** Something with one time limit. The links belong to the queue that holds it. */
export interface Expiring {
  expiresAt: number;
  queuePrevious: Expiring | undefined;
  queueNext: Expiring | undefined;
  /** Called at the limit, already out of the queue. Must not throw. */
  expire(queue: TimeoutQueue): void;
}

/**
 * How long the timer may stay set after the queue ran empty. Setting and clearing a timer costs as much as all
 * of our other work in a call (0.3 µs), so a busy queue keeps one; 25 ms is too short to be noticed at exit.
 */
const LINGER_MS = 25;

/**
 * Many waits of one and the same length share one timer: they end in the order in which they began, so the
 * queue is a plain list and adding and removing are O(1). Nothing is allocated per wait.
 *
 * A timer is set while something waits, and for at most 25 ms after the last wait has ended.
 */
export class TimeoutQueue {
  readonly operation: string;
  readonly timeoutMs: number;
  readonly #clock: Clock;
  #head: Expiring | undefined;
  #tail: Expiring | undefined;
  #timer: Timer | undefined;
  /** True when the timer that is set would stay longer than it may linger. */
  #isLong = false;

  constructor(options: { readonly clock: Clock; readonly operation: string; readonly timeoutMs: number }) {
    this.operation = options.operation;
    this.timeoutMs = options.timeoutMs;
    this.#clock = options.clock;
  }

  /** Starts the wait of `entry` now and returns the instant at which it ends. */
  add(entry: Expiring): number {
    const expiresAt = this.#clock.monotonicNow() + this.timeoutMs;
    entry.expiresAt = expiresAt;
    const tail = this.#tail;
    entry.queuePrevious = tail;
    if (tail === undefined) this.#head = entry;
    else tail.queueNext = entry;
    this.#tail = entry;
    if (this.#timer === undefined) this.#arm(Math.min(this.timeoutMs, LINGER_MS));
    return expiresAt;
  }

  /** Ends the wait of `entry` without expiring it. No effect when it is not in this queue. */
  remove(entry: Expiring): void {
    const previous = entry.queuePrevious;
    const next = entry.queueNext;
    if (previous === undefined && this.#head !== entry) return;
    if (previous === undefined) this.#head = next;
    else previous.queueNext = next;
    if (next === undefined) this.#tail = previous;
    else next.queuePrevious = previous;
    entry.queuePrevious = undefined;
    entry.queueNext = undefined;
    if (this.#head === undefined && this.#isLong) this.#disarm();
  }

  #arm(ms: number): void {
    this.#isLong = ms > LINGER_MS;
    this.#timer = this.#clock.schedule(ms, this.#onTimer);
  }

  #disarm(): void {
    this.#isLong = false;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    this.#isLong = false;
    const now = this.#clock.monotonicNow();
    for (let entry = this.#head; entry !== undefined && entry.expiresAt <= now; entry = this.#head) {
      this.remove(entry);
      entry.expire(this);
    }
    // The first timer looks only a little ahead, and one of the platform may fire a fraction early.
    if (this.#head !== undefined && this.#timer === undefined) this.#arm(this.#head.expiresAt - now);
  };
}
