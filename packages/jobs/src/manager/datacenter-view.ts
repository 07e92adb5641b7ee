import type { DatacenterView, Leader } from "@holdfast/protocol/contract";
import type { NodeDirectory } from "./node-directory.ts";
import type { WorkerRegistry } from "./worker-registry.ts";

/** The datacenter as one manager sees it. */
export const datacenterViewOf = (context: {
  readonly datacenter: string;
  readonly nodeId: string;
  readonly state: DatacenterView["managers"][number]["state"];
  readonly leader: Leader | undefined;
  readonly directory: NodeDirectory;
  readonly registry: WorkerRegistry;
  readonly activeJobs: number;
  readonly pendingTasks: number;
  /** Whether a worker has ever registered here. */
  readonly hadWorkers: boolean;
}): DatacenterView => {
  const { leader, registry } = context;
  const workers = registry.views();
  const usable = workers.filter(({ state }) => state === "healthy" || state === "degraded");
  const totalCores = usable.reduce((sum, { cores }) => sum + cores, 0);
  const availableCores = usable.reduce((sum, { cores, busyCores }) => sum + (cores - busyCores), 0);
  return {
    datacenter: context.datacenter,
    health: healthOf(context, workers, availableCores),
    ...(leader === undefined ? {} : { leader }),
    managers: context.directory.managers().map(({ nodeId, address }) => ({
      nodeId,
      address,
      // A manager that holds its lease works; more is known only of oneself.
      state: nodeId === context.nodeId ? context.state : "active",
      isLeader: nodeId === leader?.nodeId,
    })),
    workers,
    totalCores,
    availableCores,
    activeJobs: context.activeJobs,
    pendingTasks: context.pendingTasks,
    workflows: registry.catalog(),
  };
};

/** The worst that applies. */
const healthOf = (
  { leader, hadWorkers }: { readonly leader: Leader | undefined; readonly hadWorkers: boolean },
  workers: DatacenterView["workers"],
  availableCores: number,
): DatacenterView["health"] => {
  if (leader === undefined || (!hadWorkers && workers.length === 0)) return "initializing";
  const healthyCount = workers.filter(({ state }) => state === "healthy").length;
  if (workers.every(({ state }) => state === "draining" || state === "offline")) return "unhealthy";
  if (healthyCount * 2 < workers.length) return "degraded";
  return availableCores === 0 ? "busy" : "healthy";
};
