export type { RetentionOptions as GateRetentionOptions } from "../node/option-checks.ts";
export { createGate } from "./create-gate.ts";
export type { Gate, GateState, GateStats, GateView } from "./gate.ts";
export type { GateOptions } from "./gate-options.ts";
