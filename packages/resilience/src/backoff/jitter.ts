import { InvalidInputError, type Random } from "@holdfast/kernel";
import { checkNumber } from "../option-checks.ts";

/**
 * The random part of a pause. `nominal` is the pause that the strategy computed, its cap applied.
 * - `none`: exactly the nominal pause.
 * - `full`: uniform in [0, nominal]. Least total work under contention.
 * - `equal`: uniform in [nominal / 2, nominal].
 * - `{ addShareMax }`: uniform in [nominal, nominal × (1 + addShareMax)]: never shorter than nominal, so it may
 *   exceed the cap by that share. For protocols that promise a least pause.
 * - `{ spreadMs }`: nominal ± spreadMs, never below 10 ms (or the cap, if that is smaller) and never above the cap.
 *
 * Full and equal jitter are from the AWS Architecture Blog, "Exponential Backoff And Jitter".
 */
export type Jitter =
  | "none"
  | "full"
  | "equal"
  | { readonly addShareMax: number }
  | { readonly spreadMs: number };

/** The shortest pause of `spreadMs` jitter: a negative draw must not turn a pause into a busy loop. */
const SPREAD_FLOOR_MS = 10;

type JitterFunction = (nominalMs: number, capMs: number, random: Random) => number;

const byName: Readonly<Record<"none" | "full" | "equal", JitterFunction>> = {
  none: (nominalMs) => nominalMs,
  full: (nominalMs, _capMs, random) => random.next() * nominalMs,
  equal: (nominalMs, _capMs, random) => nominalMs / 2 + (random.next() * nominalMs) / 2,
};

/** Checks a jitter option and gives the function that applies it. */
export const jitterFunction = (field: string, jitter: Jitter): JitterFunction => {
  if (typeof jitter === "string") {
    const found = Object.hasOwn(byName, jitter) ? byName[jitter] : undefined;
    if (found !== undefined) return found;
  } else if (jitter !== null && typeof jitter === "object" && "addShareMax" in jitter) {
    const share = checkNumber(`${field}.addShareMax`, jitter.addShareMax, { min: 0, max: 10 });
    return (nominalMs, _capMs, random) => nominalMs * (1 + random.next() * share);
  } else if (jitter !== null && typeof jitter === "object" && "spreadMs" in jitter) {
    const spreadMs = checkNumber(`${field}.spreadMs`, jitter.spreadMs, { min: 0 });
    return (nominalMs, capMs, random) => {
      const drawn = nominalMs + (random.next() * 2 - 1) * spreadMs;
      return Math.min(Math.max(drawn, SPREAD_FLOOR_MS), capMs);
    };
  }
  throw new InvalidInputError(field, jitter, "none, full, equal, { addShareMax } or { spreadMs }");
};
