import type { BenchResult } from "../measure/bench-result.ts";
import type { QueueFigures } from "./queue-peer.ts";

const WHAT: readonly (readonly [keyof QueueFigures, string])[] = [
  ["add", "added, with no worker there"],
  ["run", "run, all of them waiting at first"],
  ["both", "added and run at the same time"],
];

/** One result for each figure; added and run at the same time comes last. */
export const resultsOf = (
  payload: string,
  figures: Readonly<Record<string, QueueFigures>>,
  notes: string,
): readonly BenchResult[] =>
  WHAT.map(([key, what]) => {
    const { ours = Number.NaN, ...peers } = Object.fromEntries(
      Object.entries(figures).map(([name, values]) => [name, values[key]]),
    );
    return {
      unit: `tasks/s ${what}, payload ${payload}`,
      ours,
      peers,
      higherIsBetter: true,
      notes,
    };
  });
