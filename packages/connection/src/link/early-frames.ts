import { type FrameType, UnexpectedFrameError } from "@holdfast/protocol";

const FRAMES_MAX_COUNT = 1_024;

/**
 * Frames that overtook `ready` on a path that reorders, kept until there is someone to take them. Who dials does not
 * know yet whom it talks to, so both their number and their bytes are bounded, and each is a copy: a view would keep
 * all that came with it.
 */
export class EarlyFrames {
  readonly #maxBytes: number;
  #frames: Uint8Array[] = [];
  #bytes = 0;

  /** @param options.frameMaxBytes All of them together may be as large as one frame. */
  constructor(options: { readonly frameMaxBytes: number }) {
    this.#maxBytes = options.frameMaxBytes;
  }

  /** @throws UnexpectedFrameError beyond a bound: the connection is over. */
  add(type: FrameType, bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (this.#frames.length >= FRAMES_MAX_COUNT || this.#bytes > this.#maxBytes) {
      this.#frames = [];
      const limits = `${FRAMES_MAX_COUNT} frames or ${this.#maxBytes} bytes`;
      throw new UnexpectedFrameError(type, `beyond ${limits} before the connection is ready`);
    }
    this.#frames.push(Uint8Array.from(bytes));
  }

  /** Hands them on in the order in which they came, and forgets them. */
  deliver(receive: (bytes: Uint8Array) => void): void {
    const frames = this.#frames;
    this.#frames = [];
    for (const bytes of frames) receive(bytes);
  }
}
