import type { Abortable, Clock } from "@holdfast/kernel";
import { formatAddress, parseAddress } from "../address.ts";
import { AddressInUseError, ConnectionLostError, ConnectionRefusedError } from "../errors.ts";
import type { Link, Listener, Transport } from "../transport.ts";

export interface MemoryNetworkOptions {
  readonly clock: Clock;
  /** One-way delay of every frame, milliseconds. Default 0: frames arrive in the next turn of promise callbacks. */
  readonly latencyMs?: number;
}

/** First port handed out for port 0. */
const FREE_PORTS_START = 40_000;

/**
 * A network inside one process: whole frames, in order, without loss, without sockets. Given the same calls
 * it delivers in the same order on every run. Without latency a frame arrives before any timer fires, so
 * two parties that do nothing but ask each other never let a timer in.
 */
export const createMemoryNetwork = (options: MemoryNetworkOptions): Transport => {
  const listeners = new Map<string, (link: Link) => void>();
  let nextPort = FREE_PORTS_START;
  let nextLink = 1;

  const deliver = (callback: () => void): void => {
    if (options.latencyMs === undefined || options.latencyMs <= 0) queueMicrotask(callback);
    else options.clock.schedule(options.latencyMs, callback);
  };

  return {
    kind: "memory",
    async dial(address: string, { signal }: Abortable = {}): Promise<Link> {
      signal?.throwIfAborted();
      const name = formatAddress(parseAddress(address));
      await new Promise<void>((resolve) => deliver(resolve));
      signal?.throwIfAborted();
      const accept = listeners.get(name);
      if (accept === undefined) throw new ConnectionRefusedError(name);
      const near = new MemoryLink(name, deliver);
      const far = new MemoryLink(`memory-${nextLink++}`, deliver);
      near.join(far);
      far.join(near);
      accept(far);
      return near;
    },
    async listen(address: string, onLink: (link: Link) => void): Promise<Listener> {
      const wanted = parseAddress(address, { field: "listen" });
      let name = formatAddress(wanted);
      if (wanted.port === 0) {
        do name = formatAddress({ host: wanted.host, port: nextPort++ });
        while (listeners.has(name));
      }
      if (listeners.has(name)) throw new AddressInUseError(name);
      listeners.set(name, onLink);
      const close = async (): Promise<void> => {
        if (listeners.get(name) === onLink) listeners.delete(name);
      };
      return { address: name, close, [Symbol.asyncDispose]: close };
    },
  };
};

class MemoryLink implements Link {
  readonly remoteAddress: string;
  readonly #deliver: (callback: () => void) => void;
  #other: MemoryLink | undefined;
  #state: "open" | "closing" | "destroyed" | "closed" = "open";
  /** What is on its way to us and not yet received; one delivery empties it in order. */
  #inbox: (Uint8Array | { readonly end: Error | undefined })[] = [];
  #isDelivering = false;
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #onClose: ((error: Error | undefined) => void) | undefined;
  #closedWith: { readonly error: Error | undefined } | undefined;

  constructor(remoteAddress: string, deliver: (callback: () => void) => void) {
    this.remoteAddress = remoteAddress;
    this.#deliver = deliver;
  }

  get bufferedBytes(): number {
    return 0;
  }

  join(other: MemoryLink): void {
    this.#other = other;
  }

  send(frame: Uint8Array): void {
    if (this.#state === "open") this.#other?.put(frame);
  }

  onDrain(): void {
    // Nothing is ever buffered, so there is nothing to report.
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    this.#onFrame = listener;
    if (this.#inbox.length > 0) this.#wake();
  }

  onClose(listener: (error: Error | undefined) => void): void {
    this.#onClose = listener;
    const closed = this.#closedWith;
    if (closed !== undefined) listener(closed.error);
  }

  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#other?.put({ end: undefined });
    // Our own end closes when the other side has seen everything that we sent, as with a socket.
    this.#deliver(() => this.#finish(undefined));
  }

  destroy(error?: Error): void {
    if (this.#state === "closed" || this.#state === "destroyed") return;
    this.#state = "destroyed";
    // Nothing that is on its way to us counts any more, however long it still travels.
    this.#inbox = [];
    queueMicrotask(() => this.#finish(error));
    const other = this.#other;
    other?.put({ end: new ConnectionLostError(other.remoteAddress, "the other side dropped it") });
  }

  put(item: Uint8Array | { readonly end: Error | undefined }): void {
    if (this.#state === "closed" || this.#state === "destroyed") return;
    this.#inbox.push(item);
    this.#wake();
  }

  #wake(): void {
    if (this.#isDelivering || this.#onFrame === undefined) return;
    this.#isDelivering = true;
    this.#deliver(() => {
      this.#isDelivering = false;
      const items = this.#inbox;
      this.#inbox = [];
      for (const item of items) {
        if (this.#state === "closed" || this.#state === "destroyed") return;
        if (item instanceof Uint8Array) this.#onFrame?.(item);
        else this.#finish(item.end);
      }
    });
  }

  #finish(error: Error | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#inbox = [];
    this.#closedWith = { error };
    this.#onClose?.(error);
  }
}
