import { deflateSync, inflateSync } from "node:zlib";
import type { Compression } from "@holdfast/protocol";

/** Level 1: on job messages within a tenth of the default level's ratio at a third of its time. */
const LEVEL = 1;

/**
 * Zlib's deflate with its own checksum. Synchronous, because frames must keep their order and the largest
 * takes some tens of milliseconds at most.
 */
export const deflate: Compression = {
  name: "deflate",
  compress: (bytes) => deflateSync(bytes, { level: LEVEL }),
  decompress: (bytes, sizeMaxBytes) => {
    // With `info` the call tells how much input it used: zlib itself ignores what follows the end.
    const { buffer, engine } = inflateSync(bytes, {
      maxOutputLength: Math.max(1, sizeMaxBytes),
      info: true,
    }) as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } };
    if (engine.bytesWritten !== bytes.length) throw new Error("bytes follow the end of the compressed data");
    return buffer;
  },
};
