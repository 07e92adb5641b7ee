import { type Abortable, type Clock, InvalidInputError } from "@holdfast/kernel";
import type { Database } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import type { SearchMatch, SearchResult } from "./collection.ts";
import type { CollectionTable } from "./collection-table.ts";
import type { FilterColumns, SearchFilter } from "./filter.ts";
import { EF_SEARCH_MAX } from "./search-plan.ts";
import type { SearchRequest } from "./searcher.ts";
import { parseVector } from "./vector-text.ts";
import type { VectorType, VectorValue } from "./vector-type.ts";

export interface RecallRequest<T extends VectorType, Columns extends FilterColumns> extends Abortable {
  /** What to search for: queries as they will come are best. Default: rows of the table, each searched without itself. */
  readonly vectors?: readonly VectorValue<T>[] | undefined;
  /** How many rows to take as samples, 1 to 10_000. Default 100. */
  readonly sampleCount?: number | undefined;
  /** 1 to 999. Default 10. */
  readonly k?: number | undefined;
  readonly namespace?: string | undefined;
  readonly where?: SearchFilter<Columns> | undefined;
  readonly efSearch?: number | undefined;
}

export interface LatencyReport {
  readonly p50Ms: number;
  readonly p95Ms: number;
}

export interface RecallReport {
  readonly k: number;
  readonly efSearch: number;
  readonly sampleCount: number;
  /** The part of the true nearest that was found, 0 to 1; rows at the same distance stand for each other. */
  readonly meanRecall: number;
  readonly minRecall: number;
  readonly exact: LatencyReport;
  readonly byIndex: LatencyReport;
}

export interface TuneReport extends RecallReport {
  readonly targetRecall: number;
  readonly isReached: boolean;
  /** What to do where it is not. */
  readonly advice: string | undefined;
  /** Each width that was tried, the narrowest first. */
  readonly tried: readonly RecallReport[];
}

export interface Measured<T extends VectorType, Columns extends FilterColumns> {
  readonly database: Database;
  readonly table: CollectionTable<Columns>;
  readonly type: T;
  readonly clock: Clock;
  readonly search: (request: SearchRequest<T, Columns>) => Promise<SearchResult>;
}

interface Sample<T extends VectorType> {
  readonly vector: VectorValue<T>;
  /** The row that the sample is, which is left out. */
  readonly self?: { readonly namespace: string; readonly key: string };
}

interface Truth<T extends VectorType> {
  readonly samples: readonly Sample<T>[];
  readonly k: number;
  /** The distance of the k-th nearest of each sample, and how many there are. */
  readonly limits: readonly { readonly distance: number; readonly count: number }[];
  readonly exact: LatencyReport;
}

/** Two sums of the same numbers in another order differ by so much. */
const TOLERANCE = 1e-6;
const WIDTHS = [10, 20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, EF_SEARCH_MAX];

export const measureRecall = async <T extends VectorType, Columns extends FilterColumns>(
  measured: Measured<T, Columns>,
  request: RecallRequest<T, Columns> & { readonly efSearch: number },
): Promise<RecallReport> =>
  measureWidth(measured, request, await findTruth(measured, request), request.efSearch);

export const tuneRecall = async <T extends VectorType, Columns extends FilterColumns>(
  measured: Measured<T, Columns>,
  request: RecallRequest<T, Columns> & { readonly targetRecall: number },
): Promise<TuneReport> => {
  const { targetRecall } = request;
  if (!(targetRecall > 0 && targetRecall <= 1)) {
    throw new InvalidInputError("targetRecall", targetRecall, "a number above 0, at most 1");
  }
  const truth = await findTruth(measured, request);
  const tried: RecallReport[] = [];
  for (const width of WIDTHS) {
    // A search is never narrower than what it shall find.
    if (width < truth.k && width !== EF_SEARCH_MAX) continue;
    const report = await measureWidth(measured, request, truth, width);
    tried.push(report);
    if (report.meanRecall >= targetRecall) {
      return { ...report, targetRecall, isReached: true, advice: undefined, tried };
    }
  }
  const widest = tried.at(-1) as RecallReport;
  const advice = `the widest search finds ${widest.meanRecall.toFixed(3)}: build the index with a larger efConstruction and m, or in a more exact form`;
  return { ...widest, targetRecall, isReached: false, advice, tried };
};

