import type { StatementRunner } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import type { ShardSchema } from "./schema.ts";

export interface ShardNode {
  readonly host: string;
  readonly port: number;
}

export interface ShardLocation extends ShardNode {
  /** Decimal; undefined on plain PostgreSQL. */
  readonly shardId: string | undefined;
}

export interface PlacedTable {
  readonly table: string;
  readonly kind: "distributed" | "reference" | "local";
  readonly by: string | undefined;
  /** Tables with the same number lie together. */
  readonly groupId: number | undefined;
  readonly shardCount: number;
  readonly sizeBytes: number;
}

export interface PlacedShard extends ShardNode {
  readonly table: string;
  readonly shardId: string;
  readonly sizeBytes: number;
}

export interface NodeLoad extends ShardNode {
  readonly isActive: boolean;
  readonly shardCount: number;
  readonly sizeBytes: number;
}

export interface PlacementReport {
  readonly tables: readonly PlacedTable[];
  readonly shards: readonly PlacedShard[];
  readonly nodes: readonly NodeLoad[];
  /** The fullest node, and the largest shard of a table, as multiples of the mean; 1 is even. */
  readonly skew: { readonly byNode: number; readonly byShard: Readonly<Record<string, number>> };
}

/**
 * Every table that Citus has spread, whoever declared it; undefined on a server without Citus.
 * @throws what `query` throws.
 */
export const readWholePlacement = async (
  database: StatementRunner,
): Promise<(PlacementReport & { readonly citusVersion: string }) | undefined> => {
  const [extension] = await database.query<{ version: string }>(
    "SELECT extversion AS version FROM pg_extension WHERE extname = 'citus'",
    [],
  );
  if (extension === undefined) return undefined;
  // With their schemas, where several have a table of one name.
  const nameOf = (table: string): string => table.replaceAll('"', "");
  return { ...(await placedByCitus(database, { nameOf })), citusVersion: extension.version };
};

/** Reads Citus' own views (`citus_tables`, `citus_shards`), or describes the one server. */
export const readPlacement = async (
  database: StatementRunner,
  { tables }: ShardSchema,
  options: { readonly isSharded: boolean },
): Promise<PlacementReport> => {
  if (!options.isSharded) return onOneServer(database, { tables });
  const names = Object.keys(tables);
  return placedByCitus(database, { nameOf: unquoted, isShown: (table) => names.includes(table) });
};

const placedByCitus = async (
  database: StatementRunner,
  options: { readonly nameOf: (table: string) => string; readonly isShown?: (name: string) => boolean },
): Promise<PlacementReport> => {
  const { nameOf, isShown = () => true } = options;
  const placed = await database.query<{
    table: string;
    kind: string;
    by: string;
    group: number;
    shards: string;
    size: string;
  }>(
    `SELECT table_name::text AS table, citus_table_type AS kind, distribution_column AS by, colocation_id AS "group",
            shard_count AS shards, pg_size_bytes(table_size) AS size FROM citus_tables`,
  );
  const shards = await database.query<{
    table: string;
    id: string;
    host: string;
    port: number;
    size: string;
  }>(
    `SELECT table_name::text AS table, shardid AS id, nodename AS host, nodeport AS port, coalesce(shard_size, 0) AS size
       FROM citus_shards ORDER BY shardid, nodename, nodeport`,
  );
  const nodes = await database.query<{ host: string; port: number; active: boolean }>(
    "SELECT nodename AS host, nodeport AS port, isactive AS active FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards ORDER BY 1, 2",
  );
  const isOurs = (table: string): boolean => isShown(nameOf(table));
  const ours: readonly PlacedShard[] = shards
    .filter(({ table }) => isOurs(table))
    .map(({ table, id, host, port, size }) => ({
      table: nameOf(table),
      shardId: id,
      host,
      port,
      sizeBytes: Number(size),
    }));
  const loads = nodes.map(({ host, port, active }) => {
    const here = ours.filter((shard) => shard.host === host && shard.port === port);
    return {
      host,
      port,
      isActive: active,
      shardCount: here.length,
      sizeBytes: sum(here.map(({ sizeBytes }) => sizeBytes)),
    };
  });
  const found: readonly PlacedTable[] = placed
    .filter(({ table }) => isOurs(table))
    .map(({ table, kind, by, group, shards: count, size }) => ({
      table: nameOf(table),
      kind: kind === "distributed" || kind === "reference" ? kind : "local",
      by: kind === "distributed" ? by : undefined,
      groupId: group,
      shardCount: Number(count),
      sizeBytes: Number(size),
    }));
  const distributed = found.filter(({ kind }) => kind === "distributed");
  return {
    tables: found,
    shards: ours,
    nodes: loads,
    skew: {
      byNode: skewOf(loads.map(({ sizeBytes }) => sizeBytes)),
      byShard: Object.fromEntries(
        distributed.map(({ table }) => [
          table,
          skewOf(ours.filter((shard) => shard.table === table).map(({ sizeBytes }) => sizeBytes)),
        ]),
      ),
    },
  };
};

/** Where a tenant's rows are. @throws StatementError for a table that is not there. */
export const locateTenant = async (
  database: StatementRunner,
  table: string,
  tenant: unknown,
  options: { readonly isSharded: boolean },
): Promise<ShardLocation> => {
  if (!options.isSharded) return oneServer(database);
  const [row] = await database.query<{ id: string; host: string; port: number }>(
    `SELECT s.shardid AS id, s.nodename AS host, s.nodeport AS port FROM citus_shards s
      WHERE s.shardid = get_shard_id_for_distribution_column($1::text::regclass, $2::text) LIMIT 1`,
    [quoteIdentifier(table, "table"), String(tenant)],
  );
  return { shardId: row?.id, host: row?.host ?? "", port: row?.port ?? 0 };
};

const oneServer = async (database: StatementRunner): Promise<ShardLocation> => {
  const [row] = await database.query<{ host: string | null; port: number | null }>(
    "SELECT host(inet_server_addr()) AS host, inet_server_port() AS port",
  );
  return { shardId: undefined, host: row?.host ?? "localhost", port: row?.port ?? 0 };
};

const onOneServer = async (database: StatementRunner, { tables }: ShardSchema): Promise<PlacementReport> => {
  const { host, port } = await oneServer(database);
  const rows = await database.query<{ table: string; size: string }>(
    `SELECT relname AS table, pg_total_relation_size(oid) AS size FROM pg_class
      WHERE relname = ANY($1::text[]) AND relkind = 'r' AND pg_table_is_visible(oid) ORDER BY 1`,
    [Object.keys(tables)],
  );
  const sizeBytes = sum(rows.map(({ size }) => Number(size)));
  return {
    tables: rows.map(({ table, size }) => {
      const declared = tables[table];
      return {
        table,
        kind: declared?.kind ?? "local",
        by: declared?.kind === "distributed" ? declared.by : undefined,
        groupId: undefined,
        shardCount: 1,
        sizeBytes: Number(size),
      };
    }),
    shards: [],
    nodes: [{ host, port, isActive: true, shardCount: 0, sizeBytes }],
    skew: { byNode: 1, byShard: {} },
  };
};

const unquoted = (name: string): string =>
  name
    .replace(/^.*\./, "")
    .replace(/^"(.*)"$/, "$1")
    .replaceAll('""', '"');
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const skewOf = (values: readonly number[]): number => {
  const mean = sum(values) / Math.max(1, values.length);
  return mean === 0 ? 1 : Math.max(...values) / mean;
};
