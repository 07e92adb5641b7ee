import { InvalidInputError } from "@holdfast/kernel";
import { blankLiterals } from "../sql/blank-literals.ts";
import type { Database, StatementOptions, StatementRunner, TransactionOptions } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import { integerOption } from "../sql/integer-option.ts";
import type {
  ByOf,
  ColumnsOf,
  DistributedName,
  DistributedTable,
  InsertRow,
  PartialRow,
  ResultRow,
  ShardSchema,
  ShardTables,
  TenantOf,
} from "./schema.ts";
import { ShardTenantCrossedError } from "./shard-errors.ts";

type Row<T extends ShardTables, Name extends DistributedName<T>> = Omit<
  InsertRow<ColumnsOf<T[Name]>>,
  ByOf<T[Name]>
>;
type Some<T extends ShardTables, Name extends DistributedName<T>> = Omit<
  PartialRow<ColumnsOf<T[Name]>>,
  ByOf<T[Name]>
>;

export interface SelectOptions<T extends ShardTables, Name extends DistributedName<T>>
  extends StatementOptions {
  readonly where?: Some<T, Name> | undefined;
  readonly orderBy?: readonly (keyof ColumnsOf<T[Name]> & string)[] | undefined;
  /** 1 to 1_000_000. Default 1_000. */
  readonly limit?: number | undefined;
  /** Locks the rows until the transaction ends, which is where this makes sense. Default false. */
  readonly forUpdate?: boolean | undefined;
}

/** What a tenant may do, in and outside of a transaction. The tenant's key is in every predicate and every row. */
export interface TenantRunner<T extends ShardTables> {
  /** @throws ConstraintViolationError. */
  insert<Name extends DistributedName<T>>(
    table: Name,
    row: Row<T, Name>,
    options?: StatementOptions,
  ): Promise<void>;
  select<Name extends DistributedName<T>>(
    table: Name,
    options?: SelectOptions<T, Name>,
  ): Promise<readonly ResultRow<ColumnsOf<T[Name]>>[]>;
  /** How many rows were changed. The key itself cannot be: the row would have to move. */
  update<Name extends DistributedName<T>>(
    table: Name,
    change: { readonly set: Some<T, Name>; readonly where?: Some<T, Name> | undefined },
    options?: StatementOptions,
  ): Promise<number>;
  delete<Name extends DistributedName<T>>(
    table: Name,
    where: Some<T, Name>,
    options?: StatementOptions,
  ): Promise<number>;
  /**
   * Any SELECT over the declared tables by their plain names. Each distributed one shows the tenant's rows alone,
   * wherever it stands: in joins, subqueries, aggregates. Reference tables show all.
   * @throws ShardTenantCrossedError for another kind of statement, a table of another shard group, or a name with a schema.
   */
  query<R extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: StatementOptions,
  ): Promise<readonly R[]>;
}

/** One tenant's view of the schema. */
export interface Tenant<T extends ShardTables> extends TenantRunner<T> {
  /**
   * One transaction in one shard group, so on one node: as strong as on a single server.
   * @throws ShardTenantCrossedError as soon as a table of a second group is touched; everything is rolled back.
   */
  transaction<R>(body: (tx: TenantRunner<T>) => Promise<R>, options?: TransactionOptions): Promise<R>;
}

/** Gives the view of one tenant. Plain PostgreSQL and Citus get the same statements. */
export const tenantOf = <T extends ShardTables>(
  database: Database,
  schema: ShardSchema<T>,
  tenant: TenantOf<T>,
): Tenant<T> => {
  if (tenant === null || tenant === undefined)
    throw new InvalidInputError("tenant", tenant, "the key of one tenant");
  return {
    ...runnerOf(database, schema, tenant, new GroupGuard()),
    transaction: (body, options) =>
      database.transaction(
        (tx) => body(runnerOf(tx, schema, tenant, new GroupGuard({ isKept: true }))),
        options,
      ),
  };
};

/** Sees that a transaction stays in the shard group that it began in. A single statement begins anew each time. */
class GroupGuard {
  readonly #isKept: boolean;
  #first: { readonly table: string; readonly group: string } | undefined;

  constructor(options: { readonly isKept: boolean } = { isKept: false }) {
    this.#isKept = options.isKept;
  }

