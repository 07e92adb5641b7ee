export { type ClusterShape, defaultShape, SimulatedCluster, type SimulatedNode } from "./cluster.ts";
export { Ledger } from "./ledger.ts";
export { type SimulationOptions, type SimulationRun, simulate } from "./simulate.ts";
export { calmNetwork, type NetworkFaults, SimulatedNetwork } from "./simulated-network.ts";
