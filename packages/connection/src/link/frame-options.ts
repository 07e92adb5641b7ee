import type { FrameOptions } from "@holdfast/protocol";
import type { EndpointSettings } from "./settings.ts";

/** How many payloads of a connection became smaller, and how many would not have. */
export interface CompressionCounts {
  compressedCount: number;
  incompressibleCount: number;
}

/**
 * How the frames of one connection are written and read.
 * @param settings `compression` undefined: the two sides did not agree on it, and everything goes as it is.
 * @param counts Counted up with every frame that is large enough to be compressed.
 */
export const frameOptionsOf = (
  { compression, frameMaxBytes }: Pick<EndpointSettings, "compression" | "frameMaxBytes">,
  counts: CompressionCounts,
): FrameOptions =>
  compression === undefined
    ? { frameMaxBytes }
    : {
        frameMaxBytes,
        compression: compression.method,
        compressionMinBytes: compression.minBytes,
        compressionCounts: counts,
      };
