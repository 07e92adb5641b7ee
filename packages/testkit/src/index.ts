export { ConditionTimeoutError, ProcessFailedError, ServiceUnavailableError } from "./errors.ts";
export { createFaultProxy, type FaultProxy, type FaultProxyOptions } from "./fault-proxy/fault-proxy.ts";
export type { Faults } from "./fault-proxy/faults.ts";
export type { Direction } from "./fault-proxy/link.ts";
export {
  ManagedProcess,
  type ProcessExit,
  type ProcessOptions,
  runToEnd,
  startProcess,
} from "./process/managed-process.ts";
export { type PortReservation, reservePort } from "./process/reserve-port.ts";
export { type ServiceUser, serviceUser } from "./process/service-user.ts";
export { mountSmallDisk, type SmallDisk } from "./process/small-disk.ts";
export { makeTempDirectory, type TempDirectory } from "./process/temp-directory.ts";
export { waitUntil } from "./process/wait-until.ts";
export {
  chromiumPath,
  requireService,
  SERVICES,
  type ServiceName,
  serviceUnavailable,
} from "./services/availability.ts";
export { type EtcdCluster, type EtcdMember, startEtcd } from "./services/etcd.ts";
export { type Haproxy, type HaproxyBackend, startHaproxy } from "./services/haproxy.ts";
export {
  type PatroniCluster,
  type PatroniClusterOptions,
  startPatroniCluster,
} from "./services/patroni-cluster.ts";
export type { PatroniNode, PatroniTimings } from "./services/patroni-node.ts";
export {
  type PostgresOptions,
  type PostgresServer,
  type PostgresSettings,
  startPostgres,
} from "./services/postgres.ts";
export { type RedisOptions, type RedisServer, type RedisSettings, startRedis } from "./services/redis.ts";
export { type RedisCluster, type RedisClusterOptions, startRedisCluster } from "./services/redis-cluster.ts";
export { type RedisReply, redisCommand } from "./services/redis-command.ts";
export {
  type RedisSentinelOptions,
  type RedisSentinels,
  startRedisSentinel,
} from "./services/redis-sentinel.ts";
export type { RunningServer } from "./services/server-process.ts";
