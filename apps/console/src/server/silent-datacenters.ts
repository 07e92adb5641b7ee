import type { ClusterView, DatacenterView } from "@holdfast/protocol/contract";
import type { ClusterData } from "../messages.ts";

/**
 * The view with the datacenters in it that the gate hears nothing of. Of those it goes on to tell what they said last,
 * so whoever sees that must be told how old it is.
 */
export const withSilent = (view: ClusterView): ClusterData => ({
  ...view,
  silent: view.datacenters
    .filter(isSilent)
    .map(({ datacenter, heardAt }) => ({ datacenter, heardAt: heardAt ?? null })),
});

/** One that has not answered yet is no news: its managers are `syncing`. */
const isSilent = ({ managers }: DatacenterView): boolean =>
  managers.length > 0 && managers.every(({ state }) => state === "offline");
