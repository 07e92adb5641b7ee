import { newId, type Random } from "@holdfast/kernel";

/**
 * Ids for tasks that come without one: 64 random bits that are drawn once, and a counter. In an index tasks that were
 * enqueued together then lie together, which is what makes adding and completing many of them cheap.
 *
 * The last two of the counter's digits come after a point: ids alike but for these are a page (36 * 36 tasks), which the
 * Redis store keeps together. It knows ids of this form by their form.
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
    const digits = (this.#count % COUNT_PER_PREFIX).toString(36).padStart(7, "0");
    this.#count += 1;
    return `${this.#prefix}-${digits.slice(0, 5)}.${digits.slice(5)}`;
  }
}

/** What seven digits hold. */
const COUNT_PER_PREFIX = 36 ** 7;
