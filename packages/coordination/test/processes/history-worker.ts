// One worker of a history, to be killed, frozen and cut off at any moment. Told everything by one JSON argument;
// says what it did by lines of JSON on stdout, and stops working when it reads "quiet" on stdin.
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { ClaimKeeper, type Lock, Locks, type StateReplica, StateReplicas } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { isHoldfastError, type Random, randomInt, seededRandom } from "@holdfast/kernel";
import { OffsetWatch } from "@holdfast/testkit/history";
import {
  COUNTER_COUNT,
  LEASE_MS,
  LOCK_COUNT,
  type WorkerEvent,
  type WorkerOptions,
} from "../histories/events.ts";
import { openPg } from "../pg-client.ts";
import { openRedis } from "../redis-client.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as WorkerOptions;
const { schema, lanes } = options;
const tell = (event: WorkerEvent): void => {
  process.stdout.write(`${JSON.stringify(event)}\n`);
};

/** What a cut, a restart or a lost lease may end with. Anything else is a mistake in what is tested. */
const EXPECTED =
  /^(COORDINATION_(STORE_|LEASE_LOST|LOCK_TIMEOUT|CLAIM_LOST|STATE_CONFLICT)|KERNEL_(OUTCOME|TIMEOUT|OVERLOADED))/;
const CONNECTION =
  /terminat|ECONN|Connection|connection|socket|closed|EPIPE|starting up|shutting down|recovery|client is/i;
const excuse = (error: unknown): void => {
  if (isHoldfastError(error) && EXPECTED.test(error.code)) return;
  const text = error instanceof Error ? `${error.message} ${String(error.cause ?? "")}` : String(error);
  if (!CONNECTION.test(text)) tell({ e: "surprise", text: text.slice(0, 400) });
};

const again = async <T>(open: () => Promise<T>): Promise<T> => {
  for (;;) {
    try {
      return await open();
    } catch (error) {
      excuse(error);
      await pause(50);
    }
  }
};

const sql = openPg(options.pgUrl, 4);
const store = await again(() => createPostgresStore({ sql, schema }));
const redis = await again(() => openRedis(options.redisUrl));
const fast = await createRedisStore({ redis });
const locks = {
  pg: new Locks({ leases: store.leases, owner: options.worker, ttlMs: LEASE_MS }),
  redis: new Locks({ leases: fast.leases, owner: options.worker, ttlMs: LEASE_MS }),
};
const claims = new ClaimKeeper({ queue: store.queue("q"), leaseMs: LEASE_MS });
const fastClaims = new ClaimKeeper({ queue: fast.queue("q"), leaseMs: LEASE_MS });
const replicas: Record<"pg" | "redis", StateReplica> = {
  pg: await again(() => new StateReplicas({ states: store.states, pollMs: 1000 }).open("history")),
  redis: await again(() => new StateReplicas({ states: fast.states, pollMs: 1000 }).open("history")),
};

let isQuiet = false;
let taskCount = 0;

/** A read and a write at the resource, each under the token, with time to be deposed in between. */
const useLock = async (lock: Lock, resource: string, isFenced: boolean, random: Random): Promise<void> => {
  await lock.with(
    async (lease) => {
      const inStore = async (step: (query: typeof sql.query) => Promise<void>): Promise<void> => {
        await store.transaction(async (tx) => {
          if (isFenced) await store.leases.assertFence({ name: `lock/${lock.name}`, token: lease.token }, tx);
          await step(tx.query);
        });
      };
      const token = lease.token.toString();
      let value: number | undefined;
      await inStore(async (query) => {
        const [row] = await query<{ value: string }>(
          `UPDATE "${schema}".resource SET token = $2::bigint WHERE name = $1 AND token <= $2::bigint RETURNING value`,
          [resource, token],
        );
        value = row === undefined ? undefined : Number(row.value);
      });
      if (value === undefined) {
        tell({ e: "refused" });
        return;
      }
      const next = value + 1;
      await pause(randomInt(random, 8));
      await inStore(async (query) => {
        const rows = await query(
          `WITH taken AS (
             UPDATE "${schema}".resource SET value = $3::bigint WHERE name = $1 AND token <= $2::bigint RETURNING name)
           INSERT INTO "${schema}".writes (name, token, holder, value)
           SELECT name, $2::bigint, $4::text, $3::bigint FROM taken RETURNING name`,
          [resource, token, next, options.worker],
        );
        if (rows.length === 0) tell({ e: "refused" });
      });
    },
    { waitMs: 5000 },
  );
  tell({ e: "locked" });
};

const enqueue = async (on: "pg" | "redis"): Promise<void> => {
  taskCount += 1;
  const id = `${options.worker}-${taskCount}`;
  tell({ e: "enqueue", on, id });
  const queue = on === "pg" ? store.queue("q") : fast.queue("q");
  await queue.enqueue([{ id, type: "t", payload: id, maxAttempts: 1000 }]);
  tell({ e: "enqueued", on, id });
};

/** On Redis the effect cannot commit with the completion, so what counts is which completions were accepted. */
const workOnRedis = async (random: Random): Promise<void> => {
  const queue = fast.queue("q");
  if (random.next() < 0.1) await queue.recoverLapsed();
  const askedAt = performance.now();
  const maxCount = 1 + randomInt(random, 3);
  const tasks = await queue.claim({ worker: options.worker, maxCount, leaseMs: LEASE_MS });
  for (const { id, token } of tasks) tell({ e: "claimed", id, token: token.toString() });
  for (const task of tasks) {
    const claim = fastClaims.keep(task, { askedAt });
    try {
      await pause(randomInt(random, 5));
      if (random.next() < 0.1) {
        await queue.fail([{ ...task, error: "dice", retryDelayMs: 10 }]);
        continue;
      }
      const [outcome] = await queue.complete([{ ...task, result: null }]);
      tell(outcome === "completed" ? { e: "ended", id: task.id } : { e: "stale" });
    } finally {
      claim.drop();
    }
  }
};

