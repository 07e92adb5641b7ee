import type { VectorShape } from "./check-vector.ts";
import { type FilterColumns, filterConditions, Parameters, type SearchFilter } from "./filter.ts";
import { indexedDistance } from "./index-form.ts";
import { SCAN_MAX_TUPLES, type SearchPlan } from "./search-plan.ts";
import { encodeVector } from "./vector-binary.ts";
import { type Distance, operatorOf, type VectorValue } from "./vector-type.ts";

export interface StatementInput<Columns extends FilterColumns> {
  /** Quoted. */
  readonly table: string;
  readonly shape: VectorShape & { readonly distance: Distance };
  readonly columns: Columns;
  /** What is read of each row, in SQL. */
  readonly selected: string;
  readonly vector: VectorValue;
  readonly k: number;
  readonly namespaces?: readonly string[] | undefined;
  readonly where?: SearchFilter<Columns> | undefined;
}

export interface SearchStatement {
  readonly text: string;
  readonly values: readonly unknown[];
  /** What must be set for this search alone, where the statement does not do it itself. */
  readonly settings: Readonly<Record<string, string>>;
}

/** The settings of pgvector that a plan needs. */
export const settingsOf = (plan: SearchPlan): Readonly<Record<string, string>> => ({
  ...(plan.efSearch === undefined ? {} : { "hnsw.ef_search": String(plan.efSearch) }),
  ...(plan.kind === "iterative"
    ? { "hnsw.iterative_scan": "relaxed_order", "hnsw.max_scan_tuples": String(SCAN_MAX_TUPLES) }
    : {}),
});

/**
 * One statement that searches as planned.
 *
 * With `setsItself` it also sets what pgvector needs, for itself alone: `set_config(…, true)` ends with the
 * statement's own transaction, and stands in a condition without a column, which PostgreSQL checks once before it
 * opens the scan. That saves three round trips and leaks nothing to the next user of the connection.
 */
export const searchStatement = <Columns extends FilterColumns>(
  input: StatementInput<Columns>,
  plan: SearchPlan,
  options: { readonly setsItself: boolean },
): SearchStatement => {
  const { shape, k, selected, table } = input;
  const parameters = new Parameters();
  const raw = parameters.add(encodeVector(shape.type, input.vector));
  const vector = shape.type === "bit" ? raw : `${raw}::${shape.type}`;
  const settings = settingsOf(plan);
  const conditions = [...matchConditions(input, plan, parameters)];
  if (options.setsItself && Object.keys(settings).length > 0) {
    const calls = Object.entries(settings).map(
      ([name, value]) => `set_config('${name}', ${parameters.add(value)}, true)`,
    );
    conditions.unshift(`(SELECT concat(${calls.join(", ")})) IS NOT NULL`);
  }
  const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  const distance = `embedding ${operatorOf(shape.distance)} ${vector}`;
  const finish = (text: string): SearchStatement => ({ text, values: parameters.values, settings });
  if (plan.kind === "exact") {
    // The zero keeps the planner from answering by the index, which could miss some.
    const near = `SELECT ${selected}, (${distance}) + 0 AS distance FROM ${table}${where}`;
    return finish(`SELECT * FROM (${near}) AS near ORDER BY distance LIMIT ${k}`);
  }
  const order = indexedDistance(shape, plan.form ?? "plain", vector);
  const nearest = (count: number): string =>
    `SELECT ${selected}, ${distance} AS distance FROM ${table}${where} ORDER BY ${order} LIMIT ${count}`;
  const isInOrder = plan.kind !== "iterative" && plan.form === "plain";
  if (isInOrder) return finish(nearest(k));
  // Re-ranked, or put into order, outside of the scan.
  return finish(
    `WITH nearest AS MATERIALIZED (${nearest(plan.fetchCount ?? k)})
     SELECT * FROM nearest ORDER BY distance + 0 LIMIT ${k}`,
  );
};

/** The rows that match, for the statistics of the planner. */
export const matchStatement = <Columns extends FilterColumns>(
  input: StatementInput<Columns>,
): { readonly text: string; readonly values: readonly unknown[] } => {
  const parameters = new Parameters();
  const conditions = matchConditions(input, undefined, parameters);
  const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  return { text: `SELECT 1 FROM ${input.table}${where}`, values: parameters.values };
};

const matchConditions = <Columns extends FilterColumns>(
  { namespaces, where, columns }: StatementInput<Columns>,
  plan: SearchPlan | undefined,
  parameters: Parameters,
): readonly string[] => {
  const conditions: string[] = [];
  if (namespaces?.length === 1) {
    // The planner can prove that a partial index fits only when it sees the value.
    const namespace =
      plan?.kind === "partial" ? quoteLiteral(namespaces[0] ?? "") : parameters.add(namespaces[0]);
    conditions.push(`namespace = ${namespace}`);
  } else if (namespaces !== undefined) {
    conditions.push(`namespace = ANY(${parameters.add(namespaces)}::text[])`);
  }
  conditions.push(...filterConditions(columns, where, parameters));
  return conditions;
};

/** Text as a literal that reads the same whatever `standard_conforming_strings` says. */
export const quoteLiteral = (text: string): string =>
  `${text.includes("\\") ? " E" : ""}'${text.replaceAll("'", "''").replaceAll("\\", "\\\\")}'`;