  enter(tables: readonly (readonly [string, DistributedTable])[]): void {
    let first = this.#isKept ? this.#first : undefined;
    for (const [table, { group }] of tables) {
      first ??= { table, group };
      if (first.group === group) continue;
      throw new ShardTenantCrossedError(
        `table ${table} is of the shard group ${group}, ${first.table} before it of ${first.group}, so they may be on different nodes`,
      );
    }
    this.#first = first;
  }
}

const runnerOf = <T extends ShardTables>(
  runner: StatementRunner,
  schema: ShardSchema<T>,
  tenant: unknown,
  guard: GroupGuard,
): TenantRunner<T> => {
  const open = (
    name: string,
  ): { readonly quoted: string; readonly table: DistributedTable; readonly by: string } => {
    const table = distributedTable(schema, name);
    guard.enter([[name, table]]);
    return { quoted: quoteIdentifier(name, "table"), table, by: quoteIdentifier(table.by, "column") };
  };
  return {
    async insert(name, row, options) {
      const { quoted, table, by } = open(name);
      const given = entries(table, row, "row");
      const columns = [by, ...given.map(([column]) => column)];
      const values = [tenant, ...given.map(([, value]) => value)];
      const places = values.map((_value, index) => `$${index + 1}`);
      await runner.query(
        `INSERT INTO ${quoted} (${columns.join(", ")}) VALUES (${places.join(", ")})`,
        values,
        options,
      );
    },
    async select(name, options = {}) {
      const { quoted, table, by } = open(name);
      const limit = integerOption("limit", options.limit ?? 1_000, 1, 1_000_000);
      const condition = conditions(table, by, tenant, options.where ?? {});
      const order = (options.orderBy ?? []).map((column) => checkColumn(table, column, "orderBy"));
      const sorted = order.length === 0 ? "" : ` ORDER BY ${order.join(", ")}`;
      const lock = options.forUpdate === true ? " FOR UPDATE" : "";
      const text = `SELECT * FROM ${quoted} WHERE ${condition.text}${sorted} LIMIT ${limit}${lock}`;
      return runner.query<never>(text, condition.values, options);
    },
    async update(name, { set, where = {} }, options) {
      const { quoted, table, by } = open(name);
      const changes = entries(table, set, "set");
      if (changes.length === 0) throw new InvalidInputError("set", set, "at least one column");
      const condition = conditions(table, by, tenant, where);
      const assigned = changes.map(
        ([column], index) => `${column} = $${condition.values.length + index + 1}`,
      );
      const values = [...condition.values, ...changes.map(([, value]) => value)];
      return (
        await runner.execute(
          `UPDATE ${quoted} SET ${assigned.join(", ")} WHERE ${condition.text}`,
          values,
          options,
        )
      ).rowCount;
    },
    async delete(name, where, options) {
      const { quoted, table, by } = open(name);
      const condition = conditions(table, by, tenant, where);
      return (
        await runner.execute(`DELETE FROM ${quoted} WHERE ${condition.text}`, condition.values, options)
      ).rowCount;
    },
    async query(text, values = [], options) {
      const scoped = scopeSelect(schema, text, values.length);
      guard.enter(scoped.tables);
      return runner.query(scoped.text, scoped.tables.length === 0 ? values : [...values, tenant], {
        repeatable: true,
        ...options,
      });
    },
  };
};

const distributedTable = (schema: ShardSchema, name: string): DistributedTable => {
  const table = Object.hasOwn(schema.tables, name) ? schema.tables[name] : undefined;
  if (table?.kind === "distributed") return table;
  if (table === undefined)
    throw new InvalidInputError("table", name, `one of ${Object.keys(schema.tables).join(", ")}`);
  throw new ShardTenantCrossedError(`table ${name} is ${table.kind} and belongs to no tenant`);
};

const checkColumn = (table: DistributedTable, column: string, field: string): string => {
  if (!Object.hasOwn(table.columns, column)) {
    throw new InvalidInputError(
      `${field}.${column}`,
      column,
      `a column: ${Object.keys(table.columns).join(", ")}`,
    );
  }
  return quoteIdentifier(column, field);
};

/** Quoted columns with their values; the key comes from the tenant alone. */
const entries = (
  table: DistributedTable,
  row: object,
  field: string,
): readonly (readonly [string, unknown])[] =>
  Object.entries(row).flatMap(([column, value]) => {
    if (column === table.by) {
      throw new InvalidInputError(
        `${field}.${column}`,
        value,
        "left out: the tenant's key is added by itself and never changes",
      );
    }
    return value === undefined ? [] : [[checkColumn(table, column, field), value] as const];
  });

