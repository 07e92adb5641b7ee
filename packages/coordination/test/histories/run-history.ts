import { setTimeout as pause } from "node:timers/promises";
import type { SqlClient, TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { type Random, randomInt, seededRandom } from "@holdfast/kernel";
import { createFaultProxy, startPostgres } from "@holdfast/testkit";
import {
  checkLockHistory,
  checkQueueHistory,
  checkStateHistory,
  type Violation,
} from "@holdfast/testkit/history";
import { openPg } from "../pg-client.ts";
import { openRedis } from "../redis-client.ts";
import { LEASE_MS, LOCK_COUNT } from "./events.ts";
import { RedisPair } from "./redis-pair.ts";
import { Recorder, Worker } from "./worker-fleet.ts";

export interface HistoryOptions {
  readonly seed: number;
  /** How long faults go on; starting and checking come on top. */
  readonly durationMs: number;
  /** Processes. */
  readonly workerCount: number;
  /** Contenders in each of them. */
  readonly lanes: number;
  /** Redis has a replica that takes its place now and then, and what it was not told is lost; else it is restarted. */
  readonly hasFailovers?: boolean;
  /** Mean pause between two faults. */
  readonly faultEveryMs: number;
  /** The worker as one JavaScript file. Default: it runs from its source. */
  readonly workerBundle?: string | undefined;
  readonly onProgress?: (line: string) => void;
}

export interface HistoryReport {
  readonly seed: number;
  readonly hasFailovers: boolean;
  readonly seconds: number;
  readonly workers: number;
  readonly contenders: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  /** Errors that no fault explains, the first few. */
  readonly surprises: readonly string[];
}

const SCHEMA = "history";

/**
 * Lets many processes contend over locks, a queue, state and a log on real servers while they are killed, frozen
 * beyond their leases and cut off, and the servers restarted; then checks everything that was seen.
 */
export const runHistory = async (options: HistoryOptions): Promise<HistoryReport> => {
  const startedAt = performance.now();
  const random = seededRandom(options.seed);
  const log = (what: string): void =>
    options.onProgress?.(`seed ${options.seed}, ${Math.round(performance.now() - startedAt)} ms: ${what}`);
  const record = new Recorder();
  await using postgres = await startPostgres({ settings: { max_connections: 1000 } });
  const { hasFailovers = false } = options;
  await using redisPair = await RedisPair.start({ hasReplica: hasFailovers });
  const redisProxy = redisPair.faulty;
  await using pgProxy = await createFaultProxy({ target: { port: postgres.port } });
  await using sql = openPg(postgres.url, 5);
  await using redis = await openRedis(redisPair.url);
  await using store = await createPostgresStore({ sql, schema: SCHEMA });
  await using fast = await createRedisStore({ redis });
  await makeTables(sql);

  const workers = new Set<Worker>();
  let spawnedCount = 0;
  const spawnWorker = (): Worker => {
    spawnedCount += 1;
    // Every other one has its connections cut now and then.
    const isBehindProxy = spawnedCount % 2 === 0;
    const worker = new Worker(
      {
        worker: `w${spawnedCount}`,
        seed: options.seed * 1_000_003 + spawnedCount * 101,
        pgUrl: isBehindProxy ? postgres.url.replace(`:${postgres.port}`, `:${pgProxy.port}`) : postgres.url,
        redisUrl: isBehindProxy ? `redis://127.0.0.1:${redisProxy.port}` : redisPair.url,
        schema: SCHEMA,
        lanes: options.lanes,
      },
      record,
      options.workerBundle,
    );
    workers.add(worker);
    void worker.ended.then(() => workers.delete(worker));
    return worker;
  };
  const faults: Record<string, number> = {};
  const pending = new Set<Promise<void>>();
  const later = (ms: number, act: () => unknown): void => {
    const promise = pause(ms).then(async () => {
      await act();
    });
    pending.add(promise);
    void promise.finally(() => pending.delete(promise));
  };

  try {
    // A few at a time: starting takes most of what the machine has.
    while (spawnedCount < options.workerCount) {
      const count = Math.min(4, options.workerCount - spawnedCount);
      await Promise.all(Array.from({ length: count }, () => spawnWorker().said("ready")));
    }
    log("all workers are ready");
    const proxies = { postgres: pgProxy, redis: redisProxy };
    const endsAt = performance.now() + options.durationMs;
    while (performance.now() < endsAt) {
      await pause(options.faultEveryMs * (0.5 + random.next()));
      const name = pickFault(random, hasFailovers);
      faults[name] = (faults[name] ?? 0) + 1;
      const alive = [...workers].filter((worker) => !worker.isFrozen);
      const victim = alive[randomInt(random, alive.length)];
      const side = random.next() < 0.5 ? "postgres" : "redis";
      if (name === "kill") {
        victim?.signal("SIGKILL");
        spawnWorker();
      } else if (name === "freeze") {
        victim?.signal("SIGSTOP");
        later(LEASE_MS * (1.2 + random.next()), () => victim?.signal("SIGCONT"));
      } else if (name === "reset") {
        proxies[side].reset();
      } else if (name === "cut") {
        proxies[side].set({ cut: true }, random.next() < 0.5 ? "toClient" : "toTarget");
        later(LEASE_MS * (0.5 + random.next()), () => proxies[side].heal());
      } else if (name === "restart of postgres") {
        await postgres.kill(random.next() < 0.5 ? "SIGKILL" : "SIGINT");
        await postgres.start();
      } else if (name === "restart of redis") {
        await redisPair.restart(random.next() < 0.5 ? "SIGKILL" : "SIGTERM");
      } else {
        await redisPair.failOver(random.next() < 0.5 ? 0 : randomInt(random, 300));
      }
    }
    log("faults end");
    await Promise.all(pending);
    await Promise.all([pgProxy.heal(), redisProxy.heal()]);
    for (const worker of workers) worker.signal("SIGCONT");

    const survivors = [...workers];
    await within(180_000, "the workers to fall quiet", async () => {
      await Promise.all(survivors.map((worker) => worker.said("ready")));
      for (const worker of survivors) worker.say("quiet");
      await Promise.all(survivors.map((worker) => worker.said("quiet")));
    });
    log("quiet");
    await drainQueue(sql, store.queue("q"));
    const endedOnRedis = await drainFastQueue(fast.queue("q"), record);
    log("the queues are empty");
    // Values whose time is over go now, so that nothing changes any more while it is compared.
    const settle = async (states: typeof fast.states) => {
      // Real time: the longest lifetime that a worker gave a value is 550 ms.
      await pause(600);
      await states.expire("history");
      return states.snapshot("history");
    };
    const stored = { pg: await settle(store.states as never), redis: await settle(fast.states) };
    await within(180_000, "the replicas to catch up", async () => {
      const target = {
        pg: stored.pg.head.offset.toString(),
        redis: stored.redis.head.offset.toString(),
      };
      for (const worker of survivors) worker.say(JSON.stringify(target));
      await Promise.all(survivors.map((worker) => worker.said("over")));
    });
    log("checking");
    const violations = [
      ...record.violations,
      ...checkLockHistory(await readWrites(sql)),
      ...checkQueueHistory({
        acknowledged: record.acknowledged.pg,
        unknown: record.unknown.pg,
        effects: (await sql.query<{ task: string }>(`SELECT task FROM "${SCHEMA}".effects`)).map(
          ({ task }) => task,
        ),
      }),
      // A failover of Redis may lose what was acknowledged; what is left of it must agree all the same.
      ...(hasFailovers
        ? []
        : checkQueueHistory({
            acknowledged: record.acknowledged.redis,
            unknown: record.unknown.redis,
            effects: endedOnRedis,
          })),
      ...(["pg", "redis"] as const).flatMap((on) =>
        checkStateHistory({
          namespace: on,
          stored: new Map(
            (stored[on].entries ?? []).map((entry) => [
              entry.key,
              "value" in entry ? JSON.stringify(entry.value) : "corrupt",
            ]),
          ),
          replicas: record.shown[on],
          counters: on === "redis" && hasFailovers ? new Map() : record.counters[on],
        }),
      ),
    ];
    record.count("replicas compared", record.shown.pg.size + record.shown.redis.size);
    record.count("tasks acknowledged", record.acknowledged.pg.size);
    record.count("tasks acknowledged on redis", record.acknowledged.redis.size);
    return {
      seed: options.seed,
      hasFailovers,
      seconds: Math.round((performance.now() - startedAt) / 1000),
      workers: spawnedCount,
      contenders: options.workerCount * options.lanes,
      faults,
      counts: Object.fromEntries([...record.counts].sort()),
      violations,
      surprises: record.surprises,
    };
  } finally {
    const all = [...workers];
    for (const worker of all) worker.signal("SIGKILL");
    await Promise.all(all.map((worker) => worker.ended));
    await Promise.allSettled(pending);
  }
};

const FAULTS = [
  ["kill", 0.25],
  ["freeze", 0.3],
  ["reset", 0.2],
  ["cut", 0.15],
  ["restart of redis", 0.05],
  ["restart of postgres", 0.05],
] as const;

type Fault = (typeof FAULTS)[number][0] | "failover of redis";

const pickFault = (random: Random, hasFailovers: boolean): Fault => {
  let dice = random.next();
  for (const [name, share] of FAULTS) {
    if (dice < share) return name === "restart of redis" && hasFailovers ? "failover of redis" : name;
    dice -= share;
  }
  return "kill";
};

const makeTables = async (sql: SqlClient): Promise<void> => {
  await sql.query(
    `CREATE TABLE "${SCHEMA}".resource (name text PRIMARY KEY, token bigint NOT NULL, value bigint NOT NULL)`,
  );
  await sql.query(
    `CREATE TABLE "${SCHEMA}".writes (name text NOT NULL, token bigint NOT NULL, holder text NOT NULL, value bigint NOT NULL)`,
  );
  await sql.query(`CREATE TABLE "${SCHEMA}".effects (task text NOT NULL)`);
  for (let n = 0; n < LOCK_COUNT; n += 1) {
    await sql.query(`INSERT INTO "${SCHEMA}".resource VALUES ($1, 0, 0), ($2, 0, 0)`, [
      `pg-${n}`,
      `redis-${n}`,
    ]);
  }
};

const readWrites = async (sql: SqlClient) => {
  const rows = await sql.query<{ name: string; token: string; holder: string; value: string }>(
    `SELECT name, token::text, holder, value::text FROM "${SCHEMA}".writes`,
  );
  return rows.map(({ name, token, holder, value }) => ({
    resource: name,
    token: BigInt(token),
    holder,
    value: Number(value),
  }));
};

/** Works off what the workers left behind. */
const drainQueue = async (
  sql: SqlClient,
  queue: ReturnType<Awaited<ReturnType<typeof createPostgresStore>>["queue"]>,
): Promise<void> =>
  within(180_000, "the queue to be worked off", async () => {
    for (;;) {
      await queue.recoverLapsed();
      const tasks = await queue.claim({ worker: "last", maxCount: 500, leaseMs: 30_000 });
      if (tasks.length > 0) {
        await sql.transaction(async (tx) => {
          const outcomes = await queue.complete(
            tasks.map((task) => ({ ...task, result: null })),
            { tx },
          );
          if (outcomes.some((outcome) => outcome !== "completed")) throw new Error("claimed and yet stale");
          await tx.query(`INSERT INTO "${SCHEMA}".effects SELECT unnest($1::text[])`, [
            tasks.map(({ id }) => id),
          ]);
        });
        continue;
      }
      const { pending, delayed, claimed } = await queue.stats();
      if (pending + delayed + claimed === 0) return;
      await pause(50);
    }
  });

/** Works off what the workers left on Redis. Returns each task as often as a completion of it was accepted. */
const drainFastQueue = async (queue: TaskQueue<never>, record: Recorder): Promise<readonly string[]> =>
  within(180_000, "the queue on Redis to be worked off", async () => {
    for (;;) {
      await queue.recoverLapsed();
      const tasks = await queue.claim({ worker: "last", maxCount: 500, leaseMs: 30_000 });
      const outcomes = await queue.complete(tasks.map((task) => ({ ...task, result: null })));
      if (outcomes.some((outcome) => outcome !== "completed")) throw new Error("claimed and yet stale");
      if (tasks.length > 0) continue;
      const { pending, delayed, claimed } = await queue.stats();
      if (pending + delayed + claimed === 0) break;
      await pause(50);
    }
    const completed: string[] = [];
    for (let afterId: string | undefined; ; afterId = completed.at(-1)) {
      const records = await queue.list({
        states: ["completed"],
        limit: 1000,
        ...(afterId === undefined ? {} : { afterId }),
      });
      if (records.length === 0) break;
      completed.push(...records.map(({ id }) => id));
    }
    return completed.flatMap((id) =>
      Array.from({ length: Math.max(1, record.ended.get(id) ?? 0) }, () => id),
    );
  });

const within = async <T>(ms: number, what: string, body: () => Promise<T>): Promise<T> => {
  const timeout = new AbortController();
  const late = pause(ms, undefined, { signal: timeout.signal }).then(
    () => {
      throw new Error(`waited ${ms} ms for ${what}`);
    },
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([body(), late]);
  } finally {
    timeout.abort();
  }
};
