import { openCache, openRedis } from "@holdfast/data";
import { systemClock } from "@holdfast/kernel";
import { startRedis } from "@holdfast/testkit";
import { BENTOCACHE, CACHEABLE, type CachePeer, openBentocache, openCacheable } from "./cache/peers.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";

const INSTANCES = 8;
const READERS = 1_000;
const ROUNDS = 15;
const LOAD_MS = 20;

type GetOrSet = (key: string, load: () => Promise<unknown>) => Promise<unknown>;

interface Herd {
  readonly name: string;
  /** One for each process, with connections and memory of its own. */
  readonly instances: readonly GetOrSet[];
  readonly close: () => Promise<void>;
}

const openOurs = async (port: number): Promise<Herd> => {
  const opened: { close(): Promise<void> }[] = [];
  const instances: GetOrSet[] = [];
  for (let index = 0; index < INSTANCES; index += 1) {
    const redis = openRedis({ url: `redis://127.0.0.1:${port}` });
    const cache = await openCache({ name: "herd", redis });
    opened.push(cache, redis);
    instances.push((key, load) => cache.get(key, { load }));
  }
  const close = async (): Promise<void> => {
    for (const each of opened) await each.close();
  };
  return { name: "ours", instances, close };
};

const openPeer = async (name: string, open: () => Promise<CachePeer>): Promise<Herd> => {
  const peers = await Promise.all(Array.from({ length: INSTANCES }, open));
  return {
    name,
    instances: peers.map((peer) => (key, load) => peer.getOrSet(key, load)),
    close: async () => {
      for (const peer of peers) await peer.close();
    },
  };
};

/** Everybody asks for one key that nobody has. */
const stampede = async (
  { instances }: Herd,
  key: string,
): Promise<{ readonly loadCount: number; readonly latencies: readonly number[] }> => {
  let loadCount = 0;
  const load = async (): Promise<unknown> => {
    loadCount += 1;
    await systemClock.sleep(LOAD_MS);
    return { key, rows: [1, 2, 3] };
  };
  const latencies = await Promise.all(
    Array.from({ length: READERS }, async (_, index) => {
      const startedAt = performance.now();
      await (instances[index % INSTANCES] as GetOrSet)(key, load);
      return performance.now() - startedAt;
    }),
  );
  return { loadCount, latencies };
};

const p99 = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return Number((sorted[Math.ceil(0.99 * sorted.length) - 1] ?? Number.NaN).toFixed(2));
};

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  const herds = [
    await openOurs(server.port),
    await openPeer(BENTOCACHE, () => openBentocache(server.port, "both", { serialize: true })),
    await openPeer(CACHEABLE, () => openCacheable(server.port, "both")),
  ];
  const loads = new Map<string, number>();
  const latencies = new Map<string, number[]>();
  for (let round = -2; round < ROUNDS; round += 1) {
    for (let turn = 0; turn < herds.length; turn += 1) {
      const herd = herds[(turn + round + herds.length) % herds.length] as Herd;
      const seen = await stampede(herd, `key-${round}`);
      if (round < 0) continue;
      loads.set(herd.name, (loads.get(herd.name) ?? 0) + seen.loadCount);
      latencies.set(herd.name, [...(latencies.get(herd.name) ?? []), ...seen.latencies]);
    }
  }
  for (const { close } of herds) await close();
  const what = `${READERS} readers in ${INSTANCES} instances ask at once for a key that is in neither level; a load takes ${LOAD_MS} ms, however many run.`;
  const loadsOf = (name: string): number => Number(((loads.get(name) ?? Number.NaN) / ROUNDS).toFixed(2));
  const p99Of = (name: string): number => p99(latencies.get(name) ?? []);
  return [
    {
      unit: "ms (p99)",
      ours: p99Of("ours"),
      peers: { [BENTOCACHE]: p99Of(BENTOCACHE), [CACHEABLE]: p99Of(CACHEABLE) },
      higherIsBetter: false,
      notes: `${what} Ours waits for the one load and is told of its end; the peers load in each instance.`,
    },
    {
      unit: "loads",
      ours: loadsOf("ours"),
      peers: { [BENTOCACHE]: loadsOf(BENTOCACHE), [CACHEABLE]: loadsOf(CACHEABLE) },
      higherIsBetter: false,
      notes: `${what} Loads of the source for each stampede. Neither peer has a lock across processes.`,
    },
  ];
};

const bench: Bench = {
  name: "cache-stampede",
  description:
    "How often is the source asked when a thousand readers in several processes miss at once, and how long do they wait?",
  run,
};

export default bench;
