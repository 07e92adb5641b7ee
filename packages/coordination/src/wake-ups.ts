/** The key under which changes of a stream are announced. */
export const streamKey = (stream: string): string => `s${stream}`;
/** The key under which tasks that may be claimable are announced. */
export const queueKey = (queue: string): string => `q${queue}`;
/** The key under which it is announced besides that lapsed tasks are back in their old places. */
export const returnsKey = (queue: string): string => `r${queue}`;

/** The key under which the release of a lease is announced; with a name that ends in `/`, of each lease right below it. */
export const leaseKey = (name: string): string => `l${name}`;
/** What is announced when a lease is released: the lease itself, and what it lies below. */
export const releaseKeys = (name: string): readonly string[] => {
  const slash = name.lastIndexOf("/", name.length - 2);
  return slash < 0 ? [leaseKey(name)] : [leaseKey(name), leaseKey(name.slice(0, slash + 1))];
};
/** The key under which it is announced that announcements may have been missed. */
export const INTERRUPTED_KEY = "!";

/** Who wants to hear that something under a key may have changed. A wake-up carries nothing and may come for nothing. */
export class WakeUps {
  readonly #listeners = new Map<string, Set<(news: unknown) => void>>();
  readonly #onListenerError: (error: unknown, key: string) => void;

  constructor(onListenerError: (error: unknown, key: string) => void) {
    this.#onListenerError = onListenerError;
  }

  get isEmpty(): boolean {
    return this.#listeners.size === 0;
  }

  /** Returns the function that ends the subscription. The same listener may subscribe several times. */
  subscribe(key: string, listener: (news: unknown) => void): () => void {
    const own = (news: unknown): void => listener(news);
    const listeners = this.#listeners.get(key) ?? new Set();
    listeners.add(own);
    this.#listeners.set(key, listeners);
    return () => {
      if (listeners.delete(own) && listeners.size === 0 && this.#listeners.get(key) === listeners) {
        this.#listeners.delete(key);
      }
    };
  }

  /**
   * `news` is what is known of the change, if anything. A listener that throws is reported and does not keep the
   * others from being woken.
   */
  wake(key: string, news?: unknown): void {
    for (const listener of [...(this.#listeners.get(key) ?? [])]) {
      try {
        listener(news);
      } catch (error) {
        this.#onListenerError(error, key);
      }
    }
  }

  wakeAll(): void {
    for (const key of [...this.#listeners.keys()]) if (key !== INTERRUPTED_KEY) this.wake(key);
  }
}
