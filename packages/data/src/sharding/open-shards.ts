import { type Abortable, type Clock, InvalidInputError, systemClock } from "@holdfast/kernel";
import type { Database, StatementRunner, TransactionOptions } from "../sql/database.ts";
import { checkCitusVersion } from "./citus-version.ts";
import { type InDoubtTransaction, listInDoubt, recoverInDoubt } from "./in-doubt.ts";
import { migrateSchema, schemaDrift } from "./migrate-schema.ts";
import { locateTenant, type PlacementReport, readPlacement, type ShardLocation } from "./placement.ts";
import {
  isolateTenant,
  planRebalance,
  type RebalanceMove,
  type RebalanceOptions,
  type RebalanceReport,
  rebalance,
} from "./rebalance.ts";
import type { DistributedName, ShardSchema, ShardTables, TenantOf } from "./schema.ts";
import { ShardServerUnsupportedError } from "./shard-errors.ts";
import { type Tenant, tenantOf } from "./tenant.ts";

export interface ShardsOptions<T extends ShardTables> extends Abortable {
  readonly database: Database;
  readonly schema: ShardSchema<T>;
  /** "auto" (default) shards where Citus is; "required" refuses a server without it; "off" never does. */
  readonly citus?: "auto" | "required" | "off" | undefined;
  readonly clock?: Clock | undefined;
}

/** All tenants at once. A statement over several nodes sees no common moment: it may see half of a concurrent commit. */
export interface CrossTenant extends StatementRunner {
  /** Commits on all nodes or on none, by two-phase commit; readers may see one node's part before another's. */
  transaction<R>(body: (tx: StatementRunner) => Promise<R>, options?: TransactionOptions): Promise<R>;
}

/** A schema over the nodes of a Citus cluster, or on one PostgreSQL: the same calls, the same checks. */
export interface Shards<T extends ShardTables> {
  readonly isSharded: boolean;
  /** For example "13.2.2"; undefined on plain PostgreSQL. */
  readonly citusVersion: string | undefined;
  /** Makes what is missing and gives the statements that ran; see `migrateSchema`. */
  migrate(): Promise<readonly string[]>;
  /** Where the database differs from the declaration; empty when it does not. */
  drift(): Promise<readonly string[]>;
  forTenant(tenant: TenantOf<T>): Tenant<T>;
  /** The only way past the tenant: whoever reads the code sees it. */
  crossTenant(): CrossTenant;
  /** Where a tenant's rows of a table are, asked of the catalogue. */
  locate(table: DistributedName<T>, tenant: TenantOf<T>): Promise<ShardLocation>;
  /** Tables, shards, nodes and sizes, with how uneven they are. */
  placement(): Promise<PlacementReport>;
  /** The moves that `rebalance` would make. */
  planRebalance(): Promise<readonly RebalanceMove[]>;
  /** Moves shards until the nodes hold as much each. Reads and writes go on; see {@link RebalanceOptions}. */
  rebalance(options?: RebalanceOptions): Promise<RebalanceReport>;
  /** Gives a large tenant a shard of its own, in every table of its group. */
  isolate(table: DistributedName<T>, tenant: TenantOf<T>): Promise<ShardLocation>;
  /** Transactions that are prepared on a node and neither committed nor rolled back there. */
  inDoubt(): Promise<readonly InDoubtTransaction[]>;
  /** Lets the cluster finish them as the coordinator decided, and gives how many; its own daemon does so each minute. */
  recover(): Promise<number>;
  /**
   * Sets `citus.*` settings for the whole database; new sessions have them.
   * @throws InvalidInputError naming a setting that this version does not know; nothing was set.
   */
  configure(settings: Readonly<Record<string, string | number | boolean>>): Promise<void>;
}

/**
 * Looks what the server is, and gives the schema's operations on it.
 * @throws ShardServerUnsupportedError when Citus is required and missing, or does not support this PostgreSQL.
 */
export const openShards = async <const T extends ShardTables>(
  options: ShardsOptions<T>,
): Promise<Shards<T>> => {
  const { database, schema, citus = "auto", clock = systemClock } = options;
  const citusVersion = citus === "off" ? undefined : await readCitusVersion(database);
  if (citusVersion === undefined && citus === "required") {
    throw new ShardServerUnsupportedError(
      "the extension citus is not there: install it on every node, add it to shared_preload_libraries, and create it in this database",
    );
  }
  if (citusVersion !== undefined)
    checkCitusVersion(citusVersion, Number.parseInt(database.serverVersion, 10));
  const isSharded = citusVersion !== undefined;
  return {
    isSharded,
    citusVersion,
    migrate: () => migrateSchema(database, schema, { isSharded }),
    drift: () => schemaDrift(database, schema, { isSharded }),
    forTenant: (tenant) => tenantOf(database, schema, tenant),
    crossTenant: () => database,
    locate: (table, tenant) => locateTenant(database, table, tenant, { isSharded }),
    placement: () => readPlacement(database, schema, { isSharded }),
    planRebalance: () => (isSharded ? planRebalance(database) : Promise.resolve([])),
    rebalance: (request = {}) => rebalance(database, clock, { ...request, isSharded }),
    isolate: async (table, tenant) => {
      if (isSharded) await isolateTenant(database, table, tenant);
      return locateTenant(database, table, tenant, { isSharded });
    },
    inDoubt: () => listInDoubt(database, { isSharded }),
    recover: () => (isSharded ? recoverInDoubt(database) : Promise.resolve(0)),
    configure: (settings) => configure(database, settings, { isSharded }),
  };
};

const readCitusVersion = async (database: Database): Promise<string | undefined> => {
  const [row] = await database.query<{ version: string }>(
    "SELECT extversion AS version FROM pg_extension WHERE extname = 'citus'",
  );
  if (row === undefined) return undefined;
  // The extension counts its own scripts (13.2-1); the library knows its release.
  const [full] = await database.query<{ version: string }>("SELECT citus_version() AS version");
  return /Citus (\d+(?:\.\d+)*)/.exec(full?.version ?? "")?.[1] ?? row.version;
};

const configure = async (
  database: Database,
  settings: Readonly<Record<string, string | number | boolean>>,
  options: { readonly isSharded: boolean },
): Promise<void> => {
  const names = Object.keys(settings);
  const wrong = names.find((name) => !/^citus\.[a-z_0-9]+$/.test(name));
  if (wrong !== undefined)
    throw new InvalidInputError(`settings.${wrong}`, wrong, "a setting of Citus (citus.…)");
  if (!options.isSharded) return;
  const known = await database.query<{ name: string }>(
    "SELECT name FROM pg_settings WHERE name = ANY($1::text[])",
    [names],
  );
  const unknown = names.find((name) => !known.some((each) => each.name === name));
  if (unknown !== undefined)
    throw new InvalidInputError(`settings.${unknown}`, unknown, "a setting that this version of Citus knows");
  await database.transaction(async (tx) => {
    for (const [name, value] of Object.entries(settings)) {
      const [row] = await tx.query<{ text: string }>(
        "SELECT format('ALTER DATABASE %I SET %s = %L', current_database(), $1::text, $2::text) AS text",
        [name, String(value)],
      );
      await tx.query(row?.text ?? "");
    }
  });
};
