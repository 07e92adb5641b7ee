import { type PostgresServer, startPostgres } from "@holdfast/testkit";

export interface CitusCluster extends AsyncDisposable {
  readonly coordinator: PostgresServer;
  readonly workers: readonly PostgresServer[];
  /** A database on every node, whose coordinator knows the others. Gives its address. */
  createDatabase(name: string): Promise<string>;
  /** One on the coordinator that knows no other node. */
  createLonelyDatabase(name: string): Promise<string>;
}

const SETTINGS = {
  shared_preload_libraries: "citus",
  wal_level: "logical",
  max_prepared_transactions: 100,
  max_connections: 200,
  max_worker_processes: 32,
  max_replication_slots: 20,
  max_wal_senders: 20,
  "citus.local_hostname": "127.0.0.1",
  "citus.node_conninfo": "sslmode=disable",
  "citus.shard_count": 8,
  "citus.defer_shard_delete_interval": "100ms",
  "citus.background_task_queue_interval": "200ms",
  // The daemon would finish what a test wants to see in doubt.
  "citus.recover_2pc_interval": "1h",
};

/** One coordinator and two workers, on loopback ports of their own. */
export const startCitus = async (extensions: readonly string[] = []): Promise<CitusCluster> => {
  const nodes = await Promise.all(
    [0, 1, 2].map(() => startPostgres({ settings: SETTINGS, extensions: ["citus", ...extensions] })),
  );
  const [coordinator, ...workers] = nodes as [PostgresServer, ...PostgresServer[]];
  const join = async (database: string): Promise<void> => {
    await coordinator.sql(`SELECT citus_set_coordinator_host('127.0.0.1', ${coordinator.port})`, {
      database,
    });
    for (const { port } of workers)
      await coordinator.sql(`SELECT citus_add_node('127.0.0.1', ${port})`, { database });
  };
  // Citus' daemon looks at template1 now and then, and a template must be looked at by nobody.
  const createOn = async (node: PostgresServer, name: string): Promise<void> => {
    await node.createDatabase(name, { template: "template0" });
    for (const extension of ["citus", ...extensions])
      await node.sql(`CREATE EXTENSION ${extension}`, { database: name });
  };
  await join("postgres");
  return {
    coordinator,
    workers,
    createLonelyDatabase: async (name) => {
      await createOn(coordinator, name);
      return coordinator.urlOf(name);
    },
    createDatabase: async (name) => {
      for (const node of nodes) await createOn(node, name);
      await join(name);
      return coordinator.urlOf(name);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
    },
  };
};
