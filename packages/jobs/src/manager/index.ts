export type { RetentionOptions } from "../node/option-checks.ts";
export { createManager, type Manager, type ManagerState, type ManagerStats } from "./manager.ts";
export type { ManagerOptions } from "./manager-options.ts";
