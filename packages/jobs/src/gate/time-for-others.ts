import type { RequestContext } from "@holdfast/connection";

/** Kept back of the asker's wait for what happens here and for the answer's way. */
const KEPT_BACK_MS = 500;
/** Also an asker in a hurry has others tried. */
const LEAST_MS = 100;

/**
 * How long others may take that are asked for an asker: what it waits, less the answer's way back, and from 100 ms to
 * `maxMs`. How long it waits is what it says itself: one that waits without an end, or says what is no number,
 * has `maxMs`.
 */
export const timeForOthersMs = (
  { timeoutMs }: Pick<RequestContext, "timeoutMs">,
  options: { readonly maxMs: number },
): number =>
  Number.isNaN(timeoutMs)
    ? options.maxMs
    : Math.min(options.maxMs, Math.max(LEAST_MS, timeoutMs - KEPT_BACK_MS));
