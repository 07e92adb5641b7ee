import { setMaxListeners } from "node:events";
import {
  type Cache,
  type CachePosition,
  type Database,
  openCache,
  openPostgres,
  openRedis,
  type PositionSource,
  type RedisOptions,
  sqlPositions,
} from "@holdfast/data";
import { hasCode, type Random, randomInt, seededRandom, systemClock } from "@holdfast/kernel";
import {
  createFaultProxy,
  type FaultProxy,
  type RedisServer,
  startPostgres,
  startRedis,
  startRedisSentinel,
} from "@holdfast/testkit";
import { type CacheHistory, type StaleRead, staleReads } from "./cache-history.ts";

export interface FaultRunOptions {
  readonly seed: number;
  readonly seconds: number;
  /** One server that is killed, frozen and cut off, or a master with replicas whose place one of them takes. */
  readonly redis: "single" | "sentinel";
  readonly onFault?: (what: string) => void;
}

export interface FaultReport {
  readonly seed: number;
  readonly redis: string;
  readonly seconds: number;
  readonly readCount: number;
  readonly hitRate: number;
  readonly bypassCount: number;
  readonly writeCount: number;
  /** Writers that were not told, because Redis could not be reached. */
  readonly pendingCount: number;
  readonly relayedCount: number;
  readonly refusedFillCount: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly staleReads: readonly StaleRead[];
  /** Keys whose value, after everything was mended, is not the database's. */
  readonly wrongAtEnd: readonly string[];
}

const CACHES = 4;
const KEYS = Array.from({ length: 12 }, (_, index) => `k${index}`);
const MAX_STALENESS_MS = 400;
const WRITERS = 3;
const READERS = 8;

