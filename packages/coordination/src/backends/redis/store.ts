import {
  type Abortable,
  type Clock,
  InvalidInputError,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  TaskGroup,
} from "@holdfast/kernel";
import { checkInteger, checkQueueName, PAYLOAD_MAX_BYTES_DEFAULT } from "../../input-checks.ts";
import type { Leases } from "../../lease/leases.ts";
import type { Log } from "../../log/log.ts";
import { type Listen, Notifier } from "../../notifier.ts";
import type { TaskQueue } from "../../queue/task-queue.ts";
import type { States } from "../../state-sync/states.ts";
import { WakeUps } from "../../wake-ups.ts";
import { RedisLeases } from "./leases.ts";
import { RedisLog } from "./log.ts";
import type { RedisClient } from "./redis-client.ts";
import { readScripts, ScriptRunner } from "./script-runner.ts";
import { RedisStates } from "./states.ts";
import { RedisTaskQueue } from "./task-queue.ts";

/**
 * Leases, logs and task queues for speed: fan-out, caches, hot state, work that may be asked for again.
 *
 * Unsafe for correctness. Redis acknowledges before a replica has the write, so a failover may forget leases
 * that are held (then two hold one name, although the second token is larger), and entries and tasks that were
 * acknowledged. It has no transactions of ours, hence no `assertFence`: the tokens protect only what checks
 * them elsewhere. What must not be lost belongs in PostgreSQL.
 */
export interface FastStore extends AsyncDisposable {
  readonly leases: Leases<never>;
  readonly log: Log<never>;
  readonly states: States<never>;
  /** The queue of this name; the same object for the same name. Names: 1 to 128 characters of `[A-Za-z0-9_.:-]`. */
  queue(name: string): TaskQueue<never>;
  /** Milliseconds since the epoch by the server's clock. */
  now(options?: Abortable): Promise<number>;
  close(): Promise<void>;
}

export interface RedisStoreOptions {
  /** Stays the caller's: the store never closes it. */
  readonly redis: RedisClient;
  /** 1 to 64 characters of `[A-Za-z0-9_.-]`. Leases and logs lie in the slot of `{namespace}`, each queue in one of its own. Default `holdfast`. */
  readonly namespace?: string;
  /** For polls and retries only: leases follow the server's clock. Default: the system's. */
  readonly clock?: Clock;
  /** Makes task ids and jitter. Default: the system's. */
  readonly random?: Random;
  readonly logger?: Logger;
  /** Largest payload of a log entry, task or result as UTF-8 JSON. Default 1 MiB. */
  readonly payloadMaxBytes?: number;
}

/**
 * A store of leases, logs and task queues in Redis 6.2 or newer. Touches the server only when it is used; its first use
 * asks how the namespace is laid out, and where a newer program has been, every call throws SchemaTooNewError.
 */
export const createRedisStore = async (options: RedisStoreOptions): Promise<FastStore> => {
  const { redis, namespace = "holdfast", clock = systemClock, logger = silentLogger } = options;
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(namespace)) {
    throw new InvalidInputError("namespace", namespace, "1 to 64 characters of [A-Za-z0-9_.-]");
  }
  const payloadMaxBytes = options.payloadMaxBytes ?? PAYLOAD_MAX_BYTES_DEFAULT;
  checkInteger("payloadMaxBytes", payloadMaxBytes, 1, 2 ** 28);
  const slot = `{${namespace}}`;
  const scripts = new ScriptRunner(redis, await readScripts(), `${slot}:format`);
  const channel = `${slot}:wake`;
  const loops = new TaskGroup({ logger });
  const wakeUps = new WakeUps((err, key) => logger.error({ err, key }, "a wake-up listener threw"));
  const random = options.random ?? systemRandom;
  const listen: Listen = (name, onPayload, onInterrupted) => redis.subscribe(name, onPayload, onInterrupted);
  const notifier = new Notifier({
    listen,
    channel,
    wakeUps,
    loops,
    clock,
    logger,
  });
  const queues = new Map<string, RedisTaskQueue>();
  const queueParts = {
    scripts,
    notifier,
    namespace,
    channel,
    random,
    logger,
    payloadMaxBytes,
  };
  const queue = (name: string): RedisTaskQueue => {
    let known = queues.get(name);
    if (known === undefined) {
      checkQueueName(name);
      known = new RedisTaskQueue(name, queueParts);
      queues.set(name, known);
    }
    return known;
  };
  const leases = new RedisLeases({ scripts, slot, notifier, channel, listen, loops, clock, random, logger });
  const close = async (): Promise<void> => {
    scripts.close();
    wakeUps.wakeAll();
    leases.close();
    await loops.stop();
  };
  return {
    leases,
    log: new RedisLog({ scripts, notifier, channel, slot, clock, payloadMaxBytes }),
    states: new RedisStates({ scripts, notifier, channel, slot, valueMaxBytes: payloadMaxBytes }),
    queue,
    now: async (now = {}) =>
      Number(
        await scripts.run<string>("now", [`${slot}:token`], [], { signal: now.signal, isRepeatable: true }),
      ),
    close,
    [Symbol.asyncDispose]: close,
  };
};
