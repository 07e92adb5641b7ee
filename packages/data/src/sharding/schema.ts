/** What a column holds, and what its values are in a program (see `StatementRunner` for the forms of results). */
interface ColumnValues {
  readonly text: string;
  readonly uuid: string;
  readonly int4: number;
  readonly int8: string | bigint | number;
  readonly float8: number;
  readonly numeric: string | number;
  readonly boolean: boolean;
  readonly timestamptz: Date;
  readonly bytea: Uint8Array;
  readonly jsonb: unknown;
  readonly json: unknown;
}

/** The types that are typed, and any other by its name in SQL, whose values are unknown. */
export type ShardColumnType =
  | keyof ColumnValues
  | `${"vector" | "halfvec" | "sparsevec" | "bit" | "numeric" | "varchar"}(${string})`
  | `${keyof ColumnValues}[]`;

export interface ShardColumn {
  readonly type: ShardColumnType;
  /** Default false. */
  readonly nullable?: boolean | undefined;
  /** An expression in SQL, of the declaration's author: never of a user. */
  readonly default?: string | undefined;
  /** "by default" makes a bigint that counts by itself. */
  readonly identity?: true | undefined;
}

export type ShardColumns = Readonly<Record<string, ShardColumn | ShardColumnType>>;

type NameOf<C> = keyof C & string;
type TypeOf<D> = D extends ShardColumnType ? D : D extends { readonly type: infer T } ? T : never;
type ValueOf<D> =
  TypeOf<D> extends keyof ColumnValues ? ColumnValues[TypeOf<D> & keyof ColumnValues] : unknown;
type IsNullable<D> = D extends { readonly nullable: true } ? true : false;
type HasDefault<D> = D extends { readonly default: string }
  ? true
  : D extends { readonly identity: true }
    ? true
    : IsNullable<D>;

/** A row to insert: what has a default, or may be NULL, may be left out. */
export type InsertRow<C extends ShardColumns> = {
  readonly [N in NameOf<C> as HasDefault<C[N]> extends true ? never : N]: ValueOf<C[N]>;
} & {
  readonly [N in NameOf<C> as HasDefault<C[N]> extends true ? N : never]?:
    | ValueOf<C[N]>
    | (IsNullable<C[N]> extends true ? null : never)
    | undefined;
};

interface ColumnResults extends Omit<ColumnValues, "int8" | "numeric"> {
  readonly int8: string;
  readonly numeric: string;
}
type ResultOf<D> =
  TypeOf<D> extends keyof ColumnResults ? ColumnResults[TypeOf<D> & keyof ColumnResults] : unknown;

/** A row as it is read; other types than the plain ones are unknown. */
export type ResultRow<C extends ShardColumns> = {
  readonly [N in NameOf<C>]: ResultOf<C[N]> | (IsNullable<C[N]> extends true ? null : never);
};

/** Some columns of a row, to look for or to set. */
export type PartialRow<C extends ShardColumns> = {
  readonly [N in NameOf<C>]?: ValueOf<C[N]> | (IsNullable<C[N]> extends true ? null : never) | undefined;
};

export interface ForeignKey<Column extends string = string> {
  readonly columns: readonly Column[];
  /** The table that is referred to, by its unique key of as many columns. */
  readonly references: string;
  readonly referenced: readonly string[];
  /** Default: refuse. On a distributed table SET NULL and SET DEFAULT would touch the distribution column. */
  readonly onDelete?: "cascade" | undefined;
}

export interface TableIndex<Column extends string = string> {
  readonly columns: readonly Column[];
  /** Default btree. */
  readonly method?: "btree" | "gin" | "hash" | undefined;
}

interface TableParts<C extends ShardColumns> {
  readonly columns: C;
  readonly primaryKey: readonly NameOf<C>[];
  readonly unique?: readonly (readonly NameOf<C>[])[] | undefined;
  readonly foreignKeys?: readonly ForeignKey<NameOf<C>>[] | undefined;
  readonly indexes?: readonly TableIndex<NameOf<C>>[] | undefined;
}

