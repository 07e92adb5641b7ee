import { isHoldfastError } from "@holdfast/kernel";
import type { Measurements } from "@holdfast/protocol/contract";
import { MeasurementSum } from "../../model/measurements.ts";

/**
 * The sum of what the datacenters measured. A part that cannot be added (an unreadable histogram, too many
 * names) is left out and named: one bad datacenter must not keep a job from ending.
 */
export const sumMeasurements = (
  parts: readonly { readonly datacenter: string; readonly totals: Measurements }[],
): { readonly totals: Measurements; readonly problems: readonly string[] } => {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return { totals: first.totals, problems: [] };
  const sum = new MeasurementSum();
  const problems: string[] = [];
  for (const { datacenter, totals } of parts) {
    try {
      sum.add(totals);
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      problems.push(`${datacenter}: its measurements are left out of the sum: ${error.message}`);
    }
  }
  return { totals: sum.toMeasurements(), problems };
};
