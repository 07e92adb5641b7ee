import { join } from "node:path";
import type { Layout } from "./layout.ts";
import type { Programs } from "./programs.ts";

export interface ReplicationPasswords {
  readonly replication: string;
  readonly rewind: string;
}

/** For trying, not for production: the leader's key lives 10 s, so a lost leader is replaced in about that time. */
const TIMINGS = { ttl: 10, loop_wait: 2, retry_timeout: 3 };

/** Patroni's configuration of one node. YAML reads JSON. Loopback only, where local users are trusted. */
export const patroniConfig = (
  layout: Layout,
  node: Layout["nodes"][number],
  options: {
    readonly programs: Programs;
    readonly passwords: ReplicationPasswords;
    readonly isSynchronous: boolean;
  },
): object => ({
  scope: "holdfast",
  namespace: "/holdfast/",
  name: node.name,
  restapi: { listen: `127.0.0.1:${node.restPort}`, connect_address: `127.0.0.1:${node.restPort}` },
  etcd3: { hosts: [`127.0.0.1:${layout.etcdPort}`] },
  bootstrap: {
    dcs: {
      ...TIMINGS,
      maximum_lag_on_failover: 1_048_576,
      // A dead PostgreSQL means failover at once, where Patroni's default is to try a restart for 300 s.
      primary_start_timeout: 0,
      synchronous_mode: options.isSynchronous,
      postgresql: {
        use_pg_rewind: true,
        use_slots: true,
        parameters: {
          wal_level: "logical",
          hot_standby: "on",
          max_connections: 100,
          max_wal_senders: 10,
          max_replication_slots: 10,
          max_prepared_transactions: 20,
          shared_buffers: "64MB",
          wal_log_hints: "on",
          hot_standby_feedback: "on",
          wal_receiver_status_interval: "1s",
        },
      },
    },
    initdb: [
      { encoding: "UTF8" },
      { locale: "C" },
      "data-checksums",
      { "auth-local": "trust" },
      { "auth-host": "trust" },
    ],
  },
  postgresql: {
    listen: `127.0.0.1:${node.port}`,
    connect_address: `127.0.0.1:${node.port}`,
    bin_dir: options.programs.postgresBin,
    data_dir: join(node.directory, "data"),
    pgpass: join(node.directory, "pgpass"),
    use_unix_socket: false,
    remove_data_directory_on_rewind_failure: true,
    remove_data_directory_on_diverged_timelines: true,
    basebackup: [{ checkpoint: "fast" }],
    pg_hba: [
      "local all all trust",
      "host all all 127.0.0.1/32 trust",
      "host replication all 127.0.0.1/32 trust",
    ],
    parameters: { unix_socket_directories: node.directory },
    authentication: {
      superuser: { username: "postgres" },
      replication: { username: "replicator", password: options.passwords.replication },
      rewind: { username: "rewinder", password: options.passwords.rewind },
    },
  },
  watchdog: { mode: "off" },
});

export const etcdArguments = (layout: Layout): readonly string[] => {
  const client = `http://127.0.0.1:${layout.etcdPort}`;
  const peer = `http://127.0.0.1:${layout.etcdPeerPort}`;
  return [
    ["--name", "etcd"],
    ["--data-dir", join(layout.directory, "etcd")],
    ["--listen-client-urls", client],
    ["--advertise-client-urls", client],
    ["--listen-peer-urls", peer],
    ["--initial-advertise-peer-urls", peer],
    ["--initial-cluster", `etcd=${peer}`],
    ["--log-level", "warn"],
  ].flat();
};

export const redisArguments = (layout: Layout): readonly string[] => [
  "--bind",
  "127.0.0.1",
  "--port",
  String(layout.redisPort),
  "--dir",
  join(layout.directory, "redis"),
  "--appendonly",
  "yes",
  "--daemonize",
  "no",
];
