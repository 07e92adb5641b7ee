/** "PGCOPY\n\377\r\n\0", no flags, no header extension: the start of a binary COPY (manual, section "COPY"). */
const HEADER = Buffer.from("5047434f50590aff0d0a000000000000000000", "hex");
const TRAILER_BYTES = 2;

/**
 * Builds the bytes of a binary COPY in one buffer that grows as needed and is used again after `reset`.
 * Numbers are written as PostgreSQL's own send functions write them, so nothing is printed or parsed.
 */
export class CopyWriter {
  #buffer: Buffer;
  #view: DataView;
  #length = 0;

  constructor(capacityBytes: number) {
    this.#buffer = Buffer.allocUnsafe(capacityBytes);
    this.#view = viewOf(this.#buffer);
    this.reset();
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Starts over; what `finish` gave must not be used any more. */
  reset(): void {
    HEADER.copy(this.#buffer);
    this.#length = HEADER.length;
  }

  /** Gives up what was written after `length`, for example a row that was refused half-way. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** The whole COPY, a view of the buffer. */
  finish(): Uint8Array {
    this.#reserve(TRAILER_BYTES);
    this.#view.setInt16(this.#length, -1);
    return this.#buffer.subarray(0, this.#length + TRAILER_BYTES);
  }

  row(columnCount: number): void {
    this.#reserve(2);
    this.#view.setInt16(this.#length, columnCount);
    this.#length += 2;
  }

  null(): void {
    this.#reserve(4);
    this.#view.setInt32(this.#length, -1);
    this.#length += 4;
  }

  int32(value: number): void {
    const at = this.#field(4);
    this.#view.setInt32(at, value);
  }

  int64(value: bigint): void {
    const at = this.#field(8);
    this.#view.setBigInt64(at, value);
  }

  float64(value: number): void {
    const at = this.#field(8);
    this.#view.setFloat64(at, value);
  }

  boolean(value: boolean): void {
    const at = this.#field(1);
    this.#buffer[at] = value ? 1 : 0;
  }

  bytes(value: Uint8Array): void {
    const at = this.#field(value.length);
    this.#buffer.set(value, at);
  }

  /** @param prefix A byte that goes before the text: jsonb has its version there. */
  text(value: string, prefix?: number): void {
    const prefixBytes = prefix === undefined ? 0 : 1;
    // A character of JavaScript takes at most three bytes.
    this.#reserve(4 + prefixBytes + value.length * 3);
    const at = this.#length + 4;
    if (prefix !== undefined) this.#buffer[at] = prefix;
    const written = this.#buffer.write(value, at + prefixBytes);
    this.#view.setInt32(this.#length, written + prefixBytes);
    this.#length = at + prefixBytes + written;
  }

  /** Makes room for a field of so many bytes and hands out where to write them. */
  field(byteCount: number, write: (view: DataView, offset: number) => void): void {
    const at = this.#field(byteCount);
    write(this.#view, at);
  }

  #field(byteCount: number): number {
    this.#reserve(4 + byteCount);
    this.#view.setInt32(this.#length, byteCount);
    const at = this.#length + 4;
    this.#length = at + byteCount;
    return at;
  }

  #reserve(byteCount: number): void {
    const needed = this.#length + byteCount + TRAILER_BYTES;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
    this.#view = viewOf(larger);
  }
}

const viewOf = (buffer: Buffer): DataView =>
  new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
