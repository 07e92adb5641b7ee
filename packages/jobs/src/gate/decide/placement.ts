import type { JobSpec } from "@holdfast/protocol/contract";
import { type Health, severityOf } from "../datacenter-health.ts";

export interface PlacementCandidate {
  readonly datacenter: string;
  readonly health: Health;
  readonly availableCores: number;
  readonly pendingTasks: number;
  /** Registered workflows there. */
  readonly workflows: ReadonlySet<string>;
}

export type Placement =
  | {
      readonly kind: "placed";
      readonly datacenters: readonly string[];
      readonly fallbacks: readonly string[];
    }
  /** Too few have answered so far: ask again soon. */
  | { readonly kind: "initializing"; readonly why: string }
  | { readonly kind: "none"; readonly why: string }
  /** A wished datacenter does not exist here. */
  | { readonly kind: "unknown"; readonly datacenter: string };

/**
 * Chooses where a job runs. Wished datacenters come first, in each group healthy before busy before degraded,
 * then the order of wishes, then more free cores and less waiting work; unhealthy ones are never taken. The
 * first `datacenterCount` run the job, the rest may replace one that turns out not to take it. Where some
 * datacenter knows all of the job's workflows, those that do not are left out.
 */
export const choosePlacement = (
  spec: Pick<JobSpec, "datacenters" | "datacenterCount" | "policy" | "workflows">,
  candidates: readonly PlacementCandidate[],
): Placement => {
  const known = new Set(candidates.map(({ datacenter }) => datacenter));
  const stranger = spec.datacenters.find((datacenter) => !known.has(datacenter));
  if (stranger !== undefined) return { kind: "unknown", datacenter: stranger };
  const wishOf = ({ datacenter }: PlacementCandidate): number => {
    const index = spec.datacenters.indexOf(datacenter);
    return index < 0 ? spec.datacenters.length : index;
  };
  const isWished = (candidate: PlacementCandidate): boolean => wishOf(candidate) < spec.datacenters.length;
  const usable = candidates.filter(({ health }) => health !== "unhealthy" && health !== "initializing");
  const knowing = usable.filter(({ workflows }) =>
    spec.workflows.every(({ workflow }) => workflows.has(workflow)),
  );
  const order = (knowing.length > 0 ? knowing : usable).toSorted(
    (a, b) =>
      Number(isWished(b)) - Number(isWished(a)) ||
      severityOf(a.health) - severityOf(b.health) ||
      wishOf(a) - wishOf(b) ||
      b.availableCores - a.availableCores ||
      a.pendingTasks - b.pendingTasks ||
      (a.datacenter < b.datacenter ? -1 : 1),
  );
  const names = order.map(({ datacenter }) => datacenter);
  const wanted = spec.datacenterCount;
  const least = spec.policy === "allow-partial" ? 1 : wanted;
  if (names.length >= least) {
    return { kind: "placed", datacenters: names.slice(0, wanted), fallbacks: names.slice(wanted) };
  }
  const waiting = candidates.filter(({ health }) => health === "initializing");
  const why = `${wanted} wanted, ${names.length} can take it (${candidates
    .map(({ datacenter, health }) => `${datacenter} is ${health}`)
    .join(", ")})`;
  return waiting.length > 0 && names.length + waiting.length >= least
    ? { kind: "initializing", why }
    : { kind: "none", why };
};
