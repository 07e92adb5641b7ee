import { type IndexForm, OVERFETCH } from "./index-form.ts";

/**
 * How a search runs.
 * - "exact": the distance to every row that matches is computed; nothing is missed.
 * - "index": the nearest by the HNSW index, without a filter.
 * - "iterative": by the index, which goes on until enough of what it finds matches the filter.
 * - "partial": by an index of the searched namespace alone.
 */
export type SearchKind = "exact" | "index" | "iterative" | "partial";

export interface SearchPlan {
  readonly kind: SearchKind;
  /** Why, in one sentence. */
  readonly reason: string;
  /** The index that is used. */
  readonly index?: string | undefined;
  readonly form?: IndexForm | undefined;
  /** Candidates that a walk through the index keeps. */
  readonly efSearch?: number | undefined;
  /** Rows that are taken from the index and re-ranked by their full vectors. */
  readonly fetchCount?: number | undefined;
  /** The rows that match, as far as the statistics tell. */
  readonly matchEstimate?: number | undefined;
}

export interface UsableIndex {
  readonly name: string;
  readonly form: IndexForm;
  /** The namespace that it is limited to. */
  readonly namespace?: string | undefined;
}

export interface PlanInput {
  readonly k: number;
  readonly efSearch: number;
  readonly mode: "auto" | "exact" | "index";
  readonly indexes: readonly UsableIndex[];
  /** The one namespace that is searched. */
  readonly namespace?: string | undefined;
  /** Whether there is a condition beside the namespace. */
  readonly hasOtherFilter: boolean;
  readonly hasNamespaceFilter: boolean;
  /** By the statistics; undefined when they are missing. */
  readonly totalEstimate?: number | undefined;
  readonly matchEstimate?: number | undefined;
}

/** The most that pgvector's search width can be. */
export const EF_SEARCH_MAX = 1_000;
/** How many rows of an index the server walks at most before it gives up (pgvector's default). */
export const SCAN_MAX_TUPLES = 20_000;
/**
 * One step through the graph reads a page and computes some 16 distances; computing the distance to one row that
 * the table's own indexes find costs a twentieth of it (384 dimensions, all in memory).
 */
const ROWS_PER_STEP = 20;

/** Chooses how to search. Wrong statistics make it slow, not wrong: a search by index that finds too few runs again exactly. */
export const planSearch = (input: PlanInput): SearchPlan => {
  const { k, mode, indexes, namespace, hasOtherFilter, hasNamespaceFilter, matchEstimate, totalEstimate } =
    input;
  if (mode === "exact") return { kind: "exact", reason: "an exact search was asked for", matchEstimate };
  const partial = indexes.find((index) => index.namespace !== undefined && index.namespace === namespace);
  const whole = indexes.find((index) => index.namespace === undefined);
  const index = partial ?? whole;
  if (index === undefined) {
    return {
      kind: "exact",
      reason: "there is no index that covers the rows: build one with buildIndex",
      matchEstimate,
    };
  }
  // pgvector gives at most as many rows as the search is wide, so a width below k would cut the result.
  const efSearch = Math.min(EF_SEARCH_MAX, Math.max(input.efSearch, k * OVERFETCH[index.form]));
  // What was found on the way is there to be re-ranked: a wider search then also ranks better.
  const fetchCount = index.form === "plain" ? k : efSearch;
  const chosen = { index: index.name, form: index.form, efSearch, fetchCount, matchEstimate };
  const isFiltered = hasOtherFilter || (hasNamespaceFilter && partial === undefined);
  if (!isFiltered) {
    return partial === undefined
      ? {
          ...chosen,
          kind: "index",
          reason: "nothing is filtered, so the nearest in the index are the nearest",
        }
      : { ...chosen, kind: "partial", reason: `index ${partial.name} holds this namespace alone` };
  }
  const iterative: SearchPlan = {
    ...chosen,
    kind: "iterative",
    // What is found in relaxed order is put into order afterwards; some more make up for what comes late.
    fetchCount: Math.min(EF_SEARCH_MAX, Math.max(fetchCount, 2 * k)),
    reason: "the index is walked until enough rows match the filter",
  };
  if (mode === "index" || matchEstimate === undefined || totalEstimate === undefined || totalEstimate <= 0) {
    return iterative;
  }
  const perMatch = totalEstimate / Math.max(1, matchEstimate);
  const steps = Math.max(efSearch, (iterative.fetchCount ?? k) * perMatch);
  const rows = Math.round(matchEstimate);
  if (steps > SCAN_MAX_TUPLES) {
    return {
      kind: "exact",
      reason: `about ${rows} rows match: too few for a walk through the index to meet ${k} of them`,
      matchEstimate,
    };
  }
  if (matchEstimate <= ROWS_PER_STEP * steps) {
    return {
      kind: "exact",
      reason: `about ${rows} rows match: looking at each is cheaper than ${Math.round(steps)} steps through the index`,
      matchEstimate,
    };
  }
  return {
    ...iterative,
    reason: `about ${rows} of ${Math.round(totalEstimate)} rows match: the index is walked until enough do`,
  };
};
