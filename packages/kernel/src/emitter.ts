/**
 * Typed events of one object. Listeners run synchronously in the order of `on`; one that throws does not
 * keep the others from running, and its error goes to `onListenerError`, as that of an asynchronous one does, for which
 * nobody waits.
 */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();
  readonly #onListenerError: (error: unknown, event: keyof Events) => void;

  constructor(onListenerError: (error: unknown, event: keyof Events) => void = () => undefined) {
    this.#onListenerError = onListenerError;
  }

  /** Returns the function that removes the listener again. */
  on<K extends keyof Events>(name: K, listener: (event: Events[K]) => void): () => void {
    let listeners = this.#listeners.get(name);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(name, listeners);
    }
    listeners.add(listener as (event: never) => void);
    return () => {
      listeners.delete(listener as (event: never) => void);
    };
  }

  emit<K extends keyof Events>(name: K, event: Events[K]): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    for (const listener of [...listeners]) {
      try {
        const ended = (listener as (event: Events[K]) => unknown)(event);
        if (ended instanceof Promise) ended.catch((error: unknown) => this.#onListenerError(error, name));
      } catch (error) {
        this.#onListenerError(error, name);
      }
    }
  }

  listenerCount(name: keyof Events): number {
    return this.#listeners.get(name)?.size ?? 0;
  }
}
