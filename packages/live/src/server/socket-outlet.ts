import type { Duplex } from "node:stream";
import type { Clock, Timer } from "@holdfast/kernel";
import type { WebSocket } from "ws";
import { CLOSE_CODES, type CloseReason } from "../model/close-codes.ts";
import type { LiveCounters } from "./metrics.ts";
import type { Outlet } from "./outlet.ts";

/** How long a client may take to answer our close before the socket is destroyed, milliseconds. */
const CLOSE_WAIT_MS = 5_000;
/** What a close frame has room for beside its code (RFC 6455, section 5.5). The engine throws at more. */
const REASON_MAX_BYTES = 123;

/**
 * Writes ready frames straight to the socket under a WebSocket. That leaves out the work per client that
 * `WebSocket.send` does (a header, two writes, a queue entry); it is allowed because extensions are off, so frames
 * are the same for everybody and the engine keeps no queue of its own.
 */
export class SocketOutlet implements Outlet {
  readonly #webSocket: WebSocket;
  readonly #socket: Duplex;
  readonly #queueMaxBytes: number;
  readonly #counters: LiveCounters;
  readonly #clock: Clock;
  #destroyTimer: Timer | undefined;
  #waiting: (() => void)[] = [];

  constructor(parts: {
    readonly webSocket: WebSocket;
    readonly socket: Duplex;
    readonly queueMaxBytes: number;
    readonly counters: LiveCounters;
    readonly clock: Clock;
  }) {
    this.#webSocket = parts.webSocket;
    this.#socket = parts.socket;
    this.#queueMaxBytes = parts.queueMaxBytes;
    this.#counters = parts.counters;
    this.#clock = parts.clock;
    this.#socket.on("drain", () => this.#wake());
    this.#webSocket.once("close", () => {
      this.#destroyTimer?.cancel();
      this.#wake();
    });
  }

  get isOpen(): boolean {
    return this.#webSocket.readyState === this.#webSocket.OPEN && !this.#socket.destroyed;
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  write(frame: Buffer): void {
    if (!this.isOpen) return;
    if (this.#socket.writableLength + frame.length > this.#queueMaxBytes) {
      this.#counters.slowCloses += 1;
      this.close("slow", `more than ${this.#queueMaxBytes} bytes wait to be read`);
      return;
    }
    this.#counters.bytesOut += frame.length;
    this.#socket.write(frame);
  }

  drained(): Promise<void> {
    if (!this.isOpen || !this.#socket.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  close(reason: CloseReason, text: string): void {
    if (this.#webSocket.readyState !== this.#webSocket.OPEN) return;
    this.#webSocket.close(CLOSE_CODES[reason], startOf(text, REASON_MAX_BYTES));
    this.#destroyTimer = this.#clock.schedule(CLOSE_WAIT_MS, () => this.#webSocket.terminate(), {
      unref: true,
    });
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** As many whole characters from the beginning of `text` as have room in so many bytes of UTF-8. */
const startOf = (text: string, maxBytes: number): string =>
  text.slice(0, new TextEncoder().encodeInto(text, new Uint8Array(maxBytes)).read);
