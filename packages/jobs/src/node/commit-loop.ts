import { Batcher, type Logger } from "@holdfast/kernel";

/** Most items in one transaction: enough to spread its cost, few enough that it takes some tens of milliseconds. */
const BATCH_MAX_COUNT = 500;

export interface CommitLoopOptions<Item, Out> {
  /** Names the loop in its errors. */
  readonly name: string;
  /**
   * Commits all items in one transaction and returns one result, or an Error for that caller alone, per item.
   * When it throws, nothing was committed or nobody knows.
   */
  readonly commit: (items: readonly Item[]) => Promise<readonly (Out | Error)[]>;
  /** Hears of each batch that threw, before anything else is committed: drop what it changed in memory. Must not throw. */
  readonly onFailure: (items: readonly Item[], error: unknown) => void;
  /**
   * Whether the failure may lie in one of the items, so that the others deserve a transaction of their own.
   * A store that is away is no such failure.
   */
  readonly mayBeOneItem: (error: unknown) => boolean;
  readonly logger: Logger;
  /** Most items waiting; more are refused with OverloadedError. */
  readonly pendingMaxCount: number;
  /** How much of a batch one item takes, and how much fits. Default: each 1, and 500. */
  readonly weigh?: (item: Item) => number;
  readonly batchMaxWeight?: number;
}

/**
 * Group commit: what arrives while one transaction is under way goes together into the next, so the cost of a
 * commit is shared under load and nothing waits when there is none.
 *
 * Guaranteed: one transaction at a time, items in the order of `add`, and an item that the store refuses
 * (too large, not storable) fails alone: the items beside it are committed one by one.
 */
export class CommitLoop<Item, Out> {
  readonly #options: CommitLoopOptions<Item, Out>;
  readonly #batcher: Batcher<Item, Out>;
  #batchCount = 0;
  #itemCount = 0;
  #failureCount = 0;
  #runningCount = 0;

  constructor(options: CommitLoopOptions<Item, Out>) {
    this.#options = options;
    const { weigh, batchMaxWeight } = options;
    this.#batcher = new Batcher<Item, Out>({
      name: options.name,
      batchMaxCount: BATCH_MAX_COUNT,
      pendingMaxCount: options.pendingMaxCount,
      ...(weigh === undefined ? {} : { weigh }),
      ...(batchMaxWeight === undefined ? {} : { batchMaxWeight }),
      run: (items) => this.#run(items),
    });
  }

  /**
   * Resolves when the item is committed.
   * @throws OverloadedError, ClosedError, the Error that `commit` returned for the item, or what it threw.
   */
  add(item: Item): Promise<Out> {
    return this.#batcher.add(item);
  }

  /** Items that wait for the next transaction. */
  get pendingCount(): number {
    return this.#batcher.pendingCount;
  }

  /** How full the waiting line is, 0 to 1. */
  get fill(): number {
    return this.#batcher.pendingCount / this.#options.pendingMaxCount;
  }

  /** Nothing waits, and no transaction is under way. */
  get isIdle(): boolean {
    return this.#runningCount === 0 && this.#batcher.pendingCount === 0;
  }

  get stats(): { readonly batches: number; readonly items: number; readonly failures: number } {
    return { batches: this.#batchCount, items: this.#itemCount, failures: this.#failureCount };
  }

  /** Takes no more items and waits until those taken in have been committed or refused. */
  close(): Promise<void> {
    return this.#batcher.close();
  }

  async #run(items: readonly Item[]): Promise<readonly (Out | Error)[]> {
    try {
      return await this.#commit(items);
    } catch (error) {
      if (items.length === 1 || !this.#options.mayBeOneItem(error)) throw error;
      this.#options.logger.warn(
        { err: error, items: items.length },
        "a batch was refused by the store; its items are committed one by one",
      );
    }
    const results: (Out | Error)[] = [];
    for (const item of items) {
      try {
        results.push(...(await this.#commit([item])));
      } catch (error) {
        results.push(error instanceof Error ? error : new Error(String(error)));
      }
    }
    return results;
  }

  async #commit(items: readonly Item[]): Promise<readonly (Out | Error)[]> {
    this.#runningCount += 1;
    try {
      const results = await this.#options.commit(items);
      this.#batchCount += 1;
      this.#itemCount += items.length;
      return results;
    } catch (error) {
      this.#failureCount += 1;
      this.#options.onFailure(items, error);
      throw error;
    } finally {
      this.#runningCount -= 1;
    }
  }
}
