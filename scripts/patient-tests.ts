import { vi } from "vitest";

/** Below the limit of a test, so that what was not seen is told instead of a time that ran out. */
const PATIENCE_MS = 30_000;

// A test that waits for a condition says nothing about speed: on a busy machine a second passes quickly.
const { waitFor } = vi;
vi.waitFor = (callback, options = {}) => {
  const { timeout = 0, interval } = typeof options === "number" ? { timeout: options } : options;
  return waitFor(callback, {
    timeout: Math.max(timeout, PATIENCE_MS),
    ...(interval === undefined ? {} : { interval }),
  });
};
