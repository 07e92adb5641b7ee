import type { WorkflowResult } from "@holdfast/protocol/contract";
import { approximateBytes } from "../../model/approximate-bytes.ts";

/** A result is one log entry, and those hold 4 MiB; a third of that, because text outside ASCII is counted short. */
const RESULT_MAX_BYTES = 1_280 * 1024;

type Cut = (result: WorkflowResult) => WorkflowResult;

/** What is given up, in this order, until the results fit. Sums and counts always stay. */
const CUTS: readonly { readonly what: string; readonly cut: Cut }[] = [
  {
    what: "histograms per datacenter",
    cut: (result) => {
      if (result.datacenters === undefined) return result;
      const parts = Object.entries(result.datacenters).map(([name, part]) => [
        name,
        { ...part, totals: { counters: part.totals.counters, histograms: {} } },
      ]);
      return { ...result, datacenters: Object.fromEntries(parts) };
    },
  },
  { what: "outputs", cut: (result) => ({ ...result, outputs: [] }) },
  {
    what: "histograms",
    cut: (result) => ({ ...result, totals: { counters: result.totals.counters, histograms: {} } }),
  },
];

/**
 * The results within the bound of one log entry: the last workflows lose their largest parts first, and
 * `notes` says what is missing. Each workflow's own result, an entry of its own, keeps more.
 */
export const fitWorkflowResults = (
  results: readonly WorkflowResult[],
  maxBytes: number = RESULT_MAX_BYTES,
): { readonly workflows: readonly WorkflowResult[]; readonly notes: readonly string[] } => {
  const workflows = [...results];
  const sizes = workflows.map(approximateBytes);
  let sizeBytes = sizes.reduce((sum, size) => sum + size, 0);
  const notes: string[] = [];
  for (const { what, cut } of CUTS) {
    let count = 0;
    for (let index = workflows.length - 1; index >= 0 && sizeBytes > maxBytes; index -= 1) {
      const after = cut(workflows[index] as WorkflowResult);
      const size = approximateBytes(after);
      if (size >= (sizes[index] as number)) continue;
      sizeBytes += size - (sizes[index] as number);
      sizes[index] = size;
      workflows[index] = after;
      count += 1;
    }
    if (count > 0)
      notes.push(`the ${what} of ${count} workflows are left out here: the result would be too large`);
  }
  return { workflows, notes };
};
