export { createGate, type Gate, type GateState, type GateStats, type GateView } from "./create-gate.ts";
export type { GateOptions, GateRetentionOptions } from "./gate-options.ts";
