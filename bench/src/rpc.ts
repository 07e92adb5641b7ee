import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";
import { type Caller, startCallers } from "./rpc/callers.ts";

const GRPC = "@grpc/grpc-js@1.14.7";

interface Case {
  readonly bytes: number;
  readonly inFlight: number;
  readonly count: number;
}

// The one that the bench is named for comes last.
const CASES: readonly Case[] = [
  { bytes: 64, inFlight: 1, count: 1_500 },
  { bytes: 4_096, inFlight: 1, count: 1_500 },
  { bytes: 4_096, inFlight: 64, count: 8_000 },
  { bytes: 64, inFlight: 64, count: 8_000 },
];

/** Keeps so many requests in flight until all were answered; notes how long each took. */
const closedLoop =
  (call: Caller, { bytes, inFlight }: Case, samples: number[]): Contender =>
  async (count) => {
    const data = Buffer.alloc(bytes, 7);
    let left = count;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const startedAt = performance.now();
        await call(data);
        samples.push(performance.now() - startedAt);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
  };

const p99 = (samples: readonly number[]): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number((sorted[Math.ceil(0.99 * sorted.length) - 1] ?? Number.NaN).toFixed(3));
};

const run = async (): Promise<readonly BenchResult[]> => {
  await using callers = await startCallers();
  const results: BenchResult[] = [];
  for (const size of CASES) {
    const samples = { ours: [] as number[], grpc: [] as number[], bare: [] as number[] };
    const contenders = {
      ours: closedLoop(callers.ours, size, samples.ours),
      grpc: closedLoop(callers.grpc, size, samples.grpc),
      bare: closedLoop(callers.bare, size, samples.bare),
    };
    const took = await interleaved(contenders, { count: size.count });
    const what = `${size.bytes} bytes each way, ${size.inFlight} in flight, server in a process of its own.`;
    const share = Math.round((100 * took.bare) / took.ours);
    results.push({
      unit: "ms (p99)",
      ours: p99(samples.ours),
      peers: { [GRPC]: p99(samples.grpc) },
      higherIsBetter: false,
      notes: what,
    });
    results.push({
      unit: "requests/s",
      ours: Math.round(1e9 / took.ours),
      peers: { [GRPC]: Math.round(1e9 / took.grpc) },
      higherIsBetter: true,
      notes:
        `${what} Median of 9 interleaved rounds. Ours encodes MessagePack and checks every message against its ` +
        `schema on both sides; the peer carries bytes as they are. A bare socket echo with our frames makes ` +
        `${Math.round(1e9 / took.bare)}/s, of which we reach ${share} %.`,
    });
  }
  return results;
};

const bench: Bench = {
  name: "rpc",
  description: "How many requests a second go from one process to another and back?",
  run,
};

export default bench;