const work = async (random: Random): Promise<void> => {
  const queue = store.queue("q");
  if (random.next() < 0.1) await queue.recoverLapsed();
  const askedAt = performance.now();
  const tasks = await queue.claim({
    worker: options.worker,
    maxCount: 1 + randomInt(random, 3),
    leaseMs: LEASE_MS,
  });
  for (const task of tasks) {
    const claim = claims.keep(task, { askedAt });
    try {
      if (random.next() < 0.1) {
        await queue.fail([{ ...task, error: "dice", retryDelayMs: 10 }]);
        continue;
      }
      await store.transaction(async (tx) => {
        await tx.query(`INSERT INTO "${schema}".effects (task) VALUES ($1)`, [task.id]);
        const [outcome] = await queue.complete([{ ...task, result: null }], { tx });
        if (outcome !== "completed") throw new Stale();
      });
      tell({ e: "completed" });
    } catch (error) {
      if (error instanceof Stale) tell({ e: "stale" });
      else throw error;
    } finally {
      claim.drop();
    }
  }
};
class Stale extends Error {}

const write = async (on: "pg" | "redis", random: Random): Promise<void> => {
  const replica = replicas[on];
  const dice = random.next();
  if (dice < 0.5) {
    const key = `count-${randomInt(random, COUNTER_COUNT)}`;
    const by = 1 + randomInt(random, 5);
    tell({ e: "add", on, key, by });
    await replica.increment(key, by);
    tell({ e: "added", on, key, by });
    return;
  }
  const key = `value-${randomInt(random, 10)}`;
  if (dice < 0.8) await replica.set(key, `${options.worker} ${random.next()}`);
  else if (dice < 0.9) await replica.delete(key);
  else await replica.set(key, "short", { ttlMs: 50 + randomInt(random, 500) });
  tell({ e: "wrote" });
};

const lane = async (index: number): Promise<void> => {
  const random = seededRandom(options.seed + index);
  while (!isQuiet) {
    const dice = random.next();
    const n = randomInt(random, LOCK_COUNT);
    try {
      if (dice < 0.25) await useLock(locks.pg.get(`pg-${n}`), `pg-${n}`, n % 2 === 0, random);
      else if (dice < 0.4) await useLock(locks.redis.get(`redis-${n}`), `redis-${n}`, false, random);
      else if (dice < 0.46) await enqueue("pg");
      else if (dice < 0.52) await enqueue("redis");
      else if (dice < 0.62) await work(random);
      else if (dice < 0.72) await workOnRedis(random);
      else if (dice < 0.85) await write("redis", random);
      else if (dice < 0.92) await write("pg", random);
      else await store.log.append([{ stream: "history", payload: options.worker }]);
    } catch (error) {
      excuse(error);
      await pause(20 + randomInt(random, 100));
    }
  }
};

/** Follows the log as a reader that resumes from its position after every failure. */
const follow = async (watch: OffsetWatch, signal: AbortSignal): Promise<void> => {
  let after = (await again(() => store.log.bounds("history"))).head;
  while (!signal.aborted) {
    try {
      for await (const item of store.log.tail("history", { after, signal, pollMs: 1000 })) {
        if (item.kind === "reset") watch.reset();
        for (const { position } of item.kind === "entries" ? item.entries : []) {
          watch.saw(position);
          after = position;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      excuse(error);
      await pause(50);
    }
  }
};

/** Revisions as handlers are told them: without gap, unless a snapshot was taken, which tells differences alone. */
const watchRevisions = (on: "pg" | "redis"): OffsetWatch => {
  const watch = new OffsetWatch(`${options.worker} on ${on}`);
  let { snapshots } = replicas[on].stats();
  replicas[on].onUpdate((update) => {
    const taken = replicas[on].stats().snapshots;
    if (taken !== snapshots) watch.reset();
    snapshots = taken;
    if (update.kind === "reset" || update.isResync) watch.reset();
    else watch.saw({ epoch: 0n, offset: update.revision });
  });
  return watch;
};

const reading = new AbortController();
const watches = [new OffsetWatch(options.worker), watchRevisions("pg"), watchRevisions("redis")];
const following = follow(watches[0] as OffsetWatch, reading.signal);
tell({ e: "ready" });
const lines = createInterface({ input: process.stdin });
const lanesDone = Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));

const show = async (on: "pg" | "redis", offset: bigint): Promise<void> => {
  const replica = replicas[on];
  while ((replica.position?.offset ?? 0n) < offset || !replica.stats().isFresh) await pause(20);
  const shown = [...(await replica.getAll())].map(([key, value]) => [key, JSON.stringify(value)] as const);
  tell({ e: "shows", on, entries: shown });
};

for await (const line of lines) {
  if (line === "quiet") {
    isQuiet = true;
    await lanesDone;
    tell({ e: "quiet" });
  } else {
    const target = JSON.parse(line) as { readonly pg: string; readonly redis: string };
    await Promise.all([show("pg", BigInt(target.pg)), show("redis", BigInt(target.redis))]);
    reading.abort(new Error("over"));
    await following;
    for (const watch of watches) {
      tell({ e: "read", count: watch.count });
      for (const violation of watch.violations) tell({ e: "violation", violation });
    }
    tell({ e: "over" });
    process.exit(0);
  }
}
// Nobody listens any more: whoever ran the history is gone.
process.exit(1);
