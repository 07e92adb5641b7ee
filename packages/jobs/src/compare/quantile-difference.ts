import type { Histogram } from "../model/histogram.ts";

/** How sure a difference must be, as the share of differences found where there is none. */
export const SIGNIFICANCE_LEVELS = [0.05, 0.01, 0.001] as const;
export type SignificanceLevel = (typeof SIGNIFICANCE_LEVELS)[number];

/** Two-sided bounds of the normal distribution. */
const NORMAL_BOUND: Readonly<Record<SignificanceLevel, number>> = { 0.05: 1.96, 0.01: 2.576, 0.001: 3.291 };

/** Half the width of a histogram's bucket, as a share of the value: no difference below it can be seen. */
const RESOLUTION = 0.001;

export interface Difference {
  readonly a: number;
  readonly b: number;
  /** `(b - a) / a`; 0 when both are 0, undefined when only `a` is. */
  readonly change: number | undefined;
}

export interface TestedDifference extends Difference {
  /** Undefined: too few values on one side to say. */
  readonly isSignificant: boolean | undefined;
}

export const differenceOf = (a: number, b: number): Difference => ({
  a,
  b,
  change: a === 0 ? (b === 0 ? 0 : undefined) : (b - a) / a,
});

/**
 * Whether a percentile of two samples differs by more than chance explains.
 *
 * Each side's standard error comes from the values around the percentile's rank (the interval of R. S. Woodruff,
 * "Confidence Intervals for Medians and Other Position Measures", JASA 47, 1952), so nothing is assumed about
 * the shape of the distribution. The two are compared by their difference over the root of the summed squares.
 * What is assumed: values are independent of each other. Those of one burst or one stall are not, so a
 * difference between two single runs can be significant and still come from a bad minute: run each twice.
 */
export const compareQuantile = (
  a: Histogram,
  b: Histogram,
  percent: number,
  level: SignificanceLevel,
): TestedDifference => {
  const difference = differenceOf(a.percentile(percent), b.percentile(percent));
  const errorA = standardError(a, percent);
  const errorB = standardError(b, percent);
  if (errorA === undefined || errorB === undefined) return { ...difference, isSignificant: undefined };
  const distance = Math.abs(difference.b - difference.a);
  return { ...difference, isSignificant: distance > NORMAL_BOUND[level] * Math.hypot(errorA, errorB) };
};

/** The bounds at which the standard error is read off: 95 %. */
const INTERVAL_BOUND = 1.96;

/** Undefined when the interval around the rank leaves the sample. */
const standardError = (values: Histogram, percent: number): number | undefined => {
  const { count } = values;
  const share = percent / 100;
  const rank = share * count;
  const spread = INTERVAL_BOUND * Math.sqrt(count * share * (1 - share));
  const low = rank - spread;
  const high = rank + spread;
  if (low < 1 || high > count) return undefined;
  const width = values.percentile((100 * high) / count) - values.percentile((100 * low) / count);
  return Math.hypot(width / (2 * INTERVAL_BOUND), RESOLUTION * values.percentile(percent));
};

/** The same for counts per second: each count is taken as a Poisson count over its time. */
export const compareRate = (
  a: { readonly count: number; readonly seconds: number },
  b: { readonly count: number; readonly seconds: number },
  level: SignificanceLevel,
): TestedDifference => {
  const rateOf = ({ count, seconds }: typeof a): number => (seconds > 0 ? count / seconds : 0);
  const difference = differenceOf(rateOf(a), rateOf(b));
  // Below this a Poisson count is too skewed to be taken for a normal one.
  if (a.seconds <= 0 || b.seconds <= 0 || a.count + b.count < 10) {
    return { ...difference, isSignificant: a.count === b.count && a.count === 0 ? false : undefined };
  }
  const error = Math.hypot(Math.sqrt(a.count) / a.seconds, Math.sqrt(b.count) / b.seconds);
  return {
    ...difference,
    isSignificant: Math.abs(difference.b - difference.a) > NORMAL_BOUND[level] * error,
  };
};
