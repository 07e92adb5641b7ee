import { openCache, openRedis } from "@holdfast/data";
import { startRedis } from "@holdfast/testkit";
import { CacheableMemory } from "cacheable";
import { BENTOCACHE, CACHEABLE, type Levels, openBentocache, openCacheable } from "./cache/peers.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";

const KEYS = 1_000;
const keyOf = (index: number): string => `user:${index % KEYS}`;
const personOf = (index: number): object => ({
  id: index,
  name: `Person number ${index}`,
  email: `person.${index}@example.org`,
  roles: ["reader", "writer"],
  address: { street: "Long Street 12", city: "Springfield", zip: "12345" },
  score: index / 7,
  active: true,
});

type Read = (key: string) => Promise<unknown>;

/** Keeps so many reads under way until `count` are done. */
const loop =
  (read: Read, inFlight: number): Contender =>
  async (count) => {
    let next = 0;
    const reader = async (): Promise<void> => {
      while (next < count) {
        next += 1;
        await read(keyOf(next * 7));
      }
    };
    await Promise.all(Array.from({ length: inFlight }, reader));
  };

const isRight = async (name: string, read: Read): Promise<void> => {
  const got = (await read(keyOf(7))) as { readonly id?: number } | undefined;
  if (got?.id !== 7) throw new Error(`${name} does not have what it was given`);
};

const measure = async (
  port: number,
  levels: Levels,
  cases: readonly { readonly inFlight: number; readonly count: number; readonly notes: string }[],
): Promise<readonly BenchResult[]> => {
  const redis = openRedis({ url: `redis://127.0.0.1:${port}` });
  const ours = await openCache({
    name: `hit-${levels}`,
    redis,
    ...(levels === "shared" ? { maxStalenessMs: 0 } : {}),
    ttlMs: 600_000,
  });
  const bento = await openBentocache(port, levels);
  const cacheable = await openCacheable(port, levels);
  const options = { load: () => Promise.reject(new Error("every read is a hit")) };
  try {
    for (let index = 0; index < KEYS; index += 1) {
      await ours.put(keyOf(index), personOf(index));
      await bento.set(keyOf(index), personOf(index));
      await cacheable.set(keyOf(index), personOf(index));
      // Into the near cache.
      await ours.get(keyOf(index), options);
    }
    const reads: Record<string, Read> = {
      ours: (key) => ours.get(key, options),
      bento: (key) => bento.get(key),
      cacheable: (key) => cacheable.get(key),
    };
    for (const [name, read] of Object.entries(reads)) await isRight(name, read);
    const results: BenchResult[] = [];
    for (const { inFlight, count, notes } of cases) {
      const contenders: Record<string, Contender> = Object.fromEntries(
        Object.entries(reads).map(([name, read]) => [name, loop(read, inFlight)]),
      );
      // A bare GET of as many bytes: what the way to Redis costs by itself.
      const { link } = await redis.link("bare");
      await link.command(["SET", "bare", JSON.stringify(personOf(1))]);
      contenders["bare"] = loop(() => link.command(["GET", "bare"]), inFlight);
      const took = await interleaved(contenders, { count });
      const perSecond = (name: string): number => Math.round(1e9 / (took[name] ?? Number.NaN));
      results.push({
        unit: "hits/s",
        ours: perSecond("ours"),
        peers: { [BENTOCACHE]: perSecond("bento"), [CACHEABLE]: perSecond("cacheable") },
        higherIsBetter: true,
        notes: levels === "shared" ? `${notes} The driver's bare GET makes ${perSecond("bare")}/s.` : notes,
      });
    }
    return results;
  } finally {
    await ours.close();
    await redis.close();
    await bento.close();
    await cacheable.close();
  }
};

/** What a map with a lifetime costs that nobody else sees and nobody invalidates: the floor of a hit. */
const bareMemory = async (): Promise<number> => {
  const memory = new CacheableMemory({ useClone: false });
  for (let index = 0; index < KEYS; index += 1) memory.set(keyOf(index), personOf(index));
  const took = await interleaved({ memory: loop(async (key) => memory.get(key), 1) }, { count: 100_000 });
  return Math.round(1e9 / took.memory);
};

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  const shared = await measure(server.port, "shared", [
    {
      inFlight: 1,
      count: 2_000,
      notes:
        "Hits in Redis (L2), one at a time. Ours is given the whole entry each time too, and parses it only when it has " +
        "changed; the rest is the way to Redis, the same for all.",
    },
    {
      inFlight: 64,
      count: 10_000,
      notes:
        "Hits in Redis (L2), 64 under way. Ours reads entry, generation and tags in one command for all reads of a tick; " +
        "bentocache's driver pipelines them.",
    },
  ]);
  const floor = await bareMemory();
  const near = await measure(server.port, "both", [
    {
      inFlight: 1,
      count: 100_000,
      notes:
        "Hits in the process (L1) of a cache with both levels, median of 9 rounds. Ours compares each copy with the time " +
        "of the last sync, so it is never older than the staleness bound; the peers' copies stay old when a message is " +
        `lost. cacheable's memory alone, which shares and invalidates nothing, makes ${floor}/s.`,
    },
  ]);
  return [...shared, ...near];
};

const bench: Bench = {
  name: "cache-hit",
  description: "How many cached values a second does one process read, from its own memory and from Redis?",
  run,
};

export default bench;
