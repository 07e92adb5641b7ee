/** What a worker has in hand. */
export interface InHand {
  /** Everything claimed whose end is not reported yet. */
  readonly heldCount: number;
  /** Of these, what runs or waits to run. */
  readonly unfinishedCount: number;
}

/** A claim on its way. */
export interface Asking {
  readonly maxCount: number;
  /** How many claims had found too little when it was sent. */
  readonly shortCount: number;
}

/** How many tasks a worker asks for at a time: what it can use, in pieces that are worth a round trip. */
export class ClaimPace {
  readonly #concurrency: number;
  readonly #prefetch: number;
  /** Asked for in claims that are not answered yet. */
  #askedCount = 0;
  /** No claim found less than it asked for since one that found all was sent. Assumed at first. */
  #isPlentiful = true;
  /** How many claims found less. */
  #shortCount = 0;

  constructor(concurrency: number, prefetch: number) {
    this.#concurrency = concurrency;
    this.#prefetch = prefetch;
  }

  /**
   * How many to claim now: 0 while it is better to wait for a change.
   * @param isSecond For a claim beside another, which is made only where there is plenty.
   */
  countToAsk({ heldCount, unfinishedCount }: InHand, isSecond: boolean): number {
    const capacity = this.#concurrency + this.#prefetch;
    // Where there is plenty, what has ended holds no place while it is reported, up to as many as are fetched ahead.
    const reporting = this.#isPlentiful ? Math.min(heldCount - unfinishedCount, this.#prefetch) : 0;
    const room = capacity - heldCount + reporting - this.#askedCount;
    // A slot that could run is filled at once; what is only fetched ahead comes in larger pieces.
    const isHungry = unfinishedCount + this.#askedCount < this.#concurrency;
    const isWorthIt = room > this.#prefetch / 2;
    if (isSecond ? !(this.#isPlentiful && isWorthIt) : room <= 0 || !(isHungry || isWorthIt)) return 0;
    // In two pieces, so that one can be worked on and reported while the other comes.
    const piece = this.#prefetch === 0 ? room : Math.max(this.#concurrency, Math.ceil(capacity / 2));
    return Math.min(room, piece, 10_000);
  }

  begin(maxCount: number): Asking {
    this.#askedCount += maxCount;
    return { maxCount, shortCount: this.#shortCount };
  }

  /** Answered or failed: nothing comes of it any more but what `found` is told of. */
  end({ maxCount }: Asking): void {
    this.#askedCount -= maxCount;
  }

  found({ maxCount, shortCount }: Asking, count: number): void {
    if (count < maxCount) this.foundTooLittle();
    else if (shortCount === this.#shortCount) this.#isPlentiful = true;
  }

  foundTooLittle(): void {
    this.#isPlentiful = false;
    this.#shortCount += 1;
  }
}
