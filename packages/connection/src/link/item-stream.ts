import { checkShape, decodeValue, InvalidMessageError, UnexpectedFrameError } from "@holdfast/protocol";
import { type ItemOf, type StreamDefinition, streamEnd } from "@holdfast/protocol/contract";
import { InFlight, type InFlightOwner } from "./in-flight.ts";

interface Arrived<T> {
  readonly item: T;
  readonly byteCount: number;
}

interface Reader<T> {
  readonly resolve: (result: IteratorResult<T>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * The reader's end of a stream. Items are numbered, so that a path that repeats or reorders frames changes nothing;
 * what has arrived and was not read is bounded by the window, which grows with what is read.
 */
export class ItemStream<D extends StreamDefinition>
  extends InFlight
  implements AsyncIterableIterator<ItemOf<D>>
{
  readonly #definition: D;
  readonly #windowBytes: number;
  /** Arrived and not read, by number: those from `#nextIndex` on, nearly always without a gap. */
  readonly #arrived = new Map<number, Arrived<ItemOf<D>>>();
  readonly #readers: Reader<ItemOf<D>>[] = [];
  #nextIndex = 0;
  /** How many items there are in all, once that is known. */
  #endIndex = Number.POSITIVE_INFINITY;
  #arrivedBytes = 0;
  #readBytes = 0;
  #creditedBytes = 0;
  #isOver = false;
  #error: { readonly reason: unknown } | undefined;

  constructor(
    owner: InFlightOwner,
    sequence: bigint,
    definition: D,
    options: { readonly repeatable: boolean; readonly timeoutMs: number; readonly windowBytes: number },
  ) {
    super(owner, sequence, definition.name, options);
    this.#definition = definition;
    this.#windowBytes = options.windowBytes;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<ItemOf<D>>> {
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#serve();
      if (this.#readers.length === 1) this.owner.startWaiting(this);
    });
  }

  return(): Promise<IteratorResult<ItemOf<D>>> {
    this.#arrived.clear();
    this.#error = undefined;
    if (!this.#isOver) {
      this.#isOver = true;
      this.owner.giveUp(this, undefined);
    }
    this.#serve();
    return Promise.resolve(DONE);
  }

  /** @throws UnexpectedFrameError when the other side sends more than there is room for: the connection is over. */
  onItem(payload: Uint8Array): void {
    if (this.#isOver) return;
    const { item: schema } = this.#definition;
    let arrived: Arrived<ItemOf<D>>;
    let index: unknown;
    try {
      const value = decodeValue(payload);
      if (!Array.isArray(value) || !Number.isSafeInteger(value[0])) throw notAnItem(this.name);
      index = value[0];
      const item = checkShape(schema, value[1], this.name, "item") as ItemOf<D>;
      arrived = { item, byteCount: payload.length };
    } catch (error) {
      this.owner.giveUp(this, error);
      return;
    }
    const number = index as number;
    if (number < this.#nextIndex || this.#arrived.has(number)) return;
    if (this.#arrivedBytes >= this.#creditedBytes + this.#windowBytes) {
      throw new UnexpectedFrameError("item", `beyond the window of ${this.name}`);
    }
    this.#arrivedBytes += payload.length;
    this.#arrived.set(number, arrived);
    this.#serve();
  }

  override onAnswer(payload: Uint8Array): void {
    try {
      this.#endIndex = checkShape(streamEnd, decodeValue(payload), this.name, "end").count;
    } catch (error) {
      this.owner.giveUp(this, error);
      return;
    }
    if (this.#endIndex < this.#nextIndex + this.#arrived.size) {
      throw new UnexpectedFrameError("answer", `that counts fewer items than ${this.name} had`);
    }
    this.#serve();
  }

  override reject(reason: unknown): void {
    this.#isOver = true;
    if (reason !== undefined) this.#error = { reason };
    this.#serve();
  }

  /** What has arrived is not wanted either. */
  override onAbort(reason: unknown): void {
    this.#arrived.clear();
    super.onAbort(reason);
  }

  #serve(): void {
    for (let reader = this.#readers[0]; reader !== undefined; reader = this.#readers[0]) {
      const arrived = this.#arrived.get(this.#nextIndex);
      if (arrived !== undefined) this.#read(reader, arrived);
      else if (!this.#end(reader)) break;
      this.#readers.shift();
      this.cancelDeadline();
      if (this.#readers.length > 0) this.owner.startWaiting(this);
    }
    // Known before anyone asks for more: the stream must not count as in flight until its reader comes back.
    if (!this.#isOver && this.#nextIndex + this.#arrived.size >= this.#endIndex) this.#complete();
  }

  #read(reader: Reader<ItemOf<D>>, { byteCount, item }: Arrived<ItemOf<D>>): void {
    this.#arrived.delete(this.#nextIndex);
    this.#nextIndex += 1;
    this.#readBytes += byteCount;
    reader.resolve({ done: false, value: item });
    if (this.#isOver || this.#readBytes - this.#creditedBytes < this.#windowBytes / 2) return;
    this.#creditedBytes = this.#readBytes;
    this.owner.credit(this, this.#readBytes);
  }

  /** Whether the stream is over for the reader. */
  #end(reader: Reader<ItemOf<D>>): boolean {
    if (this.#error !== undefined) {
      reader.reject(this.#error.reason);
      this.#error = undefined;
      return true;
    }
    if (!this.#isOver && this.#nextIndex < this.#endIndex) return false;
    reader.resolve(DONE);
    return true;
  }

  #complete(): void {
    this.#isOver = true;
    this.owner.release(this);
  }
}

const DONE: IteratorResult<never> = { done: true, value: undefined };

const notAnItem = (name: string): InvalidMessageError =>
  new InvalidMessageError(name, "item", [
    { path: "", message: "must be an array of its number and its value" },
  ]);
