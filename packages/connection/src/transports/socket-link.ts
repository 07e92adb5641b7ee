import type { Socket } from "node:net";
import type { Clock, Timer } from "@holdfast/kernel";
import { isHoldfastError } from "@holdfast/kernel";
import { FRAME_MAX_BYTES, FrameSplitter, giveBack } from "@holdfast/protocol";
import { ConnectionLostError } from "../errors.ts";
import type { Link } from "../transport.ts";

export interface SocketLinkOptions {
  readonly clock: Clock;
  readonly remoteAddress: string;
  /** What an error of the socket means once the link is open. Default: ConnectionLostError. */
  readonly toError?: (address: string, error: Error) => Error;
}

/** How long a polite close may take before the socket is destroyed. */
const CLOSE_MAX_MS = 2_000;
/** Up to here frames are copied into one buffer: one system call, cheaper than a vector of many small parts. */
const COPY_MAX_BYTES = 64 * 1024;

/**
 * After so many turns in a row with one frame each, a frame that is alone no longer waits for the end of its turn: the
 * wait cost a request and its answer 3 % of their way from process to process and back.
 */
const SINGLES_COUNT = 8;

/** A link over a connected stream socket, plain or TLS. */
export class SocketLink implements Link {
  readonly remoteAddress: string;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #splitter: FrameSplitter;
  /** Sent in this turn of the event loop, to be written together at its end. */
  #outgoing: Uint8Array[] = [];
  #outgoingBytes = 0;
  #isFlushPlanned = false;
  /** Frames sent in this turn, written or not. */
  #turnCount = 0;
  /** Turns in a row in which one frame was sent. */
  #singlesCount = 0;
  #isClosing = false;
  #closeTimer: Timer | undefined;
  #error: Error | undefined;
  #closedWith: { readonly error: Error | undefined } | undefined;
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #onClose: ((error: Error | undefined) => void) | undefined;
  #onDrain: (() => void) | undefined;

  constructor(socket: Socket, options: SocketLinkOptions) {
    this.remoteAddress = options.remoteAddress;
    this.#socket = socket;
    this.#clock = options.clock;
    this.#splitter = new FrameSplitter({ frameMaxBytes: FRAME_MAX_BYTES });
    socket.on("error", (error) => {
      this.#error ??= isHoldfastError(error) ? error : (options.toError ?? lostBy)(this.remoteAddress, error);
    });
    socket.on("end", () => {
      if (!this.#splitter.isEmpty) {
        this.#error ??= new ConnectionLostError(this.remoteAddress, "it ended in the middle of a frame");
      }
    });
    socket.on("close", () => {
      this.#closeTimer?.cancel();
      this.#outgoing = [];
      this.#outgoingBytes = 0;
      this.#closedWith = { error: this.#error };
      this.#onClose?.(this.#error);
    });
  }

  get bufferedBytes(): number {
    return this.#outgoingBytes + this.#socket.writableLength;
  }

  send(frame: Uint8Array, isAlone = false): void {
    if (this.#isClosing || this.#socket.destroyed) return;
    this.#turnCount += 1;
    if (isAlone && this.#turnCount === 1 && this.#singlesCount >= SINGLES_COUNT && this.#socket.writable) {
      this.#socket.write(frame, this.#onSingleWritten);
      // The operating system has a copy of all of it.
      if (this.#socket.writableLength === 0) giveBack(frame);
      return;
    }
    this.#outgoing.push(frame);
    this.#outgoingBytes += frame.length;
    if (this.#isFlushPlanned) return;
    this.#isFlushPlanned = true;
    // Asked for by a promise callback, as nearly always, it comes after all that are due now: the answers of a whole
    // burst of requests leave together.
    process.nextTick(this.#flush);
  }

  onDrain(listener: () => void): void {
    this.#onDrain = listener;
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    const isFirst = this.#onFrame === undefined;
    this.#onFrame = listener;
    if (!isFirst) return;
    // Reading starts with the first receiver; until then the operating system keeps what arrives.
    this.#socket.on("data", (chunk: Uint8Array) => this.receive(chunk));
    this.#socket.resume();
  }

  limitFrames(frameMaxBytes: number): void {
    this.#splitter.frameMaxBytes = frameMaxBytes;
  }

  onClose(listener: (error: Error | undefined) => void): void {
    this.#onClose = listener;
    if (this.#closedWith !== undefined) listener(this.#closedWith.error);
  }

  close(): void {
    if (this.#isClosing || this.#socket.destroyed) return;
    this.#flush();
    this.#isClosing = true;
    this.#socket.end();
    // Without a reader the end of the other side would never be noticed.
    this.#socket.resume();
    this.#closeTimer = this.#clock.schedule(CLOSE_MAX_MS, () => this.#socket.destroy(), { unref: true });
  }

  destroy(error?: Error): void {
    if (this.#socket.destroyed) return;
    this.#isClosing = true;
    if (error !== undefined) this.#error ??= error;
    this.#socket.destroy();
  }

  /** Takes what was read, also from a socket that reads into a buffer of its own and emits nothing. Keeps views of it. */
  receive(chunk: Uint8Array): void {
    if (this.#socket.destroyed) return;
    try {
      this.#splitter.push(chunk, (frame) => {
        if (!this.#socket.destroyed) this.#onFrame?.(frame);
      });
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  readonly #flush = (): void => {
    this.#isFlushPlanned = false;
    this.#singlesCount = this.#turnCount === 1 ? this.#singlesCount + 1 : 0;
    this.#turnCount = 0;
    const frames = this.#outgoing;
    if (frames.length === 0 || !this.#socket.writable) return;
    const size = this.#outgoingBytes;
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    if (frames.length === 1) {
      this.#socket.write(frames[0] as Uint8Array, this.#onWritten);
    } else if (size <= COPY_MAX_BYTES) {
      this.#socket.write(Buffer.concat(frames, size), this.#onWritten);
    } else {
      this.#socket.cork();
      for (const frame of frames) this.#socket.write(frame);
      this.#socket.write(EMPTY, this.#onWritten);
      this.#socket.uncork();
    }
  };

  /** Comes by the tick after the write, so at the end of its turn, or later where the other side does not read. */
  readonly #onSingleWritten = (): void => {
    if (!this.#isFlushPlanned) this.#turnCount = 0;
    this.#onWritten();
  };

  readonly #onWritten = (): void => {
    if (this.bufferedBytes === 0) this.#onDrain?.();
  };
}

const EMPTY = new Uint8Array(0);

export const lostBy = (address: string, error: Error): Error =>
  new ConnectionLostError(address, error.message, { cause: error });
