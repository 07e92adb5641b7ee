import type { Clock, Timer } from "@holdfast/kernel";

/** Who waits in a {@link DeadlineQueue}. */
export interface DeadlineTarget {
  /** The time is over. Must not throw. */
  onDeadline(): void;
}

/** One wait in a {@link DeadlineQueue}. */
export interface Deadline {
  /** Idempotent; a no-op once the deadline has passed. */
  cancel(): void;
}

/**
 * Many timeouts on few timers. Waits of the same length end in the order in which they began, so each
 * length needs one list and one timer, however many wait; a wait that is cancelled, as nearly all are, never
 * touches a timer.
 */
export class DeadlineQueue {
  readonly #clock: Clock;
  readonly #lanes = new Map<number, Lane>();
  /** The lane that was used last: nearly always the one that is used next. */
  #lastLane: Lane | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `target.onDeadline` once after `waitMs` from `now` unless cancelled. */
  add(waitMs: number, target: DeadlineTarget, now: number = this.#clock.monotonicNow()): Deadline {
    let lane = this.#lastLane;
    if (lane === undefined || lane.waitMs !== waitMs || lane.isOver) {
      lane = this.#lanes.get(waitMs);
      if (lane === undefined) {
        lane = this.#open(waitMs);
      }
      this.#lastLane = lane;
    }
    return lane.add(target, now);
  }

  #open(waitMs: number): Lane {
    const lane = new Lane(this.#clock, waitMs, () => {
      if (this.#lanes.get(waitMs) === lane) this.#lanes.delete(waitMs);
    });
    this.#lanes.set(waitMs, lane);
    return lane;
  }

  /** Forgets all waits and timers. */
  clear(): void {
    for (const lane of this.#lanes.values()) lane.clear();
    this.#lanes.clear();
    this.#lastLane = undefined;
  }
}

class Entry implements Deadline {
  readonly at: number;
  readonly target: DeadlineTarget;
  readonly #lane: Lane;
  previous: Entry | undefined;
  next: Entry | undefined;
  isQueued = true;

  constructor(lane: Lane, at: number, target: DeadlineTarget, previous: Entry | undefined) {
    this.#lane = lane;
    this.at = at;
    this.target = target;
    this.previous = previous;
  }

  cancel(): void {
    if (this.isQueued) this.#lane.remove(this);
  }
}

class Lane {
  readonly waitMs: number;
  /** Taken off the queue: nobody waited for as long as its waits take. */
  isOver = false;
  readonly #clock: Clock;
  readonly #onOver: () => void;
  #head: Entry | undefined;
  #tail: Entry | undefined;
  #timer: Timer | undefined;
  /** While deadlines are called: what they add is armed for at the end, behind what is due sooner. */
  #isFiring = false;

  constructor(clock: Clock, waitMs: number, onOver: () => void) {
    this.#clock = clock;
    this.waitMs = waitMs;
    this.#onOver = onOver;
  }

  add(target: DeadlineTarget, now: number): Deadline {
    const entry = new Entry(this, now + this.waitMs, target, this.#tail);
    if (this.#tail === undefined) this.#head = entry;
    else this.#tail.next = entry;
    this.#tail = entry;
    if (this.#timer === undefined && !this.#isFiring) this.#arm(this.waitMs);
    return entry;
  }

  remove(entry: Entry): void {
    entry.isQueued = false;
    if (entry.previous === undefined) this.#head = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === undefined) this.#tail = entry.previous;
    else entry.next.previous = entry.previous;
  }

  clear(): void {
    this.isOver = true;
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
    this.#isFiring = true;
    let leftMs = 0;
    while (this.#head !== undefined) {
      leftMs = this.#head.at - this.#clock.monotonicNow();
      if (leftMs > 0) break;
      const { target } = this.#head;
      this.remove(this.#head);
      target.onDeadline();
    }
    this.#isFiring = false;
    if (this.#head !== undefined) {
      this.#arm(leftMs);
      return;
    }
    // A lane lives one wait longer than its last entry, so lengths that are used once do not pile up.
    this.isOver = true;
    this.#onOver();
  }
}
