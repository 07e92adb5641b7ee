import { GCProfiler } from "node:v8";
import { median } from "./median.ts";

/** Does its work so many times, one after the other. */
export type Contender = (count: number) => Promise<void> | void;

export interface InterleavedOptions {
  /** How often each contender does its work in one round. */
  readonly count: number;
  /** Rounds that count, after one that does not. Default 9. */
  readonly rounds?: number;
}

/**
 * Lets contenders take turns in one process, so that a disturbance of the machine meets all of them, and gives
 * the median of each one's rounds in nanoseconds for one piece of work. The order turns round by round.
 */
export const interleaved = async <Name extends string>(
  contenders: Readonly<Record<Name, Contender>>,
  options: InterleavedOptions,
): Promise<Record<Name, number>> => {
  const names = Object.keys(contenders) as Name[];
  const rounds = options.rounds ?? 9;
  const samples = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(turn + round + names.length) % names.length] as Name;
      globalThis.gc?.();
      const startedAt = performance.now();
      await contenders[name](options.count);
      const nanoseconds = ((performance.now() - startedAt) * 1e6) / options.count;
      if (round >= 0) samples.get(name)?.push(nanoseconds);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(samples.get(name) ?? [])])) as Record<
    Name,
    number
  >;
};

/** Bytes that one piece of work allocates, garbage included: what the heap grew by between its collections. */
export const allocatedBytes = async (contender: Contender, count: number): Promise<number> => {
  await contender(count);
  globalThis.gc?.();
  const profiler = new GCProfiler();
  profiler.start();
  const before = process.memoryUsage().heapUsed;
  await contender(count);
  const after = process.memoryUsage().heapUsed;
  const { statistics } = profiler.stop();
  let allocated = 0;
  let level = before;
  for (const { beforeGC, afterGC } of statistics) {
    allocated += beforeGC.heapStatistics.usedHeapSize - level;
    level = afterGC.heapStatistics.usedHeapSize;
  }
  return (allocated + after - level) / count;
};
