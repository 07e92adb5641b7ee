import type { DatacenterView } from "@holdfast/protocol/contract";

export type Health = DatacenterView["health"];

/** From best to worst; `initializing` is no health but the lack of an answer so far. */
const SEVERITY: Readonly<Record<Exclude<Health, "initializing">, number>> = {
  healthy: 0,
  busy: 1,
  degraded: 2,
  unhealthy: 3,
};

/** Shares at which a datacenter becomes busy, degraded, unhealthy. */
const DEAD_MANAGERS = [0.3, 0.5, 0.8] as const;
const CORES_IN_USE = [0.7, 0.85, 0.95] as const;
const SICK_WORKERS = [0.3, 0.5, 0.8] as const;

/**
 * The class of a datacenter, in this order: unhealthy without a live manager or a worker; degraded when the
 * healthy workers or the live managers are below their majority; busy without a free core; else healthy.
 * Shares of dead managers and of sick workers make it worse (at 30, 50 and 80 %); cores in use (at 70 %) make
 * it busy, never worse, because what waits there is queued.
 */
export const datacenterHealth = (
  view: Pick<DatacenterView, "managers" | "workers" | "totalCores" | "availableCores">,
): Exclude<Health, "initializing"> => {
  const managers = view.managers.length;
  const liveManagers = view.managers.filter(({ state }) => state === "active").length;
  const workers = view.workers.filter(({ state }) => state !== "offline");
  const healthy = workers.filter(({ state }) => state === "healthy").length;
  if (liveManagers === 0 || workers.length === 0) return "unhealthy";
  const worst = Math.max(
    healthy < majority(workers.length) || liveManagers < majority(managers) ? SEVERITY.degraded : 0,
    view.availableCores <= 0 ? SEVERITY.busy : 0,
    level((managers - liveManagers) / managers, DEAD_MANAGERS),
    level((workers.length - healthy) / workers.length, SICK_WORKERS),
    Math.min(
      SEVERITY.busy,
      view.totalCores > 0
        ? level((view.totalCores - view.availableCores) / view.totalCores, CORES_IN_USE)
        : 0,
    ),
  );
  return (["healthy", "busy", "degraded", "unhealthy"] as const)[worst] ?? "unhealthy";
};

/** Worse of two, for ordering; `initializing` counts as worst. */
export const severityOf = (health: Health): number =>
  health === "initializing" ? SEVERITY.unhealthy + 1 : SEVERITY[health];

const majority = (count: number): number => Math.floor(count / 2) + 1;

const level = (share: number, limits: readonly [number, number, number]): number =>
  share >= limits[2] ? 3 : share >= limits[1] ? 2 : share >= limits[0] ? 1 : 0;
