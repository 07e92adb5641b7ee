import { join } from "node:path";
import { openEmbedded, openPostgres } from "@holdfast/data";
import { makeTempDirectory, startPostgres, startRedis } from "@holdfast/testkit";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";
import { startBullmq } from "./submit/bullmq.ts";
import { startGraphile } from "./submit/graphile.ts";
import type { JobRunner } from "./submit/job-runner.ts";
import { startCell } from "./submit/our-cell.ts";

const EMBEDDED = "ours on PGlite";
const GRAPHILE = "graphile-worker@0.17.3";
const BULLMQ = "bullmq@6.7.0";
const OURS = "ours";

const ROUNDS = 3;

const CONDITIONS =
  "Everything but the servers in one process: gate, manager, two workers of two threads each and client, as " +
  "`holdfast dev` starts them, over TCP on loopback; peers with their worker and their caller. PostgreSQL flushes " +
  "each commit, Redis each write (appendfsync always; BullMQ asks for nothing, Redis by itself would save now and " +
  "then and lose what came in between; BullMQ talks through node-redis). Peers add whatever was asked for in one turn of the event loop in one " +
  "call, and delete what is done; graphile-worker reports completion before it is stored, and ours keeps input, " +
  "log and result of every job, twice: at the gate and at the manager.";

/** Median of the rounds, and percentiles over all of them. */
interface Figures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** Keeps `inFlight` jobs under way in turns of all runners. */
const measure = async (
  runners: Readonly<Record<string, JobRunner>>,
  options: { readonly count: number; readonly inFlight: number },
): Promise<Readonly<Record<string, Figures>>> => {
  const latencies = new Map<string, number[]>();
  const contenders = Object.entries(runners).map(([name, runner]): [string, Contender] => [
    name,
    async (count) => {
      const round: number[] = [];
      let started = 0;
      const caller = async (): Promise<void> => {
        while (started < count) {
          started += 1;
          const startedAt = performance.now();
          await runner.run();
          round.push(performance.now() - startedAt);
        }
      };
      await Promise.all(Array.from({ length: options.inFlight }, caller));
      const known = latencies.get(name);
      // The first round only warms up.
      if (known === undefined) latencies.set(name, []);
      else known.push(...round);
    },
  ]);
  const medians = await interleaved(Object.fromEntries(contenders), { count: options.count, rounds: ROUNDS });
  return Object.fromEntries(
    Object.entries(medians).map(([name, nanoseconds]) => {
      const sorted = [...(latencies.get(name) ?? [])].sort((a, b) => a - b);
      const figures = {
        perSecond: Math.round(1e9 / nanoseconds),
        p50Ms: rounded(percentile(sorted, 0.5)),
        p99Ms: rounded(percentile(sorted, 0.99)),
      };
      return [name, figures];
    }),
  );
};

const rounded = (milliseconds: number): number => Math.round(milliseconds * 100) / 100;

const result = (
  unit: string,
  key: keyof Figures,
  figures: Readonly<Record<string, Figures>>,
  notes: string,
): BenchResult => {
  const all = Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, value[key]]));
  const { [OURS]: ours = Number.NaN, [EMBEDDED]: embedded, ...peers } = all;
  return {
    unit,
    ours,
    peers,
    higherIsBetter: key === "perSecond",
    notes: `${notes} On the embedded database: ${embedded}.`,
  };
};

const bench: Bench = {
  name: "submit",
  description: "How soon is a no-op job done, and how many a second, stored durably at every step?",
  run: async () => {
    await using postgres = await startPostgres({ settings: { fsync: true, shared_buffers: "128MB" } });
    await using redis = await startRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
    await using directory = await makeTempDirectory("holdfast-bench-");
    await using database = await openPostgres({ url: await postgres.createDatabase("ours") });
    await using embedded = await openEmbedded({ dataDir: join(directory.path, "data") });
    await using onPostgres = await startCell(database);
    await using onEmbedded = await startCell(embedded);
    await using graphile = await startGraphile(await postgres.createDatabase("graphile"));
    await using bullmq = await startBullmq(redis.port);
    const runners = {
      [OURS]: onPostgres,
      [EMBEDDED]: onEmbedded,
      [GRAPHILE]: graphile,
      [BULLMQ]: bullmq,
    };
    const idle = await measure(runners, { count: 50, inFlight: 1 });
    // Long enough that the start of a round, with everything fresh, does not make the figure.
    const busy = await measure(runners, { count: 2_000, inFlight: 500 });
    return [
      result("ms to the result, p50, one job at a time", "p50Ms", idle, ""),
      result("ms to the result, p99, one job at a time", "p99Ms", idle, ""),
      result("ms to the result, p50, 500 in flight", "p50Ms", busy, ""),
      result("ms to the result, p99, 500 in flight", "p99Ms", busy, ""),
      result("jobs/s, 500 in flight", "perSecond", busy, CONDITIONS),
    ];
  },
};

export default bench;
