import type { Clock, Timer } from "@holdfast/kernel";

/**
 * Someone who waits for a limited time in a {@link DeadlineQueue}, in one queue at a time. It is its own place in the
 * queue, so that waiting allocates nothing.
 */
export abstract class Deadline {
  /** Monotonic milliseconds; for the queue that it stands in. */
  deadlineAt = Number.NaN;
  /** For the queue that it stands in. */
  deadlineLane: Lane | undefined = undefined;
  /** For the queue that it stands in. */
  previousDeadline: Deadline | undefined = undefined;
  /** For the queue that it stands in. */
  nextDeadline: Deadline | undefined = undefined;

  /** The time is over. Must not throw. */
  abstract onDeadline(): void;

  /** Ends the wait. Idempotent; a no-op once the deadline has passed. */
  cancelDeadline(): void {
    this.deadlineLane?.remove(this);
  }
}

/** So many lanes are kept, empty or not, before anyone looks which of them nobody waits in. */
const LANES_KEPT_COUNT = 64;

/**
 * Many timeouts on few timers. Waits of the same length end in the order in which they began, so each
 * length needs one list and one timer, however many wait; a wait that is cancelled, as nearly all are, never
 * touches a timer. Lists that are empty are closed when there are many, so that waits which all differ in length leave
 * no more than {@link LANES_KEPT_COUNT} behind, or twice as many as waited at once.
 */
export class DeadlineQueue {
  readonly #clock: Clock;
  readonly #lanes = new Map<number, Lane>();
  /** With so many lanes the empty ones are closed. */
  #lanesMaxCount = LANES_KEPT_COUNT;
  /** The lane that was used last: nearly always the one that is used next. */
  #lastLane: Lane | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `deadline.onDeadline` once after `waitMs` from `now` unless it is cancelled. */
  add(waitMs: number, deadline: Deadline, now: number = this.#clock.monotonicNow()): void {
    let lane = this.#lastLane;
    if (lane === undefined || lane.waitMs !== waitMs || lane.isOver) {
      lane = this.#lanes.get(waitMs);
      if (lane === undefined) {
        lane = this.#open(waitMs);
      }
      this.#lastLane = lane;
    }
    lane.add(deadline, now);
  }

  #open(waitMs: number): Lane {
    if (this.#lanes.size >= this.#lanesMaxCount) this.#closeEmpty();
    const lane = new Lane(this.#clock, waitMs, () => {
      if (this.#lanes.get(waitMs) === lane) this.#lanes.delete(waitMs);
    });
    this.#lanes.set(waitMs, lane);
    return lane;
  }

  /** Not again before the number of lanes has doubled, so that each new lane pays for two looks at most. */
  #closeEmpty(): void {
    for (const [waitMs, lane] of this.#lanes) {
      if (!lane.isEmpty) continue;
      lane.clear();
      this.#lanes.delete(waitMs);
    }
    this.#lanesMaxCount = Math.max(LANES_KEPT_COUNT, 2 * this.#lanes.size);
  }

  /** Forgets all waits and timers. */
  clear(): void {
    for (const lane of this.#lanes.values()) lane.clear();
    this.#lanes.clear();
    this.#lastLane = undefined;
  }
}

/** All waits of one length, the one that ends first in front. */
class Lane {
  readonly waitMs: number;
  /** Taken off the queue: nobody waited for as long as its waits take. */
  isOver = false;
  readonly #clock: Clock;
  readonly #onOver: () => void;
  #head: Deadline | undefined;
  #tail: Deadline | undefined;
  #timer: Timer | undefined;
  /** While deadlines are called: what they add is armed for at the end, behind what is due sooner. */
  #isFiring = false;

  constructor(clock: Clock, waitMs: number, onOver: () => void) {
    this.#clock = clock;
    this.waitMs = waitMs;
    this.#onOver = onOver;
  }

  get isEmpty(): boolean {
    return this.#head === undefined;
  }

  add(deadline: Deadline, now: number): void {
    deadline.deadlineAt = now + this.waitMs;
    deadline.deadlineLane = this;
    const tail = this.#tail;
    deadline.previousDeadline = tail;
    if (tail === undefined) this.#head = deadline;
    else tail.nextDeadline = deadline;
    this.#tail = deadline;
    if (this.#timer === undefined && !this.#isFiring) this.#arm(this.waitMs);
  }

  remove(deadline: Deadline): void {
    const previous = deadline.previousDeadline;
    const next = deadline.nextDeadline;
    deadline.deadlineLane = undefined;
    deadline.previousDeadline = undefined;
    deadline.nextDeadline = undefined;
    if (previous === undefined) this.#head = next;
    else previous.nextDeadline = next;
    if (next === undefined) this.#tail = previous;
    else next.previousDeadline = previous;
  }

  clear(): void {
    this.isOver = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    while (this.#head !== undefined) this.remove(this.#head);
  }

  #arm(waitMs: number): void {
    this.#timer = this.#clock.schedule(waitMs, () => this.#fire(), { unref: true });
  }

  #fire(): void {
    this.#timer = undefined;
    this.#isFiring = true;
    let leftMs = 0;
    while (this.#head !== undefined) {
      const first = this.#head;
      leftMs = first.deadlineAt - this.#clock.monotonicNow();
      if (leftMs > 0) break;
      this.remove(first);
      first.onDeadline();
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
