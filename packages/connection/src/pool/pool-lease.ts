import { LeaseReleasedError } from "../errors.ts";
import type { Deadline } from "../link/deadline-queue.ts";
import type { PoolEntry } from "./pool-entry.ts";

/** What a lease needs of its pool. */
export interface LeaseOwner<T> {
  readonly name: string;
  giveBack(entry: PoolEntry<T>): void;
  discard(entry: PoolEntry<T>, error: unknown): void;
}

/**
 * Exclusive use of one resource until `release` or `destroy`, whichever comes first and only once. With
 * `using` the lease is released at the end of the block unless that happened before.
 */
export class PoolLease<T> implements Disposable {
  /**
   * One lease that lives for ever. V8 drops the shape of a class, and with it the optimised code of everything that uses
   * it, when a full collection finds no instance; after a quiet moment acquires would take half as long again.
   */
  static readonly kept = new PoolLease<undefined>(
    { name: "nobody", giveBack: () => undefined, discard: () => undefined },
    {
      id: 0,
      resource: undefined,
      expiresAt: 0,
      generation: 0,
      state: "gone",
      usesCount: 0,
      idleSince: 0,
      checkedAt: 0,
      isBroken: false,
    },
    undefined,
  );
  readonly #owner: LeaseOwner<T>;
  readonly #entry: PoolEntry<T>;
  /** Set while the pool watches for a leak. */
  readonly #leakWatch: Deadline | undefined;
  #isHeld = true;

  constructor(owner: LeaseOwner<T>, entry: PoolEntry<T>, leakWatch: Deadline | undefined) {
    this.#owner = owner;
    this.#entry = entry;
    this.#leakWatch = leakWatch;
  }

  /** The number of the resource in its pool, from 1; the same resource keeps it. */
  get id(): number {
    return this.#entry.id;
  }

  get pool(): string {
    return this.#owner.name;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** @throws LeaseReleasedError after the lease was given back. */
  get resource(): T {
    if (!this.#isHeld) throw new LeaseReleasedError(this.#owner.name, this.#entry.id);
    return this.#entry.resource;
  }

  /**
   * Gives the resource back for the next user. Returns at once; resetting it is the pool's work.
   * @throws LeaseReleasedError the second time; nothing is changed then.
   */
  release(): void {
    this.#end();
    this.#owner.giveBack(this.#entry);
  }

  /**
   * Gives the resource up: its state is unknown or it broke. The pool replaces it when it is needed.
   * @throws LeaseReleasedError the second time; nothing is changed then.
   */
  destroy(error?: unknown): void {
    this.#end();
    this.#owner.discard(this.#entry, error);
  }

  [Symbol.dispose](): void {
    if (this.#isHeld) this.release();
  }

  #end(): void {
    if (!this.#isHeld) throw new LeaseReleasedError(this.#owner.name, this.#entry.id);
    this.#isHeld = false;
    this.#leakWatch?.cancelDeadline();
  }
}
