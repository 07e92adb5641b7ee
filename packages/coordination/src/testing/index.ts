import type { SetUp, TasksSetUp } from "./harness.ts";
import { historiesSuite } from "./histories.suite.ts";
import { leaseLinesSuite } from "./lease-lines.suite.ts";
import { leasesSuite } from "./leases.suite.ts";
import { type LocksHarness, locksSuite } from "./locks.suite.ts";
import { logSuite } from "./log.suite.ts";
import { outboxSuite } from "./outbox.suite.ts";
import { queueLimitsSuite } from "./queue-limits.suite.ts";
import { schedulesSuite } from "./schedules.suite.ts";
import type { StateSyncHarness } from "./state-fixtures.ts";
import { statePositionSuite } from "./state-position.suite.ts";
import { stateReplicaSuite } from "./state-replica.suite.ts";
import { statesSuite } from "./states.suite.ts";
import { taskClaimsSuite } from "./task-claims.suite.ts";
import { taskFeaturesSuite } from "./task-features.suite.ts";
import { taskQueueSuite } from "./task-queue.suite.ts";
import { taskUpkeepSuite } from "./task-upkeep.suite.ts";
import { transactionsSuite } from "./transactions.suite.ts";

export type { CoordinationHarness, LeasesSetUp, LogSetUp, SetUp, TasksSetUp } from "./harness.ts";
export {
  historiesSuite,
  leaseLinesSuite,
  leasesSuite,
  type LocksHarness,
  locksSuite,
  logSuite,
  outboxSuite,
  type StateSyncHarness,
  transactionsSuite,
};

/** Every guarantee of a task queue that stands alone, as Vitest tests. */
export const queueSuite = <Tx>(setUp: TasksSetUp<Tx>): void => {
  taskQueueSuite(setUp);
  taskClaimsSuite(setUp);
  taskUpkeepSuite(setUp);
  taskFeaturesSuite(setUp);
  queueLimitsSuite(setUp);
  schedulesSuite(setUp);
};

/** Every guarantee of a coordination store, as Vitest tests. A backend is one when it passes them all. */
export const coordinationSuite = <Tx>(setUp: SetUp<Tx>): void => {
  leasesSuite(setUp);
  logSuite(setUp);
  queueSuite(setUp);
  transactionsSuite(setUp);
  outboxSuite(setUp);
  historiesSuite(setUp);
};

/** Every guarantee of shared state and of its replicas, as Vitest tests. */
export const stateSyncSuite = (setUp: () => Promise<StateSyncHarness>): void => {
  statesSuite(setUp);
  stateReplicaSuite(setUp);
  statePositionSuite(setUp);
};
