import type { Clock, Timer } from "@holdfast/kernel";

/** One wait in a {@link DeadlineQueue}. */
export interface Deadline {
  /** Idempotent; a no-op once the deadline has passed. */
  cancel(): void;
}

interface Entry extends Deadline {
  readonly at: number;
  readonly onDeadline: () => void;
  previous: Entry | undefined;
  next: Entry | undefined;
  isQueued: boolean;
}

/**
 * Many timeouts on few timers. Waits of the same length end in the order in which they began, so each
 * length needs one list and one timer, however many requests are in flight; a wait that is cancelled, as
 * nearly all are, never touches a timer.
 */
export class DeadlineQueue {
  readonly #clock: Clock;
  readonly #lanes = new Map<number, Lane>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `onDeadline` once after `waitMs` unless cancelled. It must not throw. */
  add(waitMs: number, onDeadline: () => void): Deadline {
    let lane = this.#lanes.get(waitMs);
    if (lane === undefined) {
      lane = new Lane(this.#clock, waitMs, () => this.#lanes.delete(waitMs));
      this.#lanes.set(waitMs, lane);
    }
    return lane.add(onDeadline);
  }

  /** Forgets all waits and timers. */
  clear(): void {
    for (const lane of this.#lanes.values()) lane.clear();
    this.#lanes.clear();
  }
}

class Lane {
  readonly #clock: Clock;
  readonly #waitMs: number;
  readonly #onEmpty: () => void;
  #head: Entry | undefined;
  #tail: Entry | undefined;
  #timer: Timer | undefined;

  constructor(clock: Clock, waitMs: number, onEmpty: () => void) {
    this.#clock = clock;
    this.#waitMs = waitMs;
    this.#onEmpty = onEmpty;
  }

  add(onDeadline: () => void): Deadline {
    const entry: Entry = {
      at: this.#clock.monotonicNow() + this.#waitMs,
      onDeadline,
      previous: this.#tail,
      next: undefined,
      isQueued: true,
      cancel: () => this.#remove(entry),
    };
    if (this.#tail === undefined) this.#head = entry;
    else this.#tail.next = entry;
    this.#tail = entry;
    if (this.#timer === undefined) this.#arm(this.#waitMs);
    return entry;
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#head = undefined;
    this.#tail = undefined;
  }

  #arm(waitMs: number): void {
    this.#timer = this.#clock.schedule(waitMs, () => this.#fire(), { unref: true });
  }

  #fire(): void {
    this.#timer = undefined;
    for (;;) {
      const entry = this.#head;
      if (entry === undefined) {
        // A lane lives one wait longer than its last request, so lengths that are used once do not pile up.
        if (this.#timer === undefined) this.#onEmpty();
        return;
      }
      const leftMs = entry.at - this.#clock.monotonicNow();
      if (leftMs > 0) {
        if (this.#timer === undefined) this.#arm(leftMs);
        return;
      }
      this.#remove(entry);
      entry.onDeadline();
    }
  }

  #remove(entry: Entry): void {
    if (!entry.isQueued) return;
    entry.isQueued = false;
    if (entry.previous === undefined) this.#head = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === undefined) this.#tail = entry.previous;
    else entry.next.previous = entry.previous;
  }
}
