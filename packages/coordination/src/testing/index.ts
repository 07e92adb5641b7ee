import type { SetUp } from "./harness.ts";
import { historiesSuite } from "./histories.suite.ts";
import { leasesSuite } from "./leases.suite.ts";
import { logSuite } from "./log.suite.ts";
import { outboxSuite } from "./outbox.suite.ts";
import { taskClaimsSuite } from "./task-claims.suite.ts";
import { taskQueueSuite } from "./task-queue.suite.ts";
import { taskUpkeepSuite } from "./task-upkeep.suite.ts";
import { transactionsSuite } from "./transactions.suite.ts";

export type { CoordinationHarness, LeasesSetUp, LogSetUp, SetUp } from "./harness.ts";
export {
  historiesSuite,
  leasesSuite,
  logSuite,
  outboxSuite,
  taskClaimsSuite,
  taskQueueSuite,
  taskUpkeepSuite,
  transactionsSuite,
};

/** Every guarantee of a coordination store, as Vitest tests. A backend is one when it passes them all. */
export const coordinationSuite = <Tx>(setUp: SetUp<Tx>): void => {
  leasesSuite(setUp);
  logSuite(setUp);
  taskQueueSuite(setUp);
  taskClaimsSuite(setUp);
  taskUpkeepSuite(setUp);
  transactionsSuite(setUp);
  outboxSuite(setUp);
  historiesSuite(setUp);
};
