import type { Redis } from "../redis/open-redis.ts";
import type { RedisServerInfo } from "../redis/redis-link.ts";

/** The server behind a cache, and what of its settings does not suit one. */
export interface CacheServer {
  readonly kind: "redis" | "memory";
  /** Of Redis, for example "7.0.15". */
  readonly version?: string;
  readonly mode?: RedisServerInfo["mode"];
  readonly evictionPolicy?: string;
  /** How long the server took to answer. */
  readonly pingMs?: number;
  /** Sentences that say what is wrong and what to set. */
  readonly warnings: readonly string[];
}

export const warningsOf = ({
  evictionPolicy,
  replicaCount,
  hasWriteQuorum,
}: RedisServerInfo): readonly string[] => {
  const warnings: string[] = [];
  if (!/lru|lfu/.test(evictionPolicy)) {
    warnings.push(
      `maxmemory-policy is ${evictionPolicy}: a full server refuses entries, or drops ones in use; ` +
        "set allkeys-lru or allkeys-lfu",
    );
  }
  if (replicaCount > 0 && !hasWriteQuorum) {
    warnings.push(
      "min-replicas-to-write is 0: a master that was cut off from its replicas goes on answering, so that after a " +
        "failover readers may be served what the new master invalidated; set it to 1, with a min-replicas-max-lag",
    );
  }
  return warnings;
};

/** @throws RedisConnectError (retryable). */
export const describeServer = async (redis: Redis, key: string, now: () => number): Promise<CacheServer> => {
  const { link, info } = await redis.link(key);
  const askedAt = now();
  await link.command(["PING"]);
  return {
    kind: "redis",
    version: info.version,
    mode: info.mode,
    evictionPolicy: info.evictionPolicy,
    pingMs: now() - askedAt,
    warnings: warningsOf(info),
  };
};
