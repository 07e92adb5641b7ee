/// <reference path="./peers/redlock.d.ts" />
import { Locks } from "@holdfast/coordination";
import { createRedisStore } from "@holdfast/coordination/redis";
import { startRedis } from "@holdfast/testkit";
import { Redis } from "ioredis";
import Redlock from "redlock";
import { clientOf } from "./coordination/ioredis-client.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { interleaved } from "./measure/interleaved.ts";
import { median } from "./measure/median.ts";

const REDLOCK = "redlock@5.0.0-beta.2";
const TTL_MS = 10_000;
/** One holds, the others wait. With more of them some peer asks soon after any release, and the server more often. */
const CLIENT_COUNTS = [2, 16, 4] as const;
const HAND_OFF_COUNT = 40;

/** A client of each kind with a connection of its own, as a process would have. */
const openClient = async (url: string, owner: string) => {
  const redis = new Redis(url);
  const store = await createRedisStore({ redis: clientOf(redis) });
  const locks = new Locks({ leases: store.leases, owner, ttlMs: TTL_MS });
  const ioredis = new Redis(url);
  // All that redlock offers a waiter is to ask again at intervals; these are as short as one dares.
  const redlock = new Redlock([ioredis], { retryCount: -1, retryDelay: 10, retryJitter: 5 });
  const redlockAsItComes = new Redlock([ioredis], { retryCount: -1 });
  return {
    locks,
    redlock,
    redlockAsItComes,
    [Symbol.asyncDispose]: async () => {
      await locks.close();
      await store.close();
      redis.disconnect();
      ioredis.disconnect();
    },
  };
};

type Client = Awaited<ReturnType<typeof openClient>>;
type Acquire = (client: Client) => Promise<{ release(): Promise<unknown> }>;

const acquireOurs: Acquire = ({ locks }) => locks.get("contended").acquire();
const acquireTheirs: Acquire = ({ redlock }) => redlock.acquire(["contended"], TTL_MS);
const acquireAsItComes: Acquire = ({ redlockAsItComes }) => redlockAsItComes.acquire(["contended"], TTL_MS);

/**
 * One lock passed on among all clients, who wait for it all the time; how long it took from the call of a release
 * until another has it. Who had it waits until then, or it would take it back itself.
 */
const handOffs = async (clients: readonly Client[], acquire: Acquire, count: number): Promise<number[]> => {
  const samples: number[] = [];
  let release: { readonly at: number; readonly taken: () => void } | undefined;
  let left = count;
  await Promise.all(
    clients.map(async (client) => {
      while (left > 0) {
        const lease = await acquire(client);
        if (release !== undefined) samples.push(performance.now() - release.at);
        release?.taken();
        left -= 1;
        // Held for a moment, so that everybody else is waiting by then.
        await new Promise((resolve) => setTimeout(resolve, 20));
        const taken = new Promise<void>((resolve) => {
          release = { at: performance.now(), taken: resolve };
        });
        await lease.release();
        if (left > 0) await taken;
      }
    }),
  );
  return samples;
};

/** To the microsecond. */
const milliseconds = (samples: readonly number[]): number => Number(median(samples).toFixed(3));

const contended = async (clients: readonly Client[]): Promise<BenchResult> => {
  const ours: number[] = [];
  const theirs: number[] = [];
  const asItComes: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    ours.push(...(await handOffs(clients, acquireOurs, HAND_OFF_COUNT)));
    theirs.push(...(await handOffs(clients, acquireTheirs, HAND_OFF_COUNT)));
    asItComes.push(...(await handOffs(clients, acquireAsItComes, 8)));
  }
  const waiting = clients.length - 1;
  return {
    unit: `ms (p50 hand-off, ${waiting} waiting)`,
    ours: milliseconds(ours),
    peers: {
      [`${REDLOCK} (every 10 ms)`]: milliseconds(theirs),
      [`${REDLOCK} (default)`]: milliseconds(asItComes),
    },
    higherIsBetter: false,
    notes:
      `${clients.length} clients, each with a connection of its own, pass one lock on: from the call of the release ` +
      "until another client has it. Ours are told of the release; the peer has no such thing, so its waiters ask " +
      "again and again, every 200 ms as it comes, every 10 ms at its best, which costs the server " +
      `${waiting * 100} requests a second here.`,
  };
};

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  const clients: Client[] = [];
  try {
    for (let index = 0; index < Math.max(...CLIENT_COUNTS); index += 1) {
      clients.push(await openClient(server.url, `client-${index}`));
    }
    const [first] = clients as [Client];
    const took = await interleaved(
      {
        ours: async (count) => {
          for (let n = 0; n < count; n += 1) await (await first.locks.get("free").acquire()).release();
        },
        redlock: async (count) => {
          for (let n = 0; n < count; n += 1) await (await first.redlock.acquire(["free"], TTL_MS)).release();
        },
      },
      { count: 1000 },
    );
    const results: BenchResult[] = [
      {
        unit: "cycles/s",
        ours: Math.round(1e9 / took.ours),
        peers: { [REDLOCK]: Math.round(1e9 / took.redlock) },
        higherIsBetter: true,
        notes:
          "Acquire and release of a lock that nobody else wants, one after the other, on one Redis server. Median of " +
          "9 interleaved rounds of 1,000. Ours also draws a fence token and keeps the lease renewed.",
      },
    ];
    for (const count of CLIENT_COUNTS) results.push(await contended(clients.slice(0, count)));
    return results;
  } finally {
    for (const client of clients) await client[Symbol.asyncDispose]();
  }
};

const bench: Bench = {
  name: "lock",
  description: "How long does it take to take a lock, and to pass it on?",
  run,
};

export default bench;
