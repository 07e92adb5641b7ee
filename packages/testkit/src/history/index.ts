export { checkLockHistory, type FencedWrite } from "./check-lock-history.ts";
export { checkQueueHistory, type QueueHistory } from "./check-queue-history.ts";
export { checkStateHistory, type StateHistory } from "./check-state-history.ts";
export { OffsetWatch } from "./offset-watch.ts";
export type { Violation } from "./violation.ts";
