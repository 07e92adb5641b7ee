import { InvalidInputError } from "@holdfast/kernel";
import { quoteIdentifier } from "../sql/identifier.ts";
import { checkedMetadata } from "./metadata.ts";

/** Types of the columns that a collection has beside its own, to be filtered by. */
export type FilterColumnType = "text" | "int4" | "int8" | "float8" | "boolean" | "timestamptz";

interface FilterValues {
  readonly text: string;
  readonly int4: number;
  readonly int8: bigint;
  readonly float8: number;
  readonly boolean: boolean;
  readonly timestamptz: Date;
}

/** The columns of a collection by name. */
export type FilterColumns = Readonly<Record<string, FilterColumnType>>;

export type FilterValue<T extends FilterColumnType> = FilterValues[T];

/** Equal to a value (null: absent), one of several, or in a range. */
export type Condition<V> =
  | V
  | null
  | { readonly in: readonly V[] }
  | { readonly gt?: V; readonly gte?: V; readonly lt?: V; readonly lte?: V };

/** All that is given must hold. */
export interface SearchFilter<Columns extends FilterColumns> {
  readonly columns?: { readonly [Name in keyof Columns]?: Condition<FilterValue<Columns[Name]>> } | undefined;
  /** What the metadata must contain, as PostgreSQL's `@>` has it. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/** Hands out `$1`, `$2` … for the values of one statement. */
export class Parameters {
  readonly values: unknown[] = [];

  add(value: unknown): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }
}

const COMPARISONS = { gt: ">", gte: ">=", lt: "<", lte: "<=" } as const;

/**
 * The conditions of a search in SQL; values go into `parameters`.
 * @throws InvalidInputError naming a column that the collection does not have, a condition of another form,
 *   or what JSON cannot hold.
 */
export const filterConditions = <Columns extends FilterColumns>(
  columns: Columns,
  filter: SearchFilter<Columns> | undefined,
  parameters: Parameters,
): readonly string[] => {
  const conditions: string[] = [];
  for (const [name, condition] of Object.entries(filter?.columns ?? {})) {
    if (condition === undefined) continue;
    const type = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (type === undefined) {
      throw new InvalidInputError(
        `where.columns.${name}`,
        name,
        `a column of the collection (${Object.keys(columns).join(", ") || "it has none"}); metadata is filtered by where.metadata`,
      );
    }
    conditions.push(...columnConditions(name, type, condition, parameters));
  }
  if (filter?.metadata !== undefined) {
    const text = JSON.stringify(checkedMetadata("where.metadata", filter.metadata));
    conditions.push(`metadata @> ${parameters.add(text)}::jsonb`);
  }
  return conditions;
};

const columnConditions = (
  name: string,
  type: FilterColumnType,
  condition: unknown,
  parameters: Parameters,
): readonly string[] => {
  const column = quoteIdentifier(name, "column");
  if (condition === null) return [`${column} IS NULL`];
  if (typeof condition !== "object" || condition instanceof Date) {
    return [`${column} = ${parameters.add(condition)}::${type}`];
  }
  if ("in" in condition && Array.isArray(condition.in)) {
    return [`${column} = ANY(${parameters.add(condition.in)}::${type}[])`];
  }
  const ranges = Object.entries(condition).filter(([, bound]) => bound !== undefined);
  if (ranges.length === 0 || ranges.some(([comparison]) => !Object.hasOwn(COMPARISONS, comparison))) {
    throw new InvalidInputError(
      `where.columns.${name}`,
      condition,
      "a value, null, { in } or { gt, gte, lt, lte }",
    );
  }
  return ranges.map(
    ([comparison, bound]) =>
      `${column} ${COMPARISONS[comparison as keyof typeof COMPARISONS]} ${parameters.add(bound)}::${type}`,
  );
};
