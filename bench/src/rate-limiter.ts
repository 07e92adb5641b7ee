import { KeyedRateLimiter } from "@holdfast/resilience";
import { RateLimiterMemory } from "rate-limiter-flexible";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";

const FLEXIBLE = "rate-limiter-flexible@11.4.0";
const KEY_COUNT = 1_000;
const WINDOW_MS = 10_000;

const keys = Array.from({ length: KEY_COUNT }, (_, index) => `client-${index}`);
const keyOf = (index: number): string => keys[index % KEY_COUNT] as string;

/** Asks for one permit after another, key by key. The peer answers by a promise, so it is awaited. */
const contenders = (limit: number): { readonly ours: Contender; readonly theirs: Contender } => {
  const ours = KeyedRateLimiter.slidingWindow({ limit, windowMs: WINDOW_MS, keyMaxCount: KEY_COUNT });
  const theirs = new RateLimiterMemory({ points: limit, duration: WINDOW_MS / 1_000 });
  return {
    ours: (count) => {
      for (let index = 0; index < count; index += 1) ours.tryTake(keyOf(index));
    },
    theirs: async (count) => {
      for (let index = 0; index < count; index += 1) {
        try {
          await theirs.consume(keyOf(index));
        } catch {
          // Refused: that is how this peer says it.
        }
      }
    },
  };
};

const compare = async (limit: number, notes: string): Promise<BenchResult> => {
  const { ours, theirs } = await interleaved(contenders(limit), { count: 50_000 });
  return {
    unit: "decisions/s",
    ours: Math.round(1e9 / ours),
    peers: { [FLEXIBLE]: Math.round(1e9 / theirs) },
    higherIsBetter: true,
    notes,
  };
};

const bench: Bench = {
  name: "rate-limiter",
  description: "How many decisions a second does a limiter over 1,000 keys in memory make?",
  run: async () => [
    await compare(
      10,
      "Nearly every request is refused, with the computed wait. Median of 9 interleaved rounds.",
    ),
    await compare(
      1_000_000,
      "Every request is granted. Median of 9 interleaved rounds of 50,000. Ours is an exact sliding window with a " +
        "bounded number of keys and answers at once; the peer counts fixed windows, keeps every key until its timer " +
        "fires and answers by a promise.",
    ),
  ],
};

export default bench;
