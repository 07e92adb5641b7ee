import { InvalidInputError } from "@holdfast/kernel";
import { type CacheKey, keyName } from "./cache-key.ts";
import { checkLifetimes, checkTags, type GetOptions } from "./cache-options.ts";
import { type Encoded, encodeValue } from "./codec.ts";
import type { Invalidation } from "./shared-store.ts";

/** What a transaction changes for readers of the cache. */
export interface CacheChanges {
  /** This key's value is another one once the transaction is committed. */
  invalidate(...keys: readonly CacheKey[]): void;
  /** Every entry under this tag is. */
  invalidateTag(...tags: readonly string[]): void;
  /**
   * Stores this value with the commit, besides invalidating the key. Sound for a value that follows from rows that
   * this transaction has locked (inserted, updated, `FOR UPDATE`). Not stored, only invalidated, when another change
   * of the key comes between, or when the same transaction invalidates one of `tags`.
   */
  put<T>(key: CacheKey, value: T, options?: PutOptions): void;
}

export type PutOptions = Pick<GetOptions<unknown>, "tags" | "ttlMs" | "staleMs" | "staleIfErrorMs">;

export interface Put {
  readonly key: string;
  readonly encoded: Encoded;
  readonly options: PutOptions;
}

/** More in one transaction: invalidate a tag instead. */
const CHANGE_MAX_COUNT = 100_000;

export class ChangeList implements CacheChanges {
  readonly keys = new Set<string>();
  readonly tags = new Set<string>();
  readonly puts = new Map<string, Put>();

  invalidate(...keys: readonly CacheKey[]): void {
    for (const key of keys) {
      const name = keyName(key);
      this.puts.delete(name);
      this.keys.add(name);
    }
    this.#check();
  }

  invalidateTag(...tags: readonly string[]): void {
    for (const tag of tags) this.tags.add(checkTags([tag])[0] ?? tag);
    this.#check();
  }

  put<T>(key: CacheKey, value: T, options: PutOptions = {}): void {
    const name = keyName(key);
    checkTags(options.tags ?? []);
    checkLifetimes(options);
    this.puts.set(name, { key: name, encoded: encodeValue(value), options });
    this.keys.add(name);
    this.#check();
  }

  get isEmpty(): boolean {
    return this.keys.size + this.tags.size === 0;
  }

  invalidation(): Invalidation {
    return { keys: [...this.keys], tags: [...this.tags] };
  }

  #check(): void {
    const count = this.keys.size + this.tags.size;
    if (count > CHANGE_MAX_COUNT) {
      throw new InvalidInputError("changes", count, `at most ${CHANGE_MAX_COUNT} in one transaction`);
    }
  }
}
