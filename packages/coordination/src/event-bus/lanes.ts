import { type EventPriority, LANES } from "./bus-event.ts";
import type { Envelope } from "./envelope.ts";
import { Fifo } from "./fifo.ts";

/** How many events each lane may hand out before the next one has its turn. */
const WEIGHTS = [8, 4, 2, 1] as const;

/** The place of a priority in {@link LANES}; undefined for what is none. A search in the list takes longer. */
export const laneOf = (priority: EventPriority): number | undefined => {
  switch (priority) {
    case "critical":
      return 0;
    case "high":
      return 1;
    case "normal":
      return 2;
    case "low":
      return 3;
    default:
      return undefined;
  }
};

/**
 * Four lines of events, served in turn from the most urgent to the least: eight, four, two, one. So what was
 * published together comes out by priority, and no lane ever starves. (Deficit round robin, Shreedhar and
 * Varghese 1995, with events of equal size.)
 */
export class Lanes {
  readonly #lanes = LANES.map(() => new Fifo<Envelope>());
  #size = 0;
  #current = 0;
  #credit: number = WEIGHTS[0];

  get size(): number {
    return this.#size;
  }

  push(envelope: Envelope): void {
    (this.#lanes[envelope.lane] as Fifo<Envelope>).push(envelope);
    this.#size += 1;
  }

  shift(): Envelope | undefined {
    if (this.#size === 0) {
      // The next ones start from the most urgent lane again.
      this.#current = 0;
      this.#credit = WEIGHTS[0];
      return undefined;
    }
    for (;;) {
      const lane = this.#lanes[this.#current] as Fifo<Envelope>;
      if (this.#credit > 0 && lane.size > 0) {
        this.#credit -= 1;
        this.#size -= 1;
        return lane.shift();
      }
      this.#current = (this.#current + 1) % WEIGHTS.length;
      this.#credit = WEIGHTS[this.#current] as number;
    }
  }

  /** Takes out the oldest event of the least urgent lane that may be dropped; critical events never are. */
  evict(): Envelope | undefined {
    for (let index = this.#lanes.length - 1; index >= 0; index -= 1) {
      const evicted = (this.#lanes[index] as Fifo<Envelope>).takeFirst(({ isCritical }) => !isCritical);
      if (evicted === undefined) continue;
      this.#size -= 1;
      return evicted;
    }
    return undefined;
  }

  /** Empties all lanes: events whose sender waits first, then by priority, then in the order of publishing. */
  takeAll(): Envelope[] {
    const all = this.#lanes.flatMap((lane) => lane.takeAll());
    this.#size = 0;
    return [...all.filter(({ isCritical }) => isCritical), ...all.filter(({ isCritical }) => !isCritical)];
  }
}
