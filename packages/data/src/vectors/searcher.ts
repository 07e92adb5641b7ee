import { type Abortable, InvalidInputError } from "@holdfast/kernel";
import type { Database, Transaction } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import { checkVector } from "./check-vector.ts";
import type { CollectionTable } from "./collection-table.ts";
import type { FilterColumns, SearchFilter } from "./filter.ts";
import type { IndexCatalogue, TableFacts } from "./index-catalogue.ts";
import { EF_SEARCH_MAX, planSearch, type SearchPlan } from "./search-plan.ts";
import {
  matchStatement,
  type SearchStatement,
  type StatementInput,
  searchStatement,
} from "./search-statement.ts";
import type { VectorType, VectorValue } from "./vector-type.ts";

export interface SearchRequest<T extends VectorType, Columns extends FilterColumns> extends Abortable {
  readonly vector: VectorValue<T>;
  /** Where to search; default everywhere. On a sharded cluster one namespace is one shard. */
  readonly namespace?: string | readonly string[] | undefined;
  readonly where?: SearchFilter<Columns> | undefined;
  /** How many to find, 1 to 1_000. Default 10. */
  readonly k?: number | undefined;
  /** Only for cosine: those below are left out, 0 to 1. Default: none is. */
  readonly minSimilarity?: number | undefined;
  /** Only rows no further away than this, in the collection's distance. */
  readonly maxDistance?: number | undefined;
  /** "exact" looks at every row that matches; "index" never chooses to. Default "auto". */
  readonly mode?: "auto" | "exact" | "index" | undefined;
  /** How wide the search is, 1 to 1_000; wider finds more of the true nearest and takes longer. Default: the collection's. */
  readonly efSearch?: number | undefined;
  /** Milliseconds for the search. Default: the database's limit. */
  readonly timeoutMs?: number | undefined;
}

export interface FoundRow {
  readonly distance: number;
}

export interface SearchOutcome<Row> {
  readonly rows: readonly Row[];
  readonly plan: SearchPlan;
}

interface Prepared<Columns extends FilterColumns> {
  readonly input: StatementInput<Columns>;
  readonly plan: SearchPlan;
  readonly facts: TableFacts;
}

/** Plans and runs searches over one table. */
export class Searcher<T extends VectorType, Columns extends FilterColumns> {
  readonly #database: Database;
  readonly #table: CollectionTable<Columns>;
  readonly #catalogue: IndexCatalogue;

  constructor(options: {
    readonly database: Database;
    readonly table: CollectionTable<Columns>;
    readonly catalogue: IndexCatalogue;
  }) {
    this.#database = options.database;
    this.#table = options.table;
    this.#catalogue = options.catalogue;
  }

