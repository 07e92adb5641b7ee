import type { ServerOptions, Transport } from "@holdfast/connection";
import type { Clock, Logger, Random } from "@holdfast/kernel";
import type { JobStore } from "../model/job-table.ts";
import { checkName, checkRange, type RetentionOptions, retentionSettings } from "../node/option-checks.ts";

/** What `createManager` takes. Durations are milliseconds. */
export interface ManagerOptions {
  /** Unique in the datacenter. The same id may be used again after a restart. */
  readonly nodeId: string;
  readonly datacenter: string;
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** The address that others dial, when it is not the one listened on. */
  readonly advertise?: string;
  /** The datacenter's store, shared by all its managers. The manager does not close it. */
  readonly store: JobStore;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** See ServerOptions. Default: everything is allowed, which is only right on loopback. */
  readonly authenticate?: ServerOptions["authenticate"];
  /** Shown in `cluster.get` and `ping`. Default "0.1.0". */
  readonly version?: string;
  /** How long this node counts as alive without renewing its lease. Default 5000, at least 300. */
  readonly nodeLeaseMs?: number;
  /** How long a claimed shard is its worker's without renewal. Default 5000, at least 300. */
  readonly taskLeaseMs?: number;
  /** Length of a window of live figures. Default 500, at least 50. */
  readonly windowMs?: number;
  /** How long after its end a window waits for late reports. Default 250. */
  readonly windowDriftMs?: number;
  /** How often workers report progress. Default 250. */
  readonly progressEveryMs?: number;
  /** How often jobs of dead managers, and lapsed claims, are looked for. Default 1000. */
  readonly sweepEveryMs?: number;
  /** How often workers that wait for work look by themselves, should a notice of new work be lost. Default 1000. */
  readonly claimPollMs?: number;
  /** Silence after which a worker counts as gone although its connection stands. Default 15_000. */
  readonly workerSilenceMs?: number;
  readonly retention?: RetentionOptions;
  /** Changes waiting for a commit; more are refused with KERNEL_OVERLOADED. Default 20_000. */
  readonly pendingMaxCount?: number;
}

export type ManagerSettings = Required<Omit<ManagerOptions, "authenticate" | "advertise" | "retention">> & {
  readonly retention: Required<RetentionOptions>;
};

/** The options with defaults filled in. @throws InvalidInputError naming the option. */
export const managerSettings = (options: ManagerOptions): ManagerSettings => {
  const settings: ManagerSettings = {
    version: "0.1.0",
    nodeLeaseMs: 5_000,
    taskLeaseMs: 5_000,
    windowMs: 500,
    windowDriftMs: 250,
    progressEveryMs: 250,
    sweepEveryMs: 1_000,
    claimPollMs: 1_000,
    workerSilenceMs: 15_000,
    pendingMaxCount: 20_000,
    ...options,
    retention: retentionSettings(options.retention),
  };
  checkName("nodeId", settings.nodeId);
  checkName("datacenter", settings.datacenter);
  checkRange("nodeLeaseMs", settings.nodeLeaseMs, 300, 3_600_000);
  checkRange("taskLeaseMs", settings.taskLeaseMs, 300, 3_600_000);
  checkRange("windowMs", settings.windowMs, 50, 60_000);
  checkRange("windowDriftMs", settings.windowDriftMs, 0, 60_000);
  checkRange("progressEveryMs", settings.progressEveryMs, 10, 60_000);
  checkRange("sweepEveryMs", settings.sweepEveryMs, 10, 60_000);
  checkRange("workerSilenceMs", settings.workerSilenceMs, 100, 3_600_000);
  checkRange("pendingMaxCount", settings.pendingMaxCount, 1, 1_000_000);
  checkRange("claimPollMs", settings.claimPollMs, 10, 60_000);
  return settings;
};
