import { type Deferred, deferred } from "./abort.ts";
import { assert, ClosedError, InvalidInputError, OverloadedError } from "./errors.ts";

export interface BatcherOptions<In, Out> {
  /** Names the batcher in its errors. */
  readonly name: string;
  /** Handles one batch and returns one result (or an Error to throw to that caller alone) per item, in order. */
  readonly run: (items: readonly In[]) => Promise<readonly (Out | Error)[]>;
  /** Most items in one batch, at least 1. */
  readonly batchMaxCount: number;
  /** Most items waiting, at least 1; more are refused with OverloadedError. */
  readonly pendingMaxCount: number;
  /** How much of a batch one item takes, from 0, for items of very different size. Default 1 each. */
  readonly weigh?: (item: In) => number;
  /** A batch ends before the item that would make it heavier; a single heavier item goes alone. At least 0. Default: no limit. */
  readonly batchMaxWeight?: number;
}

/**
 * Group commit: while one batch is under way, new items wait and form the next. No timer, so an idle
 * batcher adds no latency, and under load the batches grow by themselves.
 *
 * Items run in the order of `add`; one batch at a time. When `run` throws, or gives another number of results, every item of that batch
 * rejects with that error and the next batch starts.
 */
export class Batcher<In, Out> {
  readonly #options: BatcherOptions<In, Out>;
  #pending: { item: In; weight: number; done: Deferred<Out> }[] = [];
  #active: Promise<void> | undefined;
  #closed = false;

  /** @throws InvalidInputError naming the option that is out of range: batches of no items would never end. */
  constructor(options: BatcherOptions<In, Out>) {
    const { name, batchMaxCount, pendingMaxCount, batchMaxWeight } = options;
    for (const [field, count] of Object.entries({ batchMaxCount, pendingMaxCount })) {
      if (!Number.isSafeInteger(count) || count < 1)
        throw new InvalidInputError(`${name}.${field}`, count, "a whole number of at least 1");
    }
    if (batchMaxWeight !== undefined) checkWeight(`${name}.batchMaxWeight`, batchMaxWeight);
    this.#options = options;
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /**
   * @throws OverloadedError when `pendingMaxCount` items wait already; retryable, nothing was taken in.
   * @throws ClosedError after `close`.
   * @throws InvalidInputError when `weigh` gives no number from 0, and what it throws; the item was not taken in.
   */
  add(item: In): Promise<Out> {
    if (this.#closed) return Promise.reject(new ClosedError(this.#options.name));
    if (this.#pending.length >= this.#options.pendingMaxCount) {
      return Promise.reject(new OverloadedError(this.#options.name, this.#options.pendingMaxCount));
    }
    let weight: number;
    try {
      weight = this.#weightOf(item);
    } catch (error) {
      return Promise.reject(error);
    }
    const done = deferred<Out>();
    this.#pending.push({ item, weight, done });
    this.#active ??= this.#drain();
    return done.promise;
  }

  /** Takes no more items and waits until those taken in have been handled. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#active;
  }

  #weightOf(item: In): number {
    const { name, weigh } = this.#options;
    return weigh === undefined ? 1 : checkWeight(`${name}.weight`, weigh(item));
  }

  #nextCount(): number {
    const { batchMaxCount, batchMaxWeight, weigh } = this.#options;
    const limit = Math.min(batchMaxCount, this.#pending.length);
    if (weigh === undefined || batchMaxWeight === undefined) return limit;
    let weight = 0;
    for (let count = 0; count < limit; count += 1) {
      weight += (this.#pending[count] as { weight: number }).weight;
      if (weight > batchMaxWeight && count > 0) return count;
    }
    return limit;
  }

  async #drain(): Promise<void> {
    // Let the callers of this turn join the first batch.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0, this.#nextCount());
      try {
        const results = await this.#options.run(batch.map(({ item }) => item));
        // Whose the others are, and what became of those without one, nobody could tell.
        assert(results.length === batch.length, `${batch.length} results of ${this.#options.name}`);
        batch.forEach(({ done }, index) => {
          const result = results[index];
          if (result instanceof Error) done.reject(result);
          else done.resolve(result as Out);
        });
      } catch (error) {
        for (const { done } of batch) done.reject(error);
      }
    }
    this.#active = undefined;
  }
}

const checkWeight = (field: string, value: number): number => {
  if (!(value >= 0)) throw new InvalidInputError(field, value, "a number of at least 0");
  return value;
};
