import type { Random } from "@holdfast/kernel";
import { randomInt } from "@holdfast/kernel";
import { waitUntil } from "@holdfast/testkit";
import type { ClusterDatabase } from "../../src/index.ts";
import { FAULTS, type Fault, type FaultyCluster } from "./faulty-cluster.ts";
import type { Ledger } from "./ledger.ts";

export interface FailoverRecord {
  readonly fault: Fault;
  readonly from: string;
  readonly to: string;
  /** Milliseconds without an acknowledged write. */
  readonly outageMs: number;
}

/**
 * Takes the leader down once, waits until writes go on under another, and puts everything back.
 * @throws when writes do not go on within `resumeMaxMs`.
 */
export const failOver = async (
  cluster: FaultyCluster,
  database: ClusterDatabase,
  ledger: Ledger,
  fault: Fault,
  resumeMaxMs = 40_000,
): Promise<FailoverRecord> => {
  const leader = await cluster.untilReady();
  await waitUntil(`writes through ${leader.name}`, () => database.status().primary === leader.name);
  const { timeline = 0 } = database.status();
  const since = performance.now();
  const undo = await cluster.inflict(fault, leader);
  try {
    await waitUntil(
      `writes after ${fault}`,
      () =>
        (database.status().timeline ?? 0) > timeline && (ledger.acknowledgedAt.at(-1) ?? 0) > since + 1_000,
      { timeoutMs: resumeMaxMs },
    );
    // Until the old leader's last answers cannot be taken for the new one's.
    const resumedFrom = ledger.acknowledgedAt.length;
    await waitUntil("some more writes", () => ledger.acknowledgedAt.length > resumedFrom + 20, {
      timeoutMs: resumeMaxMs,
    });
  } finally {
    await undo();
  }
  return {
    fault,
    from: leader.name,
    to: database.status().primary ?? "",
    outageMs: ledger.longestGapMs(since),
  };
};

/**
 * Has clients lose the leader, which leads on: no failover, and no write until the way is mended. Returns the
 * milliseconds from there to the next acknowledged write.
 */
export const cutOff = async (
  cluster: FaultyCluster,
  database: ClusterDatabase,
  ledger: Ledger,
): Promise<{ readonly from: string; readonly resumedAfterMs: number }> => {
  const leader = await cluster.untilReady();
  await waitUntil(`writes through ${leader.name}`, () => database.status().primary === leader.name);
  const { timeline } = database.status();
  const mend = cluster.cutFromClients(leader);
  try {
    await waitUntil("its loss to be noticed", () => !database.status().condition.takesWrites);
  } finally {
    await mend();
  }
  const mendedAt = performance.now();
  const isWritten = (): boolean => (ledger.acknowledgedAt.at(-1) ?? 0) > mendedAt;
  await waitUntil("writes through the mended way", isWritten, { intervalMs: 5 });
  if (database.status().timeline !== timeline) throw new Error("the cluster failed over, though it was well");
  return { from: leader.name, resumedAfterMs: performance.now() - mendedAt };
};

export interface SwitchoverRecord {
  readonly from: string;
  readonly to: string;
  /** Milliseconds without an acknowledged write. */
  readonly pauseMs: number;
  /** Errors of the workers meanwhile, which must be none. */
  readonly failedCount: number;
}

/** Hands leadership over as planned, and waits until writes go on. */
export const switchOver = async (
  cluster: FaultyCluster,
  database: ClusterDatabase,
  ledger: Ledger,
): Promise<SwitchoverRecord> => {
  const leader = await cluster.untilReady();
  await waitUntil(`writes through ${leader.name}`, () => database.status().primary === leader.name);
  const failedBefore = ledger.errorCount;
  const since = performance.now();
  const { from, to } = await database.switchover();
  const resumedFrom = ledger.acknowledgedAt.length;
  await waitUntil("some more writes", () => ledger.acknowledgedAt.length > resumedFrom + 20);
  return {
    from,
    to,
    pauseMs: ledger.longestGapMs(since),
    failedCount: ledger.errorCount - failedBefore,
  };
};

/** A fault for each of `count` failovers: every kind in turn, shuffled anew each time round. */
export const faultPlan = (
  count: number,
  random: Random,
  faults: readonly Fault[] = FAULTS,
): readonly Fault[] => {
  const plan: Fault[] = [];
  while (plan.length < count) {
    const left: Fault[] = [...faults];
    while (left.length > 0) plan.push(...left.splice(randomInt(random, left.length), 1));
  }
  return plan.slice(0, count);
};
