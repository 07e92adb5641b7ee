import { hashOf, type QueryKey } from "./query-key.ts";

/** Who is told when the value of a key may have changed. One that throws keeps no other from hearing. */
export class KeyListeners {
  readonly #onError: (error: unknown) => void;
  readonly #byKey = new Map<string, Set<() => void>>();

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Returns the function that removes the listener again. */
  add(key: QueryKey, listener: () => void): () => void {
    const hash = hashOf(key);
    const listeners = this.#byKey.get(hash) ?? new Set();
    this.#byKey.set(hash, listeners);
    // Added twice, it is called twice, and each is removed by itself.
    const own = (): void => listener();
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#byKey.get(hash) === listeners) this.#byKey.delete(hash);
    };
  }

  has(key: QueryKey): boolean {
    return this.#byKey.has(hashOf(key));
  }

  notify(key: QueryKey): void {
    for (const listener of [...(this.#byKey.get(hashOf(key)) ?? [])]) {
      try {
        listener();
      } catch (error) {
        this.#onError(error);
      }
    }
  }
}