const findTruth = async <T extends VectorType, Columns extends FilterColumns>(
  measured: Measured<T, Columns>,
  request: RecallRequest<T, Columns>,
): Promise<Truth<T>> => {
  const k = integerOption("k", request.k ?? 10, 1, 999);
  const samples = await takeSamples(measured, request);
  const latencies: number[] = [];
  const limits: { distance: number; count: number }[] = [];
  for (const sample of samples) {
    const found = await timed(measured, latencies, { ...searchOf(request, sample, k), mode: "exact" });
    const others = withoutSelf(found, sample).slice(0, k);
    limits.push({ distance: others.at(-1)?.distance ?? 0, count: others.length });
  }
  return { samples, k, limits, exact: latencyOf(latencies) };
};

const measureWidth = async <T extends VectorType, Columns extends FilterColumns>(
  measured: Measured<T, Columns>,
  request: RecallRequest<T, Columns>,
  truth: Truth<T>,
  efSearch: number,
): Promise<RecallReport> => {
  const { samples, k, limits, exact } = truth;
  const latencies: number[] = [];
  const recalls: number[] = [];
  for (const [index, sample] of samples.entries()) {
    const { distance, count } = limits[index] as Truth<T>["limits"][number];
    const found = await timed(measured, latencies, {
      ...searchOf(request, sample, k),
      mode: "index",
      efSearch,
    });
    const reach = distance + Math.abs(distance) * TOLERANCE + TOLERANCE;
    const hits = withoutSelf(found, sample)
      .slice(0, k)
      .filter((match) => match.distance <= reach);
    recalls.push(count === 0 ? 1 : Math.min(1, hits.length / count));
  }
  return {
    k,
    efSearch,
    sampleCount: samples.length,
    meanRecall: recalls.reduce((sum, recall) => sum + recall, 0) / recalls.length,
    minRecall: Math.min(...recalls),
    exact,
    byIndex: latencyOf(latencies),
  };
};

const searchOf = <T extends VectorType, Columns extends FilterColumns>(
  { namespace, where, signal }: RecallRequest<T, Columns>,
  { vector, self }: Sample<T>,
  k: number,
): SearchRequest<T, Columns> => ({ vector, namespace, where, signal, k: self === undefined ? k : k + 1 });

const timed = async <T extends VectorType, Columns extends FilterColumns>(
  { search, clock }: Measured<T, Columns>,
  latencies: number[],
  request: SearchRequest<T, Columns>,
): Promise<readonly SearchMatch[]> => {
  const startedAt = clock.monotonicNow();
  const { matches, plan } = await search(request);
  latencies.push(clock.monotonicNow() - startedAt);
  if (request.mode === "index" && plan.kind === "exact") {
    throw new InvalidInputError(
      "index",
      "none",
      "built before its recall is measured: call buildIndex first",
    );
  }
  return matches;
};

const withoutSelf = <T extends VectorType>(
  matches: readonly SearchMatch[],
  { self }: Sample<T>,
): readonly SearchMatch[] =>
  self === undefined
    ? matches
    : matches.filter(({ namespace, key }) => namespace !== self.namespace || key !== self.key);

const takeSamples = async <T extends VectorType, Columns extends FilterColumns>(
  { database, table, type }: Measured<T, Columns>,
  request: RecallRequest<T, Columns>,
): Promise<readonly Sample<T>[]> => {
  if (request.vectors !== undefined) {
    if (request.vectors.length === 0) throw new InvalidInputError("vectors", [], "at least one vector");
    return request.vectors.map((vector) => ({ vector }));
  }
  const count = integerOption("sampleCount", request.sampleCount ?? 100, 1, 10_000);
  // Spread over the table, the same ones each time, whatever their order on disk.
  const rows = await database.query<{ namespace: string; key: string; vector: string }>(
    `SELECT namespace, key, embedding::text AS vector FROM ${table.quoted}
      ${request.namespace === undefined ? "" : "WHERE namespace = $1"} ORDER BY md5(key) LIMIT ${count}`,
    request.namespace === undefined ? [] : [request.namespace],
    { signal: request.signal },
  );
  if (rows.length === 0)
    throw new InvalidInputError("namespace", request.namespace, "one with rows to take samples from");
  return rows.map(({ namespace, key, vector }) => ({
    vector: parseVector(type, vector),
    self: { namespace, key },
  }));
};

const latencyOf = (latencies: readonly number[]): LatencyReport => {
  const sorted = [...latencies].sort((a, b) => a - b);
  const at = (part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { p50Ms: at(0.5), p95Ms: at(0.95) };
};
