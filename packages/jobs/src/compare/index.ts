export {
  type ComparedCounter,
  type ComparedHistogram,
  type ComparedJob,
  type ComparedWorkflow,
  compareResults,
  type JobComparison,
} from "./compare-results.ts";
export {
  type Difference,
  SIGNIFICANCE_LEVELS,
  type SignificanceLevel,
  type TestedDifference,
} from "./quantile-difference.ts";