  async search<Row extends FoundRow>(
    request: SearchRequest<T, Columns> & { readonly efSearch: number },
    selected: string,
  ): Promise<SearchOutcome<Row>> {
    const maxDistance = this.#maxDistance(request);
    // Cut here, not in SQL: only so is it known whether the index found enough.
    const near = (rows: readonly Row[]): readonly Row[] =>
      maxDistance === undefined ? rows : rows.filter(({ distance }) => distance <= maxDistance);
    const { input, plan, facts } = await this.#prepare(request, selected);
    const rows = await this.#run<Row>(input, plan, facts, request);
    const wanted = request.k ?? 10;
    if (plan.kind === "exact" || rows.length >= wanted || request.mode === "index") {
      return { rows: near(rows), plan };
    }
    // The walk ended before enough rows matched. That costs a second search, and finds all that there are.
    const exact: SearchPlan = {
      kind: "exact",
      reason: `${plan.index} found ${rows.length} of ${wanted}, so every row that matches was looked at`,
      matchEstimate: plan.matchEstimate,
    };
    return { rows: near(await this.#run<Row>(input, exact, facts, request)), plan: exact };
  }

  /** What `search` would do, and the server's own plan for it. */
  async explain(
    request: SearchRequest<T, Columns> & { readonly efSearch: number },
    selected: string,
  ): Promise<{ readonly plan: SearchPlan; readonly text: string; readonly lines: readonly string[] }> {
    const { input, plan, facts } = await this.#prepare(request, selected);
    const statement = searchStatement(input, plan, { setsItself: !facts.isDistributed });
    const rows = await this.#inSettings(facts, statement, (runner) =>
      runner.query<{ "QUERY PLAN": string }>(`EXPLAIN ${statement.text}`, statement.values, request),
    );
    return { plan, text: statement.text, lines: rows.map((row) => row["QUERY PLAN"]) };
  }

  async #prepare(
    request: SearchRequest<T, Columns> & { readonly efSearch: number },
    selected: string,
  ): Promise<Prepared<Columns>> {
    const { shape, quoted, columns } = this.#table;
    checkVector(shape, request.vector, "vector");
    const k = integerOption("k", request.k ?? 10, 1, 1_000);
    const efSearch = integerOption("efSearch", request.efSearch, 1, EF_SEARCH_MAX);
    const { namespace, where } = request;
    const namespaces = typeof namespace === "string" ? [namespace] : namespace;
    if (namespaces?.length === 0)
      throw new InvalidInputError("namespace", namespaces, "at least one namespace");
    const input: StatementInput<Columns> = {
      table: quoted,
      shape,
      columns,
      selected,
      vector: request.vector,
      k,
      namespaces,
      where,
    };
    const matching = matchStatement(input);
    const facts = await this.#catalogue.facts();
    const isFiltered = matching.values.length > 0 || where?.columns !== undefined;
    const mode = request.mode ?? "auto";
    // On a cluster the planner knows nothing of the shards, and without an index there is nothing to choose.
    const needsEstimate = isFiltered && mode === "auto" && facts.indexes.length > 0 && !facts.isDistributed;
    const plan = planSearch({
      k,
      efSearch,
      mode,
      indexes: facts.indexes,
      namespace: namespaces?.length === 1 ? namespaces[0] : undefined,
      hasNamespaceFilter: namespaces !== undefined,
      hasOtherFilter: where?.metadata !== undefined || Object.keys(where?.columns ?? {}).length > 0,
      totalEstimate: facts.totalEstimate,
      matchEstimate: needsEstimate ? await this.#catalogue.estimate(matching) : undefined,
    });
    return { input, plan, facts };
  }

  #maxDistance(request: SearchRequest<T, Columns>): number | undefined {
    const { minSimilarity, maxDistance } = request;
    if (maxDistance !== undefined && !Number.isFinite(maxDistance)) {
      throw new InvalidInputError("maxDistance", maxDistance, "a finite number");
    }
    if (minSimilarity === undefined) return maxDistance;
    if (this.#table.shape.distance !== "cosine" || maxDistance !== undefined) {
      throw new InvalidInputError(
        "minSimilarity",
        minSimilarity,
        "used with the distance cosine, and without maxDistance",
      );
    }
    if (!(minSimilarity >= 0 && minSimilarity <= 1)) {
      throw new InvalidInputError("minSimilarity", minSimilarity, "a number from 0 to 1");
    }
    return 1 - minSimilarity;
  }

  #run<Row extends object>(
    input: StatementInput<Columns>,
    plan: SearchPlan,
    facts: TableFacts,
    options: Abortable & { readonly timeoutMs?: number | undefined },
  ): Promise<readonly Row[]> {
    const statement = searchStatement(input, plan, { setsItself: !facts.isDistributed });
    const { signal, timeoutMs } = options;
    return this.#inSettings(facts, statement, (runner) =>
      runner.query<Row>(statement.text, statement.values, { signal, timeoutMs, repeatable: true }),
    );
  }

  /** On a cluster the workers search, and what they should know goes to them with the transaction. */
  async #inSettings<R>(
    facts: TableFacts,
    { settings }: SearchStatement,
    body: (runner: Pick<Database, "query"> | Transaction) => Promise<R>,
  ): Promise<R> {
    if (!facts.isDistributed || Object.keys(settings).length === 0) return body(this.#database);
    const texts = Object.entries(settings).map(([name, value]) => `SET LOCAL ${name} = '${value}'`);
    return this.#database.transaction(async (tx) => {
      await tx.query(["SET LOCAL citus.propagate_set_commands = 'local'", ...texts].join("; "));
      return body(tx);
    });
  }
}
