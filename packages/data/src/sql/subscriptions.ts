import type { Logger } from "@holdfast/kernel";
import { outsideTransactions } from "./transaction-scope.ts";

/** Who listens to which channel of one database. */
export class Subscriptions {
  readonly #byChannel = new Map<string, Set<{ readonly onPayload: (payload: string) => void }>>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get size(): number {
    let count = 0;
    for (const listeners of this.#byChannel.values()) count += listeners.size;
    return count;
  }

  get channels(): readonly string[] {
    return [...this.#byChannel.keys()];
  }

  has(channel: string): boolean {
    return this.#byChannel.has(channel);
  }

  /** Returns the function that removes the listener and tells whether it was the last of its channel. */
  add(channel: string, onPayload: (payload: string) => void): () => boolean {
    const listener = { onPayload };
    const listeners = this.#byChannel.get(channel) ?? new Set();
    this.#byChannel.set(channel, listeners);
    listeners.add(listener);
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return false;
      this.#byChannel.delete(channel);
      return true;
    };
  }

  deliver(channel: string, payload: string): void {
    for (const listener of [...(this.#byChannel.get(channel) ?? [])]) {
      try {
        outsideTransactions(() => listener.onPayload(payload));
      } catch (error) {
        this.#logger.error({ err: error, channel }, "a listener of a database notification failed");
      }
    }
  }
}
