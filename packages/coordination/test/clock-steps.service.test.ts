import { LeaseLostError } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import type { LeaseGrant, Leases } from "../src/lease/leases.ts";
import type { TaskQueue } from "../src/queue/task-queue.ts";
import { openPg } from "./pg-client.ts";
import { openRedis } from "./redis-client.ts";
import { elapseInQueue } from "./redis-elapse.ts";

const HOUR_MS = 3_600_000;
const TTL_MS = 60_000;

const grantTo = async (leases: Leases<never>, owner: string): Promise<LeaseGrant | undefined> => {
  const outcome = await leases.grant("x", { owner, ttlMs: TTL_MS });
  return outcome.kind === "granted" ? outcome.grant : undefined;
};

/** One holder at a time and growing tokens, however the store's clock is set. Returns a holder that was deposed. */
const seeOneHolder = async (
  leases: Leases<never>,
  step: (ms: number) => Promise<void>,
): Promise<{ readonly deposed: LeaseGrant; readonly holder: LeaseGrant }> => {
  const first = (await grantTo(leases, "a")) as LeaseGrant;
  await step(HOUR_MS);
  const second = (await grantTo(leases, "b")) as LeaseGrant;
  expect(second.token).toBeGreaterThan(first.token);
  expect(await leases.renew([first, second], { ttlMs: TTL_MS })).toEqual([false, true]);
  await step(-2 * HOUR_MS);
  expect(await grantTo(leases, "c")).toBeUndefined();
  expect(await leases.renew([first, second], { ttlMs: TTL_MS })).toEqual([false, true]);
  expect(await leases.release(first)).toBe(false);
  expect(await leases.release(second)).toBe(true);
  const third = (await grantTo(leases, "c")) as LeaseGrant;
  expect(third.token).toBeGreaterThan(second.token);
  return { deposed: second, holder: third };
};

/** A spent rate, of a queue or of a key, refills from the moment on at which the clock is set back by an hour. */
const seeRatesRefill = async (
  queueOf: (name: string) => TaskQueue<never>,
  step: (queue: string, ms: number) => Promise<void>,
): Promise<void> => {
  const rate = { count: 1, perMs: 60_000 };
  for (const [name, limits] of [
    ["rate", { rate }],
    ["key-rate", { perKey: { rate } }],
  ] as const) {
    const queue = queueOf(name);
    const claim = async () => {
      const claims = await queue.claim({ worker: "w", maxCount: 5, leaseMs: TTL_MS });
      return claims.map(({ id }) => id);
    };
    const enqueue = (id: string) => queue.enqueue([{ id, type: "t", payload: 1, limitKey: "k" }]);
    await queue.setLimits(limits);
    await enqueue("a");
    expect(await claim()).toEqual(["a"]);
    await step(name, -HOUR_MS);
    await enqueue("b");
    expect(await claim()).toEqual([]);
    await step(name, 61_000);
    expect(await claim()).toEqual(["b"]);
  }
};

