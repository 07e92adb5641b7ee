import type { Clock } from "@holdfast/kernel";
import type { Database } from "../sql/database.ts";
import type { IndexForm } from "./index-form.ts";
import type { UsableIndex } from "./search-plan.ts";

/** How long what was read is believed: an index that another process builds is used so much later. */
const BELIEVED_MS = 60_000;
/** Estimates kept; the oldest goes first. */
const ESTIMATE_MAX_COUNT = 1_000;

/** What the catalogue of the database tells about a collection's table. */
export interface TableFacts {
  readonly indexes: readonly UsableIndex[];
  /** By the last ANALYZE or vacuum; undefined before the first. */
  readonly totalEstimate: number | undefined;
  readonly isDistributed: boolean;
}

/** Reads and remembers what the choice of a plan depends on, so that a search takes one round trip. */
export class IndexCatalogue {
  readonly #database: Database;
  readonly #table: string;
  readonly #clock: Clock;
  #facts: { readonly promise: Promise<TableFacts>; readonly until: number } | undefined;
  readonly #estimates = new Map<string, { readonly promise: Promise<number>; readonly until: number }>();

  constructor(options: { readonly database: Database; readonly table: string; readonly clock: Clock }) {
    this.#database = options.database;
    this.#table = options.table;
    this.#clock = options.clock;
  }

  /** Forgets what it knows: an index was built or dropped, or many rows came. */
  forget(): void {
    this.#facts = undefined;
    this.#estimates.clear();
  }

  facts(): Promise<TableFacts> {
    const now = this.#clock.monotonicNow();
    if (this.#facts !== undefined && this.#facts.until > now) return this.#facts.promise;
    const facts = { promise: this.#readFacts(), until: now + BELIEVED_MS };
    this.#facts = facts;
    facts.promise.catch(() => {
      if (this.#facts === facts) this.#facts = undefined;
    });
    return facts.promise;
  }

  /** How many rows a statement would give, as the planner sees it. */
  estimate(statement: { readonly text: string; readonly values: readonly unknown[] }): Promise<number> {
    const key = `${statement.text}\n${JSON.stringify(statement.values, (_name, value: unknown) => (typeof value === "bigint" ? `${value}n` : value))}`;
    const now = this.#clock.monotonicNow();
    const known = this.#estimates.get(key);
    if (known !== undefined && known.until > now) return known.promise;
    const estimate = { promise: this.#readEstimate(statement), until: now + BELIEVED_MS };
    this.#estimates.delete(key);
    if (this.#estimates.size >= ESTIMATE_MAX_COUNT) {
      const [oldest] = this.#estimates.keys();
      if (oldest !== undefined) this.#estimates.delete(oldest);
    }
    this.#estimates.set(key, estimate);
    estimate.promise.catch(() => this.#estimates.delete(key));
    return estimate.promise;
  }

  async #readEstimate(statement: {
    readonly text: string;
    readonly values: readonly unknown[];
  }): Promise<number> {
    const [row] = await this.#database.query<{ "QUERY PLAN": readonly { Plan: { "Plan Rows": number } }[] }>(
      `EXPLAIN (FORMAT JSON) ${statement.text}`,
      statement.values,
    );
    return row?.["QUERY PLAN"][0]?.Plan["Plan Rows"] ?? 0;
  }

  async #readFacts(): Promise<TableFacts> {
    const rows = await this.#database.query<{
      name: string | null;
      definition: string | null;
      namespace: string | null;
      total: number;
      distributed: boolean;
    }>(
      `SELECT i.relname AS name, pg_get_indexdef(x.indexrelid) AS definition, t.reltuples::float8 AS total,
              obj_description(x.indexrelid, 'pg_class') AS namespace,
              EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus') AS distributed
         FROM pg_class t
         LEFT JOIN (pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am a ON a.oid = i.relam AND a.amname = 'hnsw')
           ON x.indrelid = t.oid AND x.indisvalid AND x.indisready
        WHERE t.oid = $1::text::regclass
        ORDER BY i.relname`,
      [this.#table],
    );
    const total = rows[0]?.total ?? -1;
    return {
      indexes: rows.flatMap(({ name, definition, namespace }) =>
        name === null || definition === null ? [] : [usableIndex(name, definition, namespace)],
      ),
      totalEstimate: total < 0 ? undefined : total,
      isDistributed: rows[0]?.distributed ?? false,
    };
  }
}

const usableIndex = (name: string, definition: string, comment: string | null): UsableIndex => {
  const form: IndexForm = definition.includes("binary_quantize(")
    ? "binary"
    : definition.includes("::halfvec(")
      ? "halfvec"
      : "plain";
  const isPartial = / WHERE /.test(definition);
  return { name, form, ...(isPartial ? { namespace: namespaceOf(comment) } : {}) };
};

/** Partial indexes carry their namespace as a comment, which needs no parser for SQL. */
const COMMENT = "holdfast namespace ";

export const namespaceComment = (namespace: string): string => COMMENT + JSON.stringify(namespace);

/** A partial index that is not ours covers nothing that we know of; no namespace can hold this character. */
const UNKNOWN_NAMESPACE = "\0";

const namespaceOf = (comment: string | null): string => {
  if (comment === null || !comment.startsWith(COMMENT)) return UNKNOWN_NAMESPACE;
  try {
    return String(JSON.parse(comment.slice(COMMENT.length)));
  } catch {
    return UNKNOWN_NAMESPACE;
  }
};
