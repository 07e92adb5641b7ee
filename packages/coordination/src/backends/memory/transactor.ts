import { type Abortable, ClosedError, InvalidInputError, Mutex } from "@holdfast/kernel";
import type { WakeUps } from "../../wake-ups.ts";

/** A change under way: how to take it back, and who is to hear of it once it stands. */
export interface Change {
  /** Called in reverse order when the transaction rolls back. */
  onRollback(undo: () => void): void;
  /** Wakes who subscribed to `key`, once, after the transaction committed. */
  wakeOnCommit(key: string): void;
}

/** The transaction handle of the memory store. Opaque: get it from `transaction` and pass it on. */
export class MemoryTx implements Change {
  readonly #undo: (() => void)[] = [];
  readonly #wakeKeys = new Set<string>();
  #isOpen = true;

  get isOpen(): boolean {
    return this.#isOpen;
  }

  onRollback(undo: () => void): void {
    this.#undo.push(undo);
  }

  wakeOnCommit(key: string): void {
    this.#wakeKeys.add(key);
  }

  /** Ends the transaction and says which keys to wake. */
  commit(): ReadonlySet<string> {
    this.#isOpen = false;
    return this.#wakeKeys;
  }

  rollBack(): void {
    this.#isOpen = false;
    for (const undo of this.#undo.reverse()) undo();
  }
}

export interface StepOptions extends Abortable {
  readonly tx?: MemoryTx | undefined;
}

/**
 * One change at a time. A transaction keeps every other call waiting until it ends, as on a database with a
 * single session; a call on its own is one synchronous step and needs no undo.
 */
export class Transactor {
  readonly #mutex = new Mutex();
  readonly #wakeUps: WakeUps;
  #current: MemoryTx | undefined;
  #closed = false;

  constructor(wakeUps: WakeUps) {
    this.#wakeUps = wakeUps;
  }

  /**
   * Runs `step`, inside `tx` when given. `step` must check its input before it changes anything.
   * @throws ClosedError after `close`.
   * @throws InvalidInputError for a transaction that has ended or belongs to another store.
   * @throws signal.reason when aborted before it ran.
   */
  async run<T>(options: StepOptions, step: (change: Change) => T): Promise<T> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw new ClosedError("the memory store");
    if (options.tx !== undefined) {
      if (options.tx !== this.#current || !options.tx.isOpen) {
        throw new InvalidInputError("tx", "a transaction", "the open transaction of this store");
      }
      return step(options.tx);
    }
    const wakeKeys = new Set<string>();
    const alone: Change = { onRollback: () => undefined, wakeOnCommit: (key) => wakeKeys.add(key) };
    const result = this.#mutex.isHeld ? await this.#mutex.run(async () => step(alone), options) : step(alone);
    for (const key of wakeKeys) this.#wakeUps.wake(key);
    return result;
  }

  async transaction<T>(body: (tx: MemoryTx) => Promise<T>, options: Abortable = {}): Promise<T> {
    if (this.#closed) throw new ClosedError("the memory store");
    let wakeKeys: ReadonlySet<string> = new Set();
    const result = await this.#mutex.run(async () => {
      const tx = new MemoryTx();
      this.#current = tx;
      try {
        const value = await body(tx);
        wakeKeys = tx.commit();
        return value;
      } catch (error) {
        tx.rollBack();
        throw error;
      } finally {
        this.#current = undefined;
      }
    }, options);
    for (const key of wakeKeys) this.#wakeUps.wake(key);
    return result;
  }

  close(): void {
    this.#closed = true;
  }
}
