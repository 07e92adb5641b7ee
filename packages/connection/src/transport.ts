import type { Abortable } from "@holdfast/kernel";

/**
 * One open path between two nodes that carries whole frames. TCP and TLS links cut their byte stream into
 * frames; the memory link hands frames over; a simulated link may delay, drop, repeat or reorder them.
 */
export interface Link {
  /** For logs: `host:port` of the other side, or the name of a memory address. */
  readonly remoteAddress: string;
  /**
   * Hands one encoded frame to the path, with its memory: do not read it or send it again. Never blocks; watch
   * `bufferedBytes`. A no-op after close.
   * @param isAlone Hardly another frame will be sent in this turn of the event loop. Only for speed. Default false.
   */
  send(frame: Uint8Array, isAlone?: boolean): void;
  /** Bytes accepted by `send` and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /** Calls back each time `bufferedBytes` falls to zero. */
  onDrain(listener: () => void): void;
  /** Sets the one receiver. Frames that arrived before are kept and delivered first. */
  onFrame(listener: (frame: Uint8Array) => void): void;
  /**
   * Frames above this many bytes break the link with FrameTooLargeError, as soon as their length is known.
   * Links that are handed whole frames may leave it out: their receiver checks each frame anyway.
   */
  limitFrames?(frameMaxBytes: number): void;
  /** Called once, with the error when the path broke or carried something that is not a frame. */
  onClose(listener: (error: Error | undefined) => void): void;
  /** Sends what is buffered, then closes; `destroy` drops it. Both idempotent. */
  close(): void;
  destroy(error?: Error): void;
}

export interface Listener extends AsyncDisposable {
  /** The address to dial, with the real port when 0 was asked for. */
  readonly address: string;
  /** Stops taking links; those that are open stay. */
  close(): Promise<void>;
}

/** How nodes reach each other. Injected everywhere, so that a cluster can run over a simulated network. */
export interface Transport {
  readonly kind: "tcp" | "tls" | "memory" | "simulated";
  /**
   * @param address `host:port`.
   * @throws ConnectionRefusedError when nobody listens there, ConnectionTimeoutError at the limit (default
   * 5000 ms), NetworkError otherwise; the last two are retryable.
   */
  dial(address: string, options?: Abortable & { readonly timeoutMs?: number }): Promise<Link>;
  /**
   * @param address `host:port`; port 0 takes a free one.
   * @throws AddressInUseError naming the address.
   */
  listen(address: string, onLink: (link: Link) => void): Promise<Listener>;
}