const conditions = (
  table: DistributedTable,
  by: string,
  tenant: unknown,
  where: object,
): { readonly text: string; readonly values: readonly unknown[] } => {
  const values: unknown[] = [tenant];
  const parts = entries(table, where, "where").map(([column, value]) => {
    if (value === null) return `${column} IS NULL`;
    values.push(value);
    return `${column} = $${values.length}`;
  });
  return { text: [`${by} = $1`, ...parts].join(" AND "), values };
};

/**
 * Puts in front of a SELECT a view of each distributed table that it names, with the tenant's rows alone, under
 * the table's own name. PostgreSQL folds such views into the query, so indexes and the routing to one shard work.
 */
const scopeSelect = (
  schema: ShardSchema,
  text: string,
  valueCount: number,
): { readonly text: string; readonly tables: readonly (readonly [string, DistributedTable])[] } => {
  const bare = withoutLiterals(text);
  // A column may well be called "update".
  const words = bare.replaceAll(/"(?:[^"]|"")*"/g, " ");
  if (
    !/^\s*select\b/i.test(words) ||
    words.includes(";") ||
    /\b(insert|update|delete|merge|into)\b/i.test(words)
  ) {
    throw new ShardTenantCrossedError(
      "a tenant's query is one SELECT; rows are written by insert, update and delete, and locked by select with forUpdate",
    );
  }
  const tables = Object.entries(schema.tables).flatMap(([name, table]) => {
    if (table.kind !== "distributed") return [];
    const quoted = quoteIdentifier(name, "table");
    const named = namePattern(name, quoted);
    if (!new RegExp(named, "i").test(bare)) return [];
    if (new RegExp(`\\.\\s*(?:${named})`, "i").test(bare)) {
      throw new ShardTenantCrossedError(
        `table ${name} is named with its schema, which would show the rows of every tenant`,
      );
    }
    return [[name, table] as const];
  });
  if (tables.length === 0) return { text, tables };
  const views = tables.map(([name, table]) => {
    const quoted = quoteIdentifier(name, "table");
    // Resolved before the view of that name exists: a WITH without RECURSIVE does not see itself.
    return `${quoted} AS NOT MATERIALIZED (SELECT * FROM ${quoted} WHERE ${quoteIdentifier(table.by, "column")} = $${valueCount + 1})`;
  });
  return { text: `WITH ${views.join(", ")} ${text}`, tables };
};

/** What PostgreSQL takes for a name without quotes: letters of any script, and dollars. */
const PLAIN_NAME = /^[a-z_\u0080-\uffff][a-z0-9_$\u0080-\uffff]*$/;
/** Every name of a text, in quotes or without. */
const NAMES = /"(?:[^"]|"")*"|(?<![\w$\u0080-\uffff])[a-z_\u0080-\uffff][\w$\u0080-\uffff]*/gi;
const NAME_MAX_BYTES = 63;

/** A pattern of all the ways in which a query may write the name of a table. */
const namePattern = (name: string, quoted: string): string => {
  const literal = (text: string): string => text.replaceAll(/[$()*+.?[\\\]^{|}]/g, "\\$&");
  if (!PLAIN_NAME.test(name)) return literal(quoted);
  return `(?<![\\w$\\u0080-\\uffff])${literal(name)}(?![\\w$\\u0080-\\uffff])|${literal(quoted)}`;
};

/**
 * The text with strings and comments blanked out, so that words in them mean nothing. Quoted names stay.
 * @throws ShardTenantCrossedError for what would have to be read otherwise than it looks.
 */
const withoutLiterals = (text: string): string => {
  const bare = blankLiterals(text, () => {
    throw new ShardTenantCrossedError("a tenant's query has no comment inside a comment");
  });
  const long = bare
    .match(NAMES)
    ?.find((name) => Buffer.byteLength(name.replaceAll(/^"|"$/g, "").replaceAll('""', '"')) > NAME_MAX_BYTES);
  if (long !== undefined) {
    throw new ShardTenantCrossedError(
      `a tenant's query has no name of more than ${NAME_MAX_BYTES} bytes: the server would cut it, and find another`,
    );
  }
  if (!/(?<![\w$\u0080-\uffff])u&"/i.test(bare)) return bare;
  throw new ShardTenantCrossedError("a tenant's query names tables as they are declared, without U& escapes");
};
