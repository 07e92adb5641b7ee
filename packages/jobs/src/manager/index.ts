export { createManager, type Manager, type ManagerState, type ManagerStats } from "./manager.ts";
export type { ManagerOptions, RetentionOptions } from "./manager-options.ts";
