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
  #timerAt = 0;

  constructor(options: { readonly clock: Clock; readonly operation: string; readonly timeoutMs: number }) {
    this.operation = options.operation;
    this.timeoutMs = options.timeoutMs;
    this.#clock = options.clock;
  }

  /** Starts the wait of `entry` at `now`, which must be a fresh reading of the clock. */
  add(entry: Expiring, now: number): void {
    entry.expiresAt = now + this.timeoutMs;
    entry.queuePrevious = this.#tail;
    if (this.#tail === undefined) this.#head = entry;
    else this.#tail.queueNext = entry;
    this.#tail = entry;
    if (this.#timer === undefined) this.#arm(Math.min(entry.expiresAt, now + LINGER_MS), now);
  }

  /** Ends the wait of `entry` without expiring it. No effect when it is not in this queue. */
  remove(entry: Expiring, now: number): void {
    const previous = entry.queuePrevious;
    const next = entry.queueNext;
    if (previous === undefined && this.#head !== entry) return;
    if (previous === undefined) this.#head = next;
    else previous.queueNext = next;
    if (next === undefined) this.#tail = previous;
    else next.queuePrevious = previous;
    entry.queuePrevious = undefined;
    entry.queueNext = undefined;
    if (this.#head === undefined && this.#timerAt > now + LINGER_MS) this.#disarm();
  }

  #arm(at: number, now: number): void {
    this.#timerAt = at;
    this.#timer = this.#clock.schedule(at - now, this.#onTimer);
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    const now = this.#clock.monotonicNow();
    for (let entry = this.#head; entry !== undefined && entry.expiresAt <= now; entry = this.#head) {
      this.remove(entry, now);
      entry.expire(this);
    }
    // A timer of the platform may fire a fraction early; then the head is still there and gets a new one.
    if (this.#head !== undefined && this.#timer === undefined) this.#arm(this.#head.expiresAt, now);
  };
}
