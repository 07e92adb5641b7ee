import { quoteIdentifier } from "../sql/identifier.ts";
import { columnOf, type ForeignKey, type ShardSchema, type ShardTable, type ShardTables } from "./schema.ts";
import { ShardSchemaError } from "./shard-errors.ts";

/** What stands for a type in SQL, and nothing else that could be smuggled in. */
const TYPE = /^[a-z][a-z0-9_]*(\(\d+(, ?\d+)?\))?(\[\])?$/;

/**
 * Checks a declaration as a whole, also what the compiler cannot see: names, foreign keys, groups.
 * @throws ShardSchemaError with every problem found.
 */
export const defineSchema = <const T extends ShardTables>(tables: T): ShardSchema<T> => {
  const problems = Object.entries(tables).flatMap(([name, table]) => [
    ...nameProblems(name, table),
    ...keyProblems(name, table),
    ...foreignKeyProblems(name, table, tables),
  ]);
  problems.push(...groupProblems(tables));
  if (problems.length === 0) problems.push(...cycleProblems(tables));
  if (problems.length > 0) throw new ShardSchemaError(problems);
  return { tables };
};

const nameProblems = (name: string, table: ShardTable): readonly string[] => {
  const problems: string[] = [];
  for (const identifier of [name, ...Object.keys(table.columns)]) {
    try {
      quoteIdentifier(identifier, "name");
    } catch {
      problems.push(`table ${name}: ${JSON.stringify(identifier)} is no name of 1 to 63 bytes`);
    }
  }
  for (const [column, declared] of Object.entries(table.columns)) {
    const { type, identity } = columnOf(declared);
    if (!TYPE.test(type))
      problems.push(`table ${name}: column ${column} has no type ${JSON.stringify(type)}`);
    if (identity === true && type !== "int8")
      problems.push(`table ${name}: column ${column} counts by itself, so it must be int8`);
  }
  return problems;
};

const keyProblems = (name: string, table: ShardTable): readonly string[] => {
  const problems: string[] = [];
  const check = (what: string, columns: readonly string[], isUnique: boolean): void => {
    const unknown = columns.filter((column) => !Object.hasOwn(table.columns, column));
    for (const column of unknown)
      problems.push(`table ${name}: ${what} names ${column}, which is no column of it`);
    if (columns.length === 0) problems.push(`table ${name}: ${what} is empty`);
    if (isUnique && table.kind === "distributed" && !columns.includes(table.by)) {
      problems.push(
        `table ${name}: ${what} (${columns.join(", ")}) must contain ${table.by}, by which the table is distributed`,
      );
    }
  };
  check("its primary key", table.primaryKey, true);
  for (const key of table.unique ?? []) check("a unique key", key, true);
  for (const { columns } of table.indexes ?? []) check("an index", columns, false);
  if (table.kind === "distributed") {
    const { by, shardCount } = table;
    if (!Object.hasOwn(table.columns, by))
      problems.push(`table ${name}: it is distributed by ${by}, which is no column of it`);
    else if (columnOf(table.columns[by] ?? "text").nullable === true)
      problems.push(`table ${name}: ${by} decides on the shard, so it may not be NULL`);
    if (
      shardCount !== undefined &&
      !(Number.isInteger(shardCount) && shardCount >= 4 && shardCount <= 64_000)
    ) {
      problems.push(`table ${name}: shardCount must be an integer from 4 to 64000, got ${shardCount}`);
    }
  }
  return problems;
};

const foreignKeyProblems = (name: string, table: ShardTable, tables: ShardTables): readonly string[] =>
  (table.foreignKeys ?? []).flatMap((key) => {
    const target = Object.hasOwn(tables, key.references) ? tables[key.references] : undefined;
    if (target === undefined)
      return [`table ${name}: a foreign key refers to ${key.references}, which is not declared`];
    const problem = foreignKeyProblem(table, key, target);
    return problem === undefined ? [] : [`table ${name}: the foreign key to ${key.references} ${problem}`];
  });

const foreignKeyProblem = (table: ShardTable, key: ForeignKey, target: ShardTable): string | undefined => {
  if (key.columns.length !== key.referenced.length || key.columns.length === 0)
    return "needs as many columns on both sides";
  const unknown = key.columns.find((column) => !Object.hasOwn(table.columns, column));
  if (unknown !== undefined) return `names ${unknown}, which is no column of it`;
  const keys = [target.primaryKey, ...(target.unique ?? [])];
  const isKey = keys.some(
    (each) =>
      each.length === key.referenced.length && each.every((column) => key.referenced.includes(column)),
  );
  if (!isKey) return `refers to (${key.referenced.join(", ")}), which is no unique key there`;
  if (target.kind === "reference") return undefined;
  if (target.kind === "local")
    return table.kind === "local" ? undefined : "refers to a local table, which other nodes do not have";
  if (table.kind !== "distributed") return "refers to a distributed table, of which one node has only a part";
  if (table.group !== target.group) return `leaves the group ${table.group}: its rows may be on another node`;
  const at = key.columns.indexOf(table.by);
  if (at < 0 || key.referenced[at] !== target.by) {
    return `must contain ${table.by} and match it with ${target.by}, or the row it refers to may be on another node`;
  }
  return undefined;
};

const groupProblems = (tables: ShardTables): readonly string[] => {
  const groups = new Map<
    string,
    { readonly name: string; readonly type: string; readonly shardCount: number | undefined }
  >();
  const problems: string[] = [];
  for (const [name, table] of Object.entries(tables)) {
    if (table.kind !== "distributed" || !Object.hasOwn(table.columns, table.by)) continue;
    const { type } = columnOf(table.columns[table.by] ?? "text");
    const first = groups.get(table.group);
    if (first === undefined) groups.set(table.group, { name, type, shardCount: table.shardCount });
    else if (first.type !== type) {
      problems.push(
        `table ${name}: it is distributed by a ${type}, but ${first.name} of the same group ${table.group} by a ${first.type}`,
      );
    } else if (table.shardCount !== undefined && first.shardCount !== table.shardCount) {
      problems.push(
        `table ${name}: it has another shardCount than ${first.name} of the same group ${table.group}`,
      );
    }
  }
  return problems;
};

const cycleProblems = (tables: ShardTables): readonly string[] => {
  const ordered = orderTables(tables);
  const left = Object.keys(tables).filter((name) => !ordered.includes(name));
  return left.length === 0 ? [] : [`the foreign keys of ${left.join(", ")} go in a circle`];
};

/** Names in an order in which each comes after those that it refers to. Tables in a circle are left out. */
export const orderTables = (tables: ShardTables): readonly string[] => {
  const ordered: string[] = [];
  const targetsOf = (name: string): readonly string[] =>
    (tables[name]?.foreignKeys ?? []).map(({ references }) => references).filter((target) => target !== name);
  for (let left = Object.keys(tables); left.length > 0; ) {
    const ready = left.filter((name) => targetsOf(name).every((target) => ordered.includes(target)));
    if (ready.length === 0) break;
    ordered.push(...ready);
    left = left.filter((name) => !ready.includes(name));
  }
  return ordered;
};
