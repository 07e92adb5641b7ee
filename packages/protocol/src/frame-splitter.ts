import { LENGTH_BYTES, readFrameLength } from "./frame.ts";

/**
 * Cuts a byte stream into encoded frames, however the stream was split or glued on its way.
 *
 * A frame that lies whole in one chunk is handed out as a view of that chunk; only what spans chunks is
 * copied. The limit is checked on the length field alone, and memory grows with the bytes that arrive, never
 * with the size that is announced: a stranger who announces 8 MiB and sends ten bytes costs 64 KiB.
 */
export class FrameSplitter {
  /** Largest value of the length field; may be changed between two frames. */
  frameMaxBytes: number;
  /** The start of an unfinished frame, in the first `#filled` bytes. */
  #partial: Uint8Array = EMPTY;
  #filled = 0;
  /** Bytes of the unfinished frame, its length field included; 0 while that field is not complete. */
  #wanted = 0;

  constructor(options: { readonly frameMaxBytes: number }) {
    this.frameMaxBytes = options.frameMaxBytes;
  }

  /** Whether the stream stands between two frames. */
  get isEmpty(): boolean {
    return this.#filled === 0;
  }

  /**
   * Takes the next bytes and calls back once for each frame that they complete. Keeps views of `chunk`, so
   * its memory must not be reused.
   * @throws InvalidFrameError, FrameTooLargeError: the stream is beyond repair; do not push again.
   */
  push(chunk: Uint8Array, onFrame: (frame: Uint8Array) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#filled > 0) {
        at += this.#fill(chunk, at, onFrame);
        continue;
      }
      const available = chunk.length - at;
      if (available >= LENGTH_BYTES) {
        const size = LENGTH_BYTES + readFrameLength(chunk, at, this.frameMaxBytes);
        if (available >= size) {
          onFrame(size === chunk.length ? chunk : chunk.subarray(at, at + size));
          at += size;
          continue;
        }
      }
      at += this.#fill(chunk, at, onFrame);
    }
  }

  /** Adds to the unfinished frame what `chunk` has of it; returns how many bytes were taken. */
  #fill(chunk: Uint8Array, at: number, onFrame: (frame: Uint8Array) => void): number {
    const missing = (this.#wanted === 0 ? LENGTH_BYTES : this.#wanted) - this.#filled;
    const taken = Math.min(missing, chunk.length - at);
    this.#reserve(this.#filled + taken);
    this.#partial.set(chunk.subarray(at, at + taken), this.#filled);
    this.#filled += taken;
    if (taken < missing) return taken;
    if (this.#wanted === 0) {
      this.#wanted = LENGTH_BYTES + readFrameLength(this.#partial, 0, this.frameMaxBytes);
      return taken;
    }
    const frame = this.#partial.subarray(0, this.#wanted);
    this.#partial = EMPTY;
    this.#filled = 0;
    this.#wanted = 0;
    onFrame(frame);
    return taken;
  }

  #reserve(size: number): void {
    if (size <= this.#partial.length) return;
    const wanted = this.#wanted === 0 ? FIRST_BYTES : this.#wanted;
    // Doubling copies each byte less than twice; what is small enough is taken at once.
    const capacity = Math.max(size, Math.min(wanted, Math.max(SMALL_BYTES, this.#partial.length * 2)));
    const grown = new Uint8Array(capacity);
    grown.set(this.#partial.subarray(0, this.#filled));
    this.#partial = grown;
  }
}

const EMPTY = new Uint8Array(0);
/** While the length is not known: room for the length field and a small frame. */
const FIRST_BYTES = 64;
/** Reserved at once for a frame that announces at least as much. */
const SMALL_BYTES = 64 * 1024;