interface RedisUnderTest extends AsyncDisposable {
  readonly targets: readonly RedisOptions[];
  fault(random: Random, signal: AbortSignal): Promise<string>;
  mend(): Promise<void>;
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  systemClock.sleep(ms, { signal }).catch(() => undefined);

const startSingle = async (): Promise<RedisUnderTest> => {
  const server = await startRedis({ settings: { appendonly: "yes", "maxmemory-policy": "allkeys-lru" } });
  const proxies: FaultProxy[] = [];
  for (let index = 0; index < CACHES; index += 1) {
    proxies.push(await createFaultProxy({ target: { port: server.port } }));
  }
  const pick = (random: Random): FaultProxy => proxies[randomInt(random, proxies.length)] as FaultProxy;
  const mend = async (): Promise<void> => {
    if (!server.running) await server.start();
    for (const proxy of proxies) await proxy.heal();
  };
  const faults: readonly ((random: Random, signal: AbortSignal) => Promise<string>)[] = [
    async (random, signal) => {
      await server.kill();
      await pause(randomInt(random, 600), signal);
      await server.start();
      return "killed and started again with its disk";
    },
    async (random, signal) => {
      server.pause();
      await pause(randomInt(random, 900), signal);
      server.resume();
      return "frozen";
    },
    async (random, signal) => {
      const proxy = pick(random);
      proxy.set({ cut: true });
      await pause(randomInt(random, 1_200), signal);
      await proxy.heal();
      return "one process cut off";
    },
    async (random) => {
      pick(random).reset();
      return "connection reset";
    },
    async (random) => {
      pick(random).halfOpen();
      return "connection half open";
    },
    async (random) => {
      pick(random).resetAfter(randomInt(random, 2_000), random.next() < 0.5 ? "toClient" : "toTarget");
      return "connection reset in a frame";
    },
    async (random) => {
      const guards = ((await server.command("KEYS", "{soak.0}:*")) as string[]).filter(
        (key) => !key.includes("}:e:"),
      );
      const victim = guards[randomInt(random, Math.max(1, guards.length))];
      if (victim !== undefined) await server.command("DEL", victim);
      return "guard evicted";
    },
    async (random, signal) => {
      const proxy = pick(random);
      proxy.set({ latencyMs: 20, jitterMs: 60 });
      await pause(300, signal);
      await proxy.heal();
      return "slow link";
    },
  ];
  return {
    targets: proxies.map(({ port }) => ({
      url: `redis://127.0.0.1:${port}`,
      answerTimeoutMs: 200,
      connectTimeoutMs: 300,
    })),
    fault: (random, signal) =>
      (faults[randomInt(random, faults.length)] as (typeof faults)[number])(random, signal),
    mend,
    async [Symbol.asyncDispose]() {
      for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
};

const startSentinel = async (): Promise<RedisUnderTest> => {
  const redis = await startRedisSentinel({
    settings: { appendonly: "yes", "maxmemory-policy": "allkeys-lru" },
  });
  const sentinelUrls = redis.sentinels.map(({ host, port }) => `redis://${host}:${port}`);
  const target: RedisOptions = {
    sentinelUrls,
    masterName: redis.masterName,
    answerTimeoutMs: 200,
    connectTimeoutMs: 300,
  };
  const mend = async (): Promise<void> => {
    for (const server of redis.servers) if (!server.running) await server.start();
  };
  const newMaster = async (old: RedisServer, signal: AbortSignal): Promise<void> => {
    for (let look = 0; look < 200 && !signal.aborted; look += 1) {
      const master = await redis.master().catch(() => old);
      if (master !== old) return;
      await pause(50, signal);
    }
  };
  return {
    targets: Array.from({ length: CACHES }, () => target),
    async fault(_random, signal) {
      const old = await redis.master();
      await old.kill();
      await newMaster(old, signal);
      await pause(1_000, signal);
      await old.start();
      return "master killed, replica promoted";
    },
    mend,
    [Symbol.asyncDispose]: () => redis[Symbol.asyncDispose](),
  };
};

/** Writers and readers in front of a real database while Redis suffers; every read and write is noted. */
export const runWithFaults = async (options: FaultRunOptions): Promise<FaultReport> => {
  const random = seededRandom(options.seed);
  await using redis = options.redis === "single" ? await startSingle() : await startSentinel();
  await using postgres = await startPostgres();
  await using sql = await openPostgres({ url: postgres.url, max: 24 });
  await sql.query("CREATE TABLE soak (k text PRIMARY KEY, v int NOT NULL)");
  await sql.query("INSERT INTO soak SELECT unnest($1::text[]), 0", [KEYS]);
  const positions = sqlPositions(sql);
  const caches: Cache[] = [];
  const connections: AsyncDisposable[] = [];
  for (const target of redis.targets) {
    const connection = openRedis(target);
    connections.push(connection);
    const cache = await openCache({
      name: "soak",
      redis: connection,
      sql,
      positions,
      maxStalenessMs: MAX_STALENESS_MS,
      invalidationWaitMs: 300,
      relayEveryMs: 200,
      positionEveryMs: 300,
      leaseMs: 500,
    });
    caches.push(cache);
  }
  await caches[0]?.migrate();

  const history: CacheHistory = { writes: [], reads: [] };
  const faults: Record<string, number> = {};
  const end = new AbortController();
  setMaxListeners(0, end.signal);
  const work = { caches, sql, positions, history, random, signal: end.signal };
  const loops = [
    ...Array.from({ length: WRITERS }, () => writer(work)),
    ...Array.from({ length: READERS }, () => reader(work)),
    (async () => {
      while (!end.signal.aborted) {
        await pause(200 + randomInt(random, 800), end.signal);
        const what = await redis.fault(random, end.signal).catch(async () => {
          // A machine that is too busy for the fault is not what is looked at here.
          await redis.mend().catch(() => undefined);
          return "not made";
        });
        options.onFault?.(what);
        faults[what] = (faults[what] ?? 0) + 1;
      }
    })(),
  ];
  const timer = systemClock.schedule(options.seconds * 1_000, () => end.abort());
  try {
    await Promise.all(loops);
  } finally {
    timer.cancel();
    end.abort();
  }
  await redis.mend();
  const wrongAtEnd = await compareAtEnd(work);
  const sum = (pick: (cache: Cache) => number): number =>
    caches.reduce((total, cache) => total + pick(cache), 0);
  const report: FaultReport = {
    seed: options.seed,
    redis: options.redis,
    seconds: options.seconds,
    readCount: history.reads.length,
    hitRate: Number((sum((cache) => cache.stats().hitRate) / caches.length).toFixed(3)),
    bypassCount: sum((cache) => cache.stats().bypassCount),
    writeCount: history.writes.filter(({ key }) => key !== "sum").length,
    pendingCount: sum((cache) => cache.stats().invalidationPendingCount),
    relayedCount: sum((cache) => cache.stats().invalidationRelayedCount),
    refusedFillCount: sum(refusedFills),
    faults,
    staleReads: staleReads(history),
    wrongAtEnd,
  };
  for (const cache of caches) await cache.close();
  for (const connection of connections) await connection[Symbol.asyncDispose]();
  return report;
};

const refusedFills = (cache: Cache): number => {
  const { fillOvertakenCount, fillBehindCount, fillGenerationCount } = cache.stats();
  return fillOvertakenCount + fillBehindCount + fillGenerationCount;
};

interface Work {
  readonly caches: readonly Cache[];
  readonly sql: Database;
  readonly positions: PositionSource;
  readonly history: CacheHistory;
  readonly random: Random;
  readonly signal: AbortSignal;
}

const now = (): number => performance.now();
const readRow = async (sql: Database, key: string): Promise<number> => {
  const [row] = await sql.query<{ v: number }>("SELECT v FROM soak WHERE k = $1", [key]);
  return row?.v ?? -1;
};
const readSum = async (sql: Database): Promise<number> => {
  const [row] = await sql.query<{ v: number }>("SELECT sum(v)::int AS v FROM soak", []);
  return row?.v ?? -1;
};
/** Some answers of the source are slow to come back, so that writes overtake them. */
const slowly = async (value: Promise<number>, random: Random): Promise<number> => {
  const row = await value;
  if (random.next() < 0.3) await systemClock.sleep(randomInt(random, 40));
  return row;
};
const get = (
  { sql, random }: Pick<Work, "sql" | "random">,
  cache: Cache,
  key: string,
  options: object,
): Promise<number> =>
  key === "sum"
    ? cache.get("sum", { load: () => slowly(readSum(sql), random), tags: ["soak"], ...options })
    : cache.get(key, { load: () => slowly(readRow(sql, key), random), staleMs: 5_000, ...options });

/** Writes a row, and then reads it in a session of its own, in any process. */
const writer = async (work: Work): Promise<void> => {
  const { caches, positions, history, random, signal } = work;
  while (!signal.aborted) {
    await pause(randomInt(random, 30), signal);
    const cache = caches[randomInt(random, caches.length)] as Cache;
    const key = KEYS[randomInt(random, KEYS.length)] as string;
    const isPut = random.next() < 0.3;
    let version = 0;
    let sum = 0;
    let toldAt: number | undefined;
    try {
      await cache.transaction(
        async (tx, changes) => {
          const [row] = await tx.query<{ v: number }>("UPDATE soak SET v = v + 1 WHERE k = $1 RETURNING v", [
            key,
          ]);
          version = row?.v ?? 0;
          const [all] = await tx.query<{ v: number }>("SELECT sum(v)::int AS v FROM soak", []);
          sum = all?.v ?? 0;
          if (isPut) changes.put(key, version);
          else changes.invalidate(key);
          changes.invalidateTag("soak");
        },
        { onPending: "reject" },
      );
      toldAt = now();
    } catch (error) {
      if (!hasCode(error, "CACHE_INVALIDATION_PENDING")) throw error;
    }
    history.writes.push({ key, version, toldAt }, { key: "sum", version: sum, toldAt });
    if (toldAt === undefined) continue;
    const session: CachePosition = await positions.current();
    const reader = caches[randomInt(random, caches.length)] as Cache;
    const askedAt = now();
    const got = await get(work, reader, key, { session });
    history.reads.push({
      key,
      version: got,
      askedAt,
      answeredAt: now(),
      maxStalenessMs: MAX_STALENESS_MS,
      ownVersion: version,
    });
  }
};

const reader = async (work: Work): Promise<void> => {
  const { caches, history, random, signal } = work;
  while (!signal.aborted) {
    await pause(randomInt(random, 8), signal);
    const cache = caches[randomInt(random, caches.length)] as Cache;
    const key = random.next() < 0.2 ? "sum" : (KEYS[randomInt(random, KEYS.length)] as string);
    const isLatest = random.next() < 0.4;
    const askedAt = now();
    const version = await get(work, cache, key, isLatest ? { maxStalenessMs: 0 } : {});
    const maxStalenessMs = isLatest ? 0 : MAX_STALENESS_MS;
    history.reads.push({ key, version, askedAt, answeredAt: now(), maxStalenessMs });
  }
};

/** When Redis is back and the relay is done, everybody reads what the database has. */
const compareAtEnd = async ({ caches, sql, random }: Work): Promise<readonly string[]> => {
  const limitAt = now() + 45_000;
  for (;;) {
    const wrong: string[] = [];
    for (const key of [...KEYS, "sum"]) {
      const due = key === "sum" ? await readSum(sql) : await readRow(sql, key);
      for (const cache of caches)
        if ((await get({ sql, random }, cache, key, { maxStalenessMs: 0 })) !== due) wrong.push(key);
    }
    const [left] = await sql.query<{ n: string }>("SELECT count(*) AS n FROM holdfast.cache_outbox", []);
    const isMended = caches.every(
      (cache) => cache.stats().breaker === "closed" && cache.stats().isNearTrusted,
    );
    if ((left?.n === "0" && isMended) || now() > limitAt) {
      if (left?.n !== "0") wrong.push(`${left?.n} rows left in the outbox`);
      if (!isMended) wrong.push("a cache that does not come back");
      return wrong;
    }
    await pause(100, AbortSignal.timeout(1_000));
  }
};
