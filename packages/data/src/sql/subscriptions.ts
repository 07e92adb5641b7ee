import type { Logger } from "@holdfast/kernel";
import type { ListenInterruption } from "./database.ts";
import { outsideTransactions } from "./transaction-scope.ts";

interface Listener {
  readonly onPayload: (payload: string) => void;
  readonly onInterrupted: ((what: ListenInterruption) => void) | undefined;
}

/** Who listens to which channel of one database. */
export class Subscriptions {
  readonly #byChannel = new Map<string, Set<Listener>>();
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
  add(
    channel: string,
    onPayload: (payload: string) => void,
    onInterrupted?: Listener["onInterrupted"],
  ): () => boolean {
    const listener = { onPayload, onInterrupted };
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
      this.#call(channel, () => listener.onPayload(payload));
    }
  }

  /** Tells every listener that it may miss something, or may have missed it. */
  interrupt(what: ListenInterruption): void {
    for (const [channel, listeners] of [...this.#byChannel]) {
      for (const listener of [...listeners]) this.#call(channel, () => listener.onInterrupted?.(what));
    }
  }

  #call(channel: string, callback: () => void): void {
    try {
      outsideTransactions(callback);
    } catch (error) {
      this.#logger.error({ err: error, channel }, "a listener of a database notification failed");
    }
  }
}
