// An entry of its own: pages show figures without the histograms that they were made of.
import type { ComparedWorkflow } from "./compare-results.ts";
import type { Difference, TestedDifference } from "./quantile-difference.ts";

/** One line of a comparison as a person reads it. */
export interface ComparedFigure {
  readonly name: string;
  readonly difference: Difference & Partial<TestedDifference>;
  /** False: nothing tells how much of the difference is chance. */
  readonly isTested: boolean;
  /** `number`: in whatever the workflow measures in. */
  readonly unit: "ms" | "number";
}

/** Everything that both runs measured of a workflow, in the order of reading; empty unless both have it. */
export const comparedFigures = (workflow: ComparedWorkflow): readonly ComparedFigure[] => {
  if (workflow.elapsedMs === undefined) return [];
  const untested = (name: string, difference: Difference): ComparedFigure => ({
    name,
    difference,
    isTested: false,
    unit: "number",
  });
  const tested = (name: string, difference: TestedDifference): ComparedFigure => ({
    name,
    difference,
    isTested: true,
    unit: "number",
  });
  return [
    { ...untested("elapsed", workflow.elapsedMs), unit: "ms" },
    ...workflow.counters.map(({ name, perSecond }) => tested(`${name} per second`, perSecond)),
    ...workflow.histograms.flatMap(({ name, percentiles, mean, max }) => [
      untested(`${name} mean`, mean),
      ...percentiles.map((figure) => tested(`${name} p${figure.percent}`, figure)),
      untested(`${name} max`, max),
    ]),
  ];
};

/** A figure of whatever is measured: four digits are enough to compare. */
export const formatFigure = (value: number): string =>
  Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(4)));

/** In per cent with its sign, `new` where only the second run has any. */
export const formatChange = ({ change }: Difference): string => {
  if (change === undefined) return "new";
  const percent = (change * 100).toFixed(1);
  return `${Number(percent) > 0 ? "+" : ""}${Number(percent) === 0 ? "0.0" : percent} %`;
};
