import type { DatacenterView } from "@holdfast/protocol/contract";
import { ManagerNode } from "./manager-node.ts";
import type { ManagerOptions } from "./manager-options.ts";
import type { OutcomeStats } from "./worker-requests.ts";

/**
 * `syncing`: no lease in the store yet (or any more), nothing is accepted or decided. `active`. `draining`: it
 * finishes what is under way and hands its jobs over. `offline`: stopped.
 */
export type ManagerState = "syncing" | "active" | "draining" | "offline";

export interface ManagerStats {
  readonly leadingJobs: number;
  readonly submittedJobs: number;
  readonly takenOverJobs: number;
  /** Writes that were refused because another manager led the job by then. */
  readonly deposedJobs: number;
  readonly outcomes: Readonly<OutcomeStats>;
  readonly commits: { readonly batches: number; readonly items: number; readonly failures: number };
  readonly claims: { readonly waiting: number; readonly claims: number; readonly claimedTasks: number };
  readonly lapsedClaims: number;
  readonly workers: number;
  readonly subscriptions: number;
}

/**
 * One manager of a datacenter. It hands out shards to workers, leads jobs (all those submitted while it leads
 * the datacenter, and those it took over), and answers clients and gates.
 */
export interface Manager extends AsyncDisposable {
  readonly nodeId: string;
  /** Where it listens, with the real port. */
  readonly address: string;
  readonly state: ManagerState;
  /** Whether it leads the datacenter: only the leader accepts new jobs. */
  readonly isLeader: boolean;
  /** The datacenter as this manager sees it; `pendingTasks` as of the last `cluster.get`. */
  view(): DatacenterView;
  stats(): ManagerStats;
  /** Hands over its jobs and leadership, answers what is under way for up to `drainMs` (default 5000), and stops. Idempotent. */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  /** Drops everything at once, as a crash would: leases are left to lapse. For tests and the simulator. */
  kill(): Promise<void>;
}

/**
 * Starts a manager: opens its port, takes its lease, takes over jobs that nobody leads, and serves.
 * @throws InvalidInputError for options out of range; AddressInUseError; what the store throws when it cannot
 * be reached. Nothing is left open then.
 */
export const createManager = async (options: ManagerOptions): Promise<Manager> => {
  const node = new ManagerNode(options);
  await node.start();
  return node;
};
