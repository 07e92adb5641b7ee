import type { Database, StatementRunner, Transaction } from "../sql/database.ts";
import { columnOf, type ShardSchema, type ShardTable } from "./schema.ts";
import { DEFAULT_SHARD_COUNT, schemaSteps } from "./schema-ddl.ts";
import { ShardSchemaDriftError, ShardServerUnsupportedError } from "./shard-errors.ts";

/** Any number that nobody else uses: two processes that migrate at once take turns. */
const MIGRATION_LOCK = 6_104_723_302;

/**
 * Makes what is missing of the schema: tables, their distribution, foreign keys, indexes. All of it or nothing, in
 * one transaction, and once however many processes try. What is there is never changed.
 *
 * @throws ShardSchemaDriftError when a table is there in another form than declared.
 * @throws ShardServerUnsupportedError when no node is registered in this very database: Citus keeps its nodes for
 *   each database, so the tables would be made beside the cluster.
 */
export const migrateSchema = async (
  database: Pick<Database, "transaction">,
  schema: ShardSchema,
  options: { readonly isSharded: boolean },
): Promise<readonly string[]> => {
  const { isSharded } = options;
  return database.transaction(async (tx) => {
    await tx.query("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK]);
    if (isSharded) {
      await requireNode(tx);
      // A table that other steps of the transaction refer to must not be changed on many connections at once.
      await tx.query("SET LOCAL citus.multi_shard_modify_mode = 'sequential'");
    }
    const done: string[] = [];
    for (const step of schemaSteps(schema)) {
      if (step.needsCitus && !isSharded) continue;
      if (step.doneText !== undefined && (await tx.query(step.doneText)).length > 0) continue;
      await tx.query(step.text);
      done.push(step.text);
    }
    const differences = await schemaDrift(tx, schema, { isSharded });
    if (differences.length > 0) throw new ShardSchemaDriftError(differences);
    return done;
  });
};

const requireNode = async (tx: Transaction): Promise<void> => {
  const [row] = await tx.query<{ nodes: number; database: string }>(
    `SELECT count(*) FILTER (WHERE isactive AND shouldhaveshards AND noderole = 'primary')::int AS nodes,
            current_database() AS database FROM pg_dist_node`,
  );
  if ((row?.nodes ?? 0) > 0) return;
  throw new ShardServerUnsupportedError(
    `no node that keeps shards is registered in database ${row?.database}: add the workers there (citus_add_node), or connect to the database that knows them`,
  );
};

interface FoundTable {
  readonly name: string;
  readonly columns: Readonly<Record<string, string>>;
}

interface FoundPlacement {
  readonly name: string;
  readonly kind: "distributed" | "reference";
  readonly by: string | null;
  readonly group: number;
  readonly shardCount: number;
}

/** Where the database differs from the declaration, one sentence each. Further columns and tables are no difference. */
export const schemaDrift = async (
  database: StatementRunner,
  { tables }: ShardSchema,
  options: { readonly isSharded: boolean },
): Promise<readonly string[]> => {
  const names = Object.keys(tables);
  const found = await database.query<FoundTable>(
    `SELECT c.relname AS name, jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) AS columns
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE c.relname = ANY($1::text[]) AND c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) GROUP BY c.relname`,
    [names],
  );
  // The same name for each type on both sides, for example "bigint" for int8.
  const types = await canonicalTypes(database, tables);
  const differences: string[] = [];
  for (const [name, table] of Object.entries(tables)) {
    const there = found.find((each) => each.name === name);
    if (there === undefined) {
      differences.push(`table ${name} is missing`);
      continue;
    }
    for (const [column, declared] of Object.entries(table.columns)) {
      const wanted = types.get(columnOf(declared).type) ?? columnOf(declared).type;
      const type = there.columns[column];
      if (type === undefined) differences.push(`column ${name}.${column} is missing`);
      else if (type !== wanted) differences.push(`column ${name}.${column} is ${type} instead of ${wanted}`);
    }
  }
  if (options.isSharded) differences.push(...(await placementDrift(database, tables)));
  return differences;
};

const canonicalTypes = async (
  database: StatementRunner,
  tables: Readonly<Record<string, ShardTable>>,
): Promise<ReadonlyMap<string, string>> => {
  const declared = new Set(
    Object.values(tables).flatMap(({ columns }) =>
      Object.values(columns).map((column) => columnOf(column).type),
    ),
  );
  const names = [...declared];
  // Only names that defineSchema let through get here.
  const text = names.map((type, index) => `pg_typeof(NULL::${type})::text AS t${index}`).join(", ");
  const [row] = await database.query<Record<string, string>>(`SELECT ${text}`);
  return new Map(
    names.map((type, index) => {
      const modifier = /\(.*\)/.exec(type)?.[0] ?? "";
      const bare = row?.[`t${index}`] ?? type;
      return [type, bare.endsWith("[]") ? bare : bare + modifier];
    }),
  );
};

const placementDrift = async (
  database: StatementRunner,
  tables: Readonly<Record<string, ShardTable>>,
): Promise<readonly string[]> => {
  const rows = await database.query<FoundPlacement>(
    `SELECT c.relname AS name, CASE WHEN p.partmethod = 'h' THEN 'distributed' ELSE 'reference' END AS kind,
            column_to_column_name(p.logicalrelid, p.partkey) AS by, p.colocationid AS "group",
            (SELECT count(*)::int FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid) AS "shardCount"
       FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
      WHERE c.relname = ANY($1::text[]) AND pg_table_is_visible(c.oid)`,
    [Object.keys(tables)],
  );
  const groups = new Map<string, FoundPlacement>();
  const differences: string[] = [];
  for (const [name, table] of Object.entries(tables)) {
    const there = rows.find((each) => each.name === name);
    const kind = there?.kind ?? "local";
    if (kind !== table.kind) {
      differences.push(`table ${name} is ${kind} instead of ${table.kind}`);
      continue;
    }
    if (table.kind !== "distributed" || there === undefined) continue;
    if (there.by !== table.by)
      differences.push(`table ${name} is distributed by ${there.by} instead of ${table.by}`);
    const first = groups.get(table.group);
    if (first === undefined) {
      groups.set(table.group, there);
      const wanted = table.shardCount ?? DEFAULT_SHARD_COUNT;
      // Isolating a tenant splits a shard, so there may be more; never fewer.
      if (there.shardCount < wanted)
        differences.push(`table ${name} has ${there.shardCount} shards instead of ${wanted}`);
    } else if (first.group !== there.group) {
      differences.push(
        `table ${name} does not lie with ${first.name}, though both are of the group ${table.group}`,
      );
    }
  }
  return differences;
};
