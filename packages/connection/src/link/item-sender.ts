import { checkShape, encodeValue, UnexpectedFrameError } from "@holdfast/protocol";
import type { StreamDefinition } from "@holdfast/protocol/contract";

export interface ItemSenderOptions {
  readonly definition: StreamDefinition;
  /** Bytes that may be on their way or unread. */
  readonly windowBytes: number;
  /** Whether the connection holds more unsent bytes than it should; `wake` is called when that is over. */
  readonly isCongested: () => boolean;
  readonly send: (payload: Uint8Array) => void;
}

/**
 * The sender's end of a stream: takes one item after the other from its source, and the next one only when there is
 * room on the way to the reader. So a stream costs one window of memory, however long it is and however slow its reader.
 */
export class ItemSender {
  readonly #options: ItemSenderOptions;
  #sentBytes = 0;
  /** What the reader says that it has read. */
  #readBytes = 0;
  #stopped: { readonly reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(options: ItemSenderOptions) {
    this.#options = options;
  }

  /**
   * Opens the source at once, sends all its items and returns how many there were.
   * @throws InvalidMessageError for an item that does not fit; what the source throws, also while it is opened; the
   * reason given to `stop`. The source is ended in each case.
   */
  async run(open: () => AsyncIterable<unknown>): Promise<number> {
    const { definition, send } = this.#options;
    let count = 0;
    for await (const item of open()) {
      if (!this.#hasRoom) await this.#room();
      if (this.#stopped !== undefined) throw this.#stopped.reason;
      checkShape(definition.item, item, definition.name, "item");
      const payload = encodeValue([count, item]);
      send(payload);
      this.#sentBytes += payload.length;
      count += 1;
    }
    return count;
  }

  /**
   * The reader has read so many bytes since the stream began, a whole number. One that was overtaken by a later one counts
   * for nothing.
   * @throws UnexpectedFrameError when that is more than was sent.
   */
  credit(readBytes: number): void {
    if (readBytes > this.#sentBytes)
      throw new UnexpectedFrameError("credit", `for more than ${this.#options.definition.name} sent`);
    this.#readBytes = Math.max(this.#readBytes, readBytes);
    this.wake();
  }

  /** Looks again whether there is room. */
  wake(): void {
    if (!this.#hasRoom && this.#stopped === undefined) return;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Nobody reads any more. */
  stop(reason: unknown): void {
    this.#stopped ??= { reason };
    this.wake();
  }

  get #hasRoom(): boolean {
    return this.#sentBytes - this.#readBytes < this.#options.windowBytes && !this.#options.isCongested();
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.wake();
    });
  }
}