describe("a clock that is set forward and back", () => {
  describeService("postgres", "on the PostgreSQL server", () => {
    it("never lets two hold a lease, a token fall, or a deposed worker complete a task", async () => {
      await using server = await startPostgres();
      await using admin = openPg(server.url, 2);
      // What the store takes for the time, put before the server's own.
      await admin.query("CREATE SCHEMA shim");
      await admin.query("CREATE TABLE shim.step AS SELECT interval '0' AS by");
      await admin.query(
        `CREATE FUNCTION shim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
           'SELECT pg_catalog.clock_timestamp() + (SELECT by FROM shim.step)'`,
      );
      const path = encodeURIComponent("-c search_path=shim,pg_catalog");
      await using sql = openPg(`${server.url}?options=${path}`, 5);
      await using store = await createPostgresStore({ sql });
      const before = await store.now();
      const step = async (ms: number): Promise<void> => {
        await admin.query("UPDATE shim.step SET by = by + $1::float8 * interval '1 millisecond'", [ms]);
      };
      await step(HOUR_MS);
      expect((await store.now()) - before).toBeGreaterThanOrEqual(HOUR_MS);
      await step(-HOUR_MS);

      const { deposed, holder } = await seeOneHolder(store.leases, step);
      await store.transaction((tx) => store.leases.assertFence(holder, tx));
      await expect(store.transaction((tx) => store.leases.assertFence(deposed, tx))).rejects.toThrow(
        LeaseLostError,
      );

      const queue = store.queue("q");
      await queue.enqueue([{ id: "t", type: "t", payload: 1 }]);
      const claim = async () => (await queue.claim({ worker: "w", maxCount: 1, leaseMs: TTL_MS }))[0];
      const first = await claim();
      await step(HOUR_MS);
      expect(await queue.recoverLapsed()).toHaveLength(1);
      const second = await claim();
      if (first === undefined || second === undefined) throw new Error("two claims expected");
      await step(-2 * HOUR_MS);
      expect(await queue.recoverLapsed()).toEqual([]);
      expect(await claim()).toBeUndefined();
      expect(await queue.complete([first])).toEqual(["stale"]);
      expect(await queue.complete([second])).toEqual(["completed"]);

      // Offsets and revisions do not follow the clock.
      const positions = [...(await store.log.append([1, 2].map((payload) => ({ stream: "s", payload }))))];
      await step(-HOUR_MS);
      positions.push(...(await store.log.append([{ stream: "s", payload: 3 }])));
      expect(positions.map(({ offset }) => offset)).toEqual([1n, 2n, 3n]);

      await seeRatesRefill(
        (name) => store.queue(name),
        (_queue, ms) => step(ms),
      );
    });
  });

  describeService("redis", "on the Redis server", () => {
    it("never lets two hold a lease, nor a token fall", async () => {
      await using server = await startRedis();
      await using redis = await openRedis(server.url);
      await using store = await createRedisStore({ redis });
      // The server's clock cannot be set; that it goes one way is that all that is stored goes the other.
      const step = async (ms: number): Promise<void> => {
        await server.command(
          "EVAL",
          `local by = ARGV[1] * 1000
           local token, held = unpack(redis.call('HMGET', KEYS[1], '', 'x'))
           redis.call('HSET', KEYS[1], '', string.format('%016.0f', token - by))
           if held then
             local moved = string.format('%016.0f%016.0f', string.sub(held, 1, 16) - by, string.sub(held, 17, 32) - by)
             redis.call('HSET', KEYS[1], 'x', moved .. string.sub(held, 33))
           end`,
          1,
          "{holdfast}:leases",
          ms,
        );
      };
      // Tokens as they look from where the clock was when the test began.
      let stepped = 0n;
      const leases = new Proxy(store.leases, {
        get: (target, name: keyof Leases<never>) => {
          if (name === "grant") {
            return async (...args: Parameters<Leases<never>["grant"]>) => {
              const outcome = await target.grant(...args);
              if (outcome.kind === "held") return outcome;
              return { ...outcome, grant: { ...outcome.grant, token: outcome.grant.token + stepped } };
            };
          }
          if (name === "renew") {
            return (...[refs, options]: Parameters<Leases<never>["renew"]>) =>
              target.renew(refs.map(toStored), options);
          }
          return (ref: LeaseGrant) => target.release(toStored(ref));
        },
      });
      function toStored<Ref extends { readonly token: bigint }>(ref: Ref): Ref {
        return { ...ref, token: ref.token - stepped };
      }
      await seeOneHolder(leases, async (ms) => {
        await step(ms);
        stepped += BigInt(ms) * 1000n;
      });
    });

    it("never holds a rate back for longer than it takes to refill", async () => {
      await using server = await startRedis();
      await using redis = await openRedis(server.url);
      await using store = await createRedisStore({ redis });
      await seeRatesRefill(
        (name) => store.queue(name),
        (queue, ms) => elapseInQueue(server, "holdfast", queue, ms),
      );
    });
  });
});
