import { newId, type Random } from "@holdfast/kernel";

/**
 * Ids for tasks that come without one: 64 random bits that are drawn once, and a counter. In an index tasks that were
 * enqueued together then lie together, which is what makes adding and completing many of them cheap.
 */
export class TaskIds {
  readonly #random: Random;
  #prefix = "";
  #count = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): string {
    if (this.#count % COUNT_PER_PREFIX === 0) this.#prefix = newId("task", this.#random);
    const number = this.#count % COUNT_PER_PREFIX;
    this.#count += 1;
    return `${this.#prefix}-${number.toString(36).padStart(6, "0")}`;
  }
}

/** What six digits hold. */
const COUNT_PER_PREFIX = 36 ** 6;
