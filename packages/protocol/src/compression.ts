/**
 * One way to make payloads smaller, negotiated by its name. A port, so that this package runs where there
 * is no zlib; `@holdfast/connection` brings the adapter for Node.
 */
export interface Compression {
  /** As it stands in the hello, for example `deflate`. */
  readonly name: string;
  compress(bytes: Uint8Array): Uint8Array;
  /**
   * @param sizeMaxBytes Inflating stops here, whatever the input asks for.
   * @throws Error when the result would be larger, or the input is damaged or has trailing bytes.
   */
  decompress(bytes: Uint8Array, sizeMaxBytes: number): Uint8Array;
}
