import { InvalidInputError } from "@holdfast/kernel";
import { PoolExistsError, PoolNotFoundError } from "../errors.ts";
import { Pool } from "./pool.ts";
import type { PoolLease } from "./pool-lease.ts";
import type { AcquireOptions, PoolOptions } from "./pool-options.ts";
import type { PoolStats } from "./pool-stats.ts";

/** Several pools by name. They share nothing: exhausting one leaves the others alone. */
export class PoolRegistry<T> implements AsyncDisposable {
  readonly #pools = new Map<string, Pool<T>>();

  get names(): readonly string[] {
    return [...this.#pools.keys()];
  }

  /** @throws PoolExistsError when the name is taken; InvalidInputError. */
  create(options: PoolOptions<T>): Pool<T> {
    if (this.#pools.has(options.name)) throw new PoolExistsError(options.name);
    const pool = new Pool(options);
    this.#pools.set(options.name, pool);
    return pool;
  }

  /** @throws PoolNotFoundError. */
  get(name: string): Pool<T> {
    const pool = this.#pools.get(name);
    if (pool === undefined) throw new PoolNotFoundError(name);
    return pool;
  }

  /** @throws PoolNotFoundError, and what `Pool.acquire` throws. */
  async acquire(name: string, options?: AcquireOptions): Promise<PoolLease<T>> {
    return this.get(name).acquire(options);
  }

  /**
   * Gives a lease back. A name that is not known is ignored: that pool was closed, and took its resources along.
   * @throws InvalidInputError when the lease is of another pool; LeaseReleasedError the second time.
   */
  release(name: string, lease: PoolLease<T>): void {
    if (!this.#pools.has(name)) return;
    if (lease.pool !== name) throw new InvalidInputError("lease", lease.pool, `a lease of pool ${name}`);
    lease.release();
  }

  /** @throws PoolNotFoundError. */
  stats(name: string): PoolStats {
    return this.get(name).stats;
  }

  /** Resources of that pool; 0 when there is none of this name. */
  size(name: string): number {
    return this.#pools.get(name)?.size ?? 0;
  }

  /** Drains and closes one pool, and forgets its name. @throws PoolNotFoundError. */
  async remove(name: string, options?: { readonly drainMs?: number }): Promise<void> {
    const pool = this.get(name);
    this.#pools.delete(name);
    await pool.close(options);
  }

  /** Drains and closes all pools. */
  async close(options?: { readonly drainMs?: number }): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.close(options)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