export interface DistributedTable<C extends ShardColumns = ShardColumns, By extends string = string>
  extends TableParts<C> {
  readonly kind: "distributed";
  /** The column whose value decides on the shard; it never changes in a row. */
  readonly by: By;
  readonly shardCount: number | undefined;
  /** The tables of one group keep a tenant's rows on one node. */
  readonly group: string;
}

export interface ReferenceTable<C extends ShardColumns = ShardColumns> extends TableParts<C> {
  readonly kind: "reference";
}

export interface LocalTable<C extends ShardColumns = ShardColumns> extends TableParts<C> {
  readonly kind: "local";
}

export type ShardTable = DistributedTable | ReferenceTable | LocalTable;
export type ShardTables = Readonly<Record<string, ShardTable>>;

/** Turns into something that nothing can be when a key lacks the column, so that the compiler points at the key. */
type MustContain<Key extends readonly string[], By extends string> = By extends Key[number]
  ? unknown
  : { readonly "a unique key must contain the column that the table is distributed by": By };
type AllMustContain<Keys extends readonly (readonly string[])[], By extends string> = {
  readonly [Index in keyof Keys]: Keys[Index] & MustContain<Keys[Index], By>;
};

/**
 * A table whose rows are spread by the value of one column. Every unique key must contain that column, or no node
 * could tell whether a value exists elsewhere: one that does not is an error of the compiler, and of `defineSchema`.
 */
export const distributed = <
  const C extends ShardColumns,
  const By extends NameOf<C>,
  const Key extends readonly NameOf<C>[],
  const Unique extends readonly (readonly NameOf<C>[])[] = readonly [],
>(table: {
  readonly columns: C;
  readonly by: By;
  readonly primaryKey: Key & MustContain<Key, By>;
  readonly unique?: (Unique & AllMustContain<Unique, By>) | undefined;
  readonly foreignKeys?: readonly ForeignKey<NameOf<C>>[] | undefined;
  readonly indexes?: readonly TableIndex<NameOf<C>>[] | undefined;
  /** 4 to 64_000. Default 32; tables of one group have the same. */
  readonly shardCount?: number | undefined;
  /** Tables of one group, which must be distributed by the same type, keep a tenant together. Default "default". */
  readonly group?: string | undefined;
}): DistributedTable<C, By> => ({
  ...table,
  kind: "distributed",
  shardCount: table.shardCount,
  group: table.group ?? "default",
});

/** A small table of which every node has all rows, so that each can join it. */
export const reference = <const C extends ShardColumns>(table: TableParts<C>): ReferenceTable<C> => ({
  ...table,
  kind: "reference",
});

/** A table that stays on the coordinator. */
export const local = <const C extends ShardColumns>(table: TableParts<C>): LocalTable<C> => ({
  ...table,
  kind: "local",
});

export interface ShardSchema<T extends ShardTables = ShardTables> {
  readonly tables: T;
}

export type DistributedName<T extends ShardTables> = {
  readonly [Name in NameOf<T>]: T[Name]["kind"] extends "distributed" ? Name : never;
}[NameOf<T>];

export type ColumnsOf<T extends ShardTable> = T["columns"];
export type ByOf<T extends ShardTable> = T extends { readonly by: infer By extends string } ? By : never;

/** The value that names a tenant: that of the distribution column of any distributed table. */
export type TenantOf<T extends ShardTables> = {
  readonly [Name in DistributedName<T>]: ValueOf<ColumnsOf<T[Name]>[ByOf<T[Name]>]>;
}[DistributedName<T>];

/** The full form of a column's declaration. */
export const columnOf = (declared: ShardColumn | ShardColumnType): ShardColumn =>
  typeof declared === "string" ? { type: declared } : declared;
