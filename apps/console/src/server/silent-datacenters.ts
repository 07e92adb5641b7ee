import type { Clock } from "@holdfast/kernel";
import type { ClusterView, DatacenterView } from "@holdfast/protocol/contract";
import type { ClusterData } from "../messages.ts";

/**
 * Notices which datacenters the gate hears nothing of. Of those it goes on to tell what they said last, so whoever sees
 * that must be told how old it is.
 */
export class SilentDatacenters {
  readonly #clock: Clock;
  readonly #heardAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The view with what is silent in it, as of now. */
  mark(view: ClusterView): ClusterData {
    const now = this.#clock.wallNow();
    const known = new Set(view.datacenters.map(({ datacenter }) => datacenter));
    for (const name of this.#heardAt.keys()) if (!known.has(name)) this.#heardAt.delete(name);
    const silent = view.datacenters.filter(isSilent).map(({ datacenter }) => datacenter);
    for (const name of known) if (!silent.includes(name)) this.#heardAt.set(name, now);
    return {
      ...view,
      silent: silent.map((datacenter) => ({ datacenter, heardAt: this.#heardAt.get(datacenter) ?? null })),
    };
  }
}

/** One that has not answered yet is no news: its managers are `syncing`. */
const isSilent = ({ managers }: DatacenterView): boolean =>
  managers.length > 0 && managers.every(({ state }) => state === "offline");
