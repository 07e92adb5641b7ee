import {
  type Abortable,
  type Clock,
  InvalidInputError,
  type Logger,
  silentLogger,
  systemClock,
  TaskGroup,
} from "@holdfast/kernel";
import { checkInteger, PAYLOAD_MAX_BYTES_DEFAULT } from "../../input-checks.ts";
import type { Leases } from "../../lease/leases.ts";
import type { Log } from "../../log/log.ts";
import { Notifier } from "../../notifier.ts";
import { WakeUps } from "../../wake-ups.ts";
import { RedisLeases } from "./leases.ts";
import { RedisLog } from "./log.ts";
import type { RedisClient } from "./redis-client.ts";
import { readScripts, ScriptRunner } from "./script-runner.ts";

/**
 * Leases and logs for speed: fan-out, caches, hot state.
 *
 * Unsafe for correctness. Redis acknowledges before a replica has the write, so a failover may forget leases
 * that are held (then two hold one name, although the second token is larger) and entries that were
 * acknowledged. It has no transactions of ours, hence no `assertFence`: the tokens protect only what checks
 * them elsewhere. What must not be lost belongs in PostgreSQL.
 */
export interface FastStore extends AsyncDisposable {
  readonly leases: Leases<never>;
  readonly log: Log<never>;
  /** Milliseconds since the epoch by the server's clock. */
  now(options?: Abortable): Promise<number>;
  close(): Promise<void>;
}

export interface RedisStoreOptions {
  /** Stays the caller's: the store never closes it. */
  readonly redis: RedisClient;
  /** 1 to 64 characters of `[A-Za-z0-9_.-]`. Everything of the store lies in the slot of `{namespace}`. Default `holdfast`. */
  readonly namespace?: string;
  /** For polls and retries only: leases follow the server's clock. Default: the system's. */
  readonly clock?: Clock;
  readonly logger?: Logger;
  /** Largest payload of a log entry as UTF-8 JSON. Default 1 MiB. */
  readonly payloadMaxBytes?: number;
}

/** A store of leases and logs in Redis 6.2 or newer. Touches the server only when it is used. */
export const createRedisStore = async (options: RedisStoreOptions): Promise<FastStore> => {
  const { redis, namespace = "holdfast", clock = systemClock, logger = silentLogger } = options;
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(namespace)) {
    throw new InvalidInputError("namespace", namespace, "1 to 64 characters of [A-Za-z0-9_.-]");
  }
  const payloadMaxBytes = options.payloadMaxBytes ?? PAYLOAD_MAX_BYTES_DEFAULT;
  checkInteger("payloadMaxBytes", payloadMaxBytes, 1, 2 ** 28);
  const scripts = new ScriptRunner(redis, await readScripts());
  const slot = `{${namespace}}`;
  const channel = `${slot}:wake`;
  const loops = new TaskGroup({ logger });
  const wakeUps = new WakeUps((err, key) => logger.error({ err, key }, "a wake-up listener threw"));
  const notifier = new Notifier({
    listen: (name, onPayload) => redis.subscribe(name, onPayload),
    channel,
    wakeUps,
    loops,
    clock,
    logger,
  });
  const close = async (): Promise<void> => {
    scripts.close();
    wakeUps.wakeAll();
    await loops.stop();
  };
  return {
    leases: new RedisLeases(scripts, slot),
    log: new RedisLog({ scripts, notifier, channel, slot, clock, payloadMaxBytes }),
    now: async (now = {}) =>
      Number(
        await scripts.run<string>("now", [`${slot}:token`], [], { signal: now.signal, isRepeatable: true }),
      ),
    close,
    [Symbol.asyncDispose]: close,
  };
};
