import { InvalidInputError } from "@holdfast/kernel";
import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { Histogram } from "../model/histogram.ts";
import {
  compareQuantile,
  compareRate,
  type Difference,
  differenceOf,
  SIGNIFICANCE_LEVELS,
  type SignificanceLevel,
  type TestedDifference,
} from "./quantile-difference.ts";

export interface ComparedJob {
  readonly jobId: string;
  readonly name: string;
  readonly status: JobResult["status"];
  readonly submittedAt: number;
}

export interface ComparedHistogram {
  readonly name: string;
  readonly count: Difference;
  readonly mean: Difference;
  readonly max: Difference;
  /** Ascending: 50, 90, 95, 99, 99.9. */
  readonly percentiles: readonly (TestedDifference & { readonly percent: number })[];
}

export interface ComparedCounter {
  readonly name: string;
  readonly total: Difference;
  readonly perSecond: TestedDifference;
}

export interface ComparedWorkflow {
  readonly name: string;
  /** Undefined: the job has no workflow of this name. */
  readonly statusA: WorkflowResult["status"] | undefined;
  readonly statusB: WorkflowResult["status"] | undefined;
  /** Below: empty unless both jobs have the workflow. */
  readonly elapsedMs: Difference | undefined;
  readonly histograms: readonly ComparedHistogram[];
  readonly counters: readonly ComparedCounter[];
  /** Measured by one of the two only. */
  readonly onlyInA: readonly string[];
  readonly onlyInB: readonly string[];
}

export interface JobComparison {
  readonly a: ComparedJob;
  readonly b: ComparedJob;
  readonly level: SignificanceLevel;
  readonly elapsedMs: Difference;
  readonly workflows: readonly ComparedWorkflow[];
}

const PERCENTS = [50, 90, 95, 99, 99.9];

/**
 * Compares the results of two jobs, workflow by workflow of the same name: percentiles of every histogram, rates
 * of every counter, and which differences are more than chance explains at the given level (default 0.01: one
 * in a hundred of equal pairs is called different). Each figure is tested by itself: of many, some will be
 * called different by chance. See `compareQuantile` for what the test assumes.
 * @throws InvalidInputError for another level, or a result whose histograms cannot be read. Not retryable.
 */
export const compareResults = (
  a: JobResult,
  b: JobResult,
  options: { readonly level?: SignificanceLevel } = {},
): JobComparison => {
  const { level = 0.01 } = options;
  if (!SIGNIFICANCE_LEVELS.includes(level)) {
    throw new InvalidInputError("level", level, `one of ${SIGNIFICANCE_LEVELS.join(", ")}`);
  }
  const workflowsB = new Map(b.workflows.map((workflow) => [workflow.name, workflow]));
  const namesA = new Set(a.workflows.map(({ name }) => name));
  return {
    a: headOf(a),
    b: headOf(b),
    level,
    elapsedMs: differenceOf(a.elapsedMs, b.elapsedMs),
    workflows: [
      ...a.workflows.map((workflow) => compareWorkflows(workflow, workflowsB.get(workflow.name), level)),
      ...b.workflows
        .filter(({ name }) => !namesA.has(name))
        .map((workflow) => compareWorkflows(undefined, workflow, level)),
    ],
  };
};

const headOf = ({ jobId, name, status, submittedAt }: JobResult): ComparedJob => ({
  jobId,
  name,
  status,
  submittedAt,
});

const compareWorkflows = (
  a: WorkflowResult | undefined,
  b: WorkflowResult | undefined,
  level: SignificanceLevel,
): ComparedWorkflow => {
  const head = { name: (a ?? b)?.name ?? "", statusA: a?.status, statusB: b?.status };
  if (a === undefined || b === undefined) {
    return { ...head, elapsedMs: undefined, histograms: [], counters: [], onlyInA: [], onlyInB: [] };
  }
  const histograms = sharedNames(a.totals.histograms, b.totals.histograms);
  const counters = sharedNames(a.totals.counters, b.totals.counters);
  return {
    ...head,
    elapsedMs: differenceOf(a.elapsedMs, b.elapsedMs),
    histograms: histograms.shared.map((name) => compareHistograms(name, a, b, level)),
    counters: counters.shared.map((name) => compareCounters(name, a, b, level)),
    onlyInA: [...histograms.onlyInA, ...counters.onlyInA],
    onlyInB: [...histograms.onlyInB, ...counters.onlyInB],
  };
};

const sharedNames = (a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>) => ({
  shared: Object.keys(a).filter((name) => Object.hasOwn(b, name)),
  onlyInA: Object.keys(a).filter((name) => !Object.hasOwn(b, name)),
  onlyInB: Object.keys(b).filter((name) => !Object.hasOwn(a, name)),
});

const compareHistograms = (
  name: string,
  a: WorkflowResult,
  b: WorkflowResult,
  level: SignificanceLevel,
): ComparedHistogram => {
  const wireA = a.totals.histograms[name] as WorkflowResult["totals"]["histograms"][string];
  const wireB = b.totals.histograms[name] as WorkflowResult["totals"]["histograms"][string];
  const valuesA = Histogram.decode(wireA);
  const valuesB = Histogram.decode(wireB);
  return {
    name,
    count: differenceOf(valuesA.count, valuesB.count),
    mean: differenceOf(wireA.mean, wireB.mean),
    max: differenceOf(wireA.max, wireB.max),
    percentiles: PERCENTS.map((percent) => ({
      percent,
      ...compareQuantile(valuesA, valuesB, percent, level),
    })),
  };
};

const compareCounters = (
  name: string,
  a: WorkflowResult,
  b: WorkflowResult,
  level: SignificanceLevel,
): ComparedCounter => {
  const countA = a.totals.counters[name] ?? 0;
  const countB = b.totals.counters[name] ?? 0;
  return {
    name,
    total: differenceOf(countA, countB),
    perSecond: compareRate(
      { count: countA, seconds: a.elapsedMs / 1_000 },
      { count: countB, seconds: b.elapsedMs / 1_000 },
      level,
    ),
  };
};
