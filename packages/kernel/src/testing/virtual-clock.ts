import { type Clock, sleepOn, type Timer } from "../clock.ts";

interface Entry {
  readonly at: number;
  readonly order: number;
  callback: () => void;
  cancelled: boolean;
}

/**
 * A clock that moves only when told to. Timers due at the same instant fire in the order in which they
 * were set. Between two timers every pending promise callback runs (one turn of the event loop), so code
 * that waits on nothing but this clock behaves the same on every run.
 */
export class VirtualClock implements Clock {
  #now = 0;
  #wallOffset: number;
  #order = 0;
  // A binary heap by (at, order): simulations hold thousands of timers.
  readonly #heap: Entry[] = [];

  constructor(options: { readonly wallStartsAt?: number } = {}) {
    this.#wallOffset = options.wallStartsAt ?? 1_700_000_000_000;
  }

  wallNow(): number {
    return this.#wallOffset + this.#now;
  }

  monotonicNow(): number {
    return this.#now;
  }

  /** Moves the wall clock alone, as an operator or a time server would. */
  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  sleep(ms: number, options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    return sleepOn(this, ms, options);
  }

  schedule(ms: number, callback: () => void): Timer {
    const delayMs = Math.max(0, Number.isNaN(ms) ? 0 : ms);
    const at = this.#now + delayMs;
    const entry: Entry = {
      // A delay too small for a double to add still passes: "at least ms" must not become "at once, for ever".
      at: delayMs > 0 && at === this.#now ? at + SMALLEST_STEP_MS : at,
      order: this.#order++,
      callback,
      cancelled: false,
    };
    this.#push(entry);
    return {
      cancel: () => {
        entry.cancelled = true;
        // It stays in the line until its time; what it would have called need not.
        entry.callback = () => undefined;
      },
    };
  }

  /** How many timers are set; zero means that nothing waits on this clock. */
  get pendingCount(): number {
    return this.#heap.reduce((count, entry) => count + (entry.cancelled ? 0 : 1), 0);
  }

  /** Moves time forward by `ms`, firing each timer at its own instant. */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms;
    await turn();
    for (;;) {
      const next = this.#peek();
      if (next === undefined || next.at > target) break;
      this.#pop();
      this.#now = next.at;
      next.callback();
      await turn();
    }
    // Another call may have come further meanwhile.
    this.#now = Math.max(this.#now, target);
  }

  /**
   * Moves time forward until `condition` holds, at most by `limitMs`.
   * @throws Error when the limit is reached or no timer is left and the condition does not hold.
   */
  async advanceUntil(condition: () => boolean, limitMs: number): Promise<void> {
    const target = this.#now + limitMs;
    await turn();
    while (!condition()) {
      const next = this.#peek();
      if (next === undefined) throw new Error("no timer is left and the condition does not hold");
      if (next.at > target) throw new Error(`the condition did not hold within ${limitMs} virtual ms`);
      this.#pop();
      this.#now = next.at;
      next.callback();
      await turn();
    }
  }

  #peek(): Entry | undefined {
    while (this.#heap[0]?.cancelled) this.#pop();
    return this.#heap[0];
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) break;
      heap[index] = heap[parent] as Entry;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      if (!before(heap[child] as Entry, last)) break;
      heap[index] = heap[child] as Entry;
      index = child;
    }
    heap[index] = last;
  }
}

const SMALLEST_STEP_MS = 0.001;

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** One turn of the event loop: every promise callback that can run has run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
