import { type Abortable, type Clock, withTimeout } from "@holdfast/kernel";
import type { PositionSource } from "./cache-options.ts";
import type { CachePosition } from "./shared-store.ts";

const TIMEOUT_MS = 1_000;

/**
 * Where the database is now, after a second at most: a source that hangs must not keep anybody waiting, also when it
 * ignores its signal.
 * @throws TimeoutError, what the source throws, signal.reason.
 */
export const askPositionSource = (
  clock: Clock,
  positions: PositionSource,
  options: Abortable = {},
): Promise<CachePosition> =>
  withTimeout(
    clock,
    { operation: "position of the database", timeoutMs: TIMEOUT_MS, signal: options.signal },
    (signal) => positions.current({ signal }),
  );
