export type { RetentionOptions as GateRetentionOptions } from "../node/option-checks.ts";
export { createGate, type Gate, type GateState, type GateStats, type GateView } from "./create-gate.ts";
export type { GateOptions } from "./gate-options.ts";
